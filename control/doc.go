// Package control is the client of the Tailnet API: it dials the control
// plane, keeps the connection alive or replaces it, and runs one controller
// for each RPC on it. A connection's controllers share one fate: the first to
// end ends them all, and the loop dials again. The loop ends only with its own
// context.
//
//	loop.go        the retry loop; backoff.go: how long it waits
//	first.go       the outcome of the very first dial
//	dial.go        one dial; errors.go: rejections as typed errors
//	conn.go        one connection and its liveness; socket.go: websocket to bytes
//	told.go        the control plane's own words, and when to come back
//	session.go     one connection: its controllers and their shared fate
//	clients.go     the API version that is asked for, and the clients it offers
//	coordinate.go  own node and tunnels out, peers in; outbox.go: what waits
//	destinations.go  the set of agents to hold tunnels to
//	relaymap.go, workspaces.go, resume.go, telemetry.go   the other controllers
//	anonymize.go   what may be told about networks
package control
