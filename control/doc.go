// Package control is the client of the Tailnet API: it dials the control
// plane, keeps the connection alive or replaces it, and runs one controller
// for each RPC on it. A connection's controllers share one fate: the first to
// end ends them all, and the loop dials again. The loop ends only with its own
// context.
//
//	dial.go        websocket, yamux, liveness, and rejections as typed errors
//	loop.go        the retry loop
//	session.go     one connection: its controllers and their shared fate
//	coordinate.go  own node and tunnels out, peers in
//	relaymap.go, workspaces.go, resume.go   the other controllers
//	destinations.go  the set of agents to hold tunnels to
//	backoff.go     how long to wait between two dials
package control
