// Package vpnproto is the CoderVPN protocol's end of a tunnel: a second front to
// the same tunnel core, for a manager that started us and holds the other ends of
// two pipes.
//
//	version.go   versions, and which one both speak
//	handshake.go the header that each side sends first
//	frame.go     length and body
//	link.go      who writes what when, and replies that are waited for
//	log.go       log records as messages; never waits
//	session.go   requests, and the tunnel's life
//	begin.go     what a start request means, and whether the start went well
//	peers.go     what the manager was told of peers, and what it has to be told
//	network.go   settings of interface, routes and DNS that the manager applies
//
// A manager that does not read costs itself its updates and log records, never
// us more than a bounded queue, and at the end five seconds.
package vpnproto
