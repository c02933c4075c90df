// Package tailnetsvc serves the Tailnet API, and to agents the part of the
// agent API that this control plane has, over one connection of a peer: yamux
// and dRPC over a byte stream (docs of the protocol, sections 1 and 5.5). It
// also holds what stands behind two of the calls: the diffs of a user's
// workspaces (Updates) and the tokens by which a client keeps its peer id
// (ResumeKeys).
//
// Who the peer is was decided before: the caller has authenticated the
// connection and hands in ids that can be trusted.
package tailnetsvc
