// Package relay is the DERP relay and the STUN responder of the control plane
// (docs of the protocol, 1.10). The relaying itself is upstream's derpserver;
// this package has the upgrades, the admission and the life cycle around it.
//
// # Admission
//
// DERP forwards a frame to whoever holds the named key, and a peer may learn a
// key that is none of its business. Upstream's hooks (a local tailscaled, an
// admission URL) only ask who may connect, not who may talk to whom. With a
// Policy the relay reads the frame headers as they come in and drops every
// frame for a peer with which the sender shares no tunnel; the proof that the
// sender holds its key is upstream's handshake. A connection whose key nobody
// announces to the control plane is cut after a while.
package relay
