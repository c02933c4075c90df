// Package relaybridge carries relay connections over transports that
// upstream's client does not have: plain HTTP, websocket, extra headers, TLS
// settings of our own, and HTTP proxies with credentials.
//
// Upstream's client is sent through it by the hooks that upstream has for HTTP
// proxies. It asks a listener of ours on the loopback interface to CONNECT to
// a made-up host name, showing a secret that only this process knows, and
// speaks TLS to a certificate made in memory, which it checks by its hash. The
// bridge ends that TLS and passes the bytes on to the real relay.
//
// A region's STUN node keeps its own name, so that latency by STUN is the
// measured one. Latency over HTTPS is measured upstream on one request and
// answer; the bridge dials the relay before it accepts and then passes that
// request through, so that this is the real round trip too.
//
// # Which relays go through it
//
// Upstream connects to the others itself, which saves a second TLS on the
// loopback. Always bridged are plain HTTP relays, relays that are the control
// plane itself (they are often behind proxies that refuse the upgrade), and,
// if headers, TLS settings, forced websockets or a way to dial are configured,
// all. Other
// relays are tried once in the background: one whose answer to the raw upgrade
// is a 4xx is bridged from then on.
//
// # Without a resolver
//
// Bridged relays are dialled by Dial.Connect, which may know addresses from
// before. What upstream finds by itself, STUN servers above all, it gets from
// Dial.Names at the start, and the resolver only corrects that.
package relaybridge
