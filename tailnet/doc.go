// Package tailnet is the data plane: WireGuard, direct paths and relays, by
// upstream's wgengine and magicsock behind an interface of our own.
//
// The Engine owns who is reachable. It gets peer updates and a relay map from
// the control connection, hands them to upstream as single changes (never as a
// whole map), and publishes its own node by a callback. What the host has to
// be told (addresses, routes, DNS) is none of its business: upstream gets a
// router and a DNS configurator that do nothing.
//
// The rules of a peer's life (lost timers, waiting for the handshake
// acknowledgement) are in a table without side effects, see roster.
// Peers that we tunnel to are records in it, less than 1 KB each, until somebody
// needs them; see wake.go. What the control plane may not say of a peer is in
// claims.go and convert.go.
package tailnet
