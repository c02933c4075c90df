// Package agent is the workspace's end of the tunnel. Run keeps a connection
// to the control plane, is a peer in the tailnet with the two addresses that
// follow from the agent's id, serves SSH on ports 22 and 1, and passes every
// other port from 9 on to the same port of localhost. It needs no privilege:
// the tailnet ends in a network stack of its own inside this process.
//
//	agent.go     Run: what is started, in which order, and how it ends
//	network.go   the tailnet, made anew when the manifest demands another
//	manifest.go  what the control plane wants the agent to be
//	forward.go, datagrams.go   ports of localhost
//	httpapi.go   the HTTP API on port 4 and speed tests on port 3
//	report.go    version and lifecycle, told to the control plane
//	state.go     keys that outlive the process, and the lock on them
//
// Open sessions live in the network, not in the connection to the control
// plane, so they survive the loss of the latter. They end when the manifest
// changes what the network is made from: the agent's id, the ban on direct
// paths, or the demand for websocket relays.
package agent
