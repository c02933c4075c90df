// Package tailnetclient is the control plane's own peer on the tailnet (docs of
// the protocol, 2.9): one network in user space, made when an agent is first
// asked for and ended when none is any more. It is introduced by the
// coordinator of this process, under an authorisation that nobody outside can
// have, so it may open a tunnel to every agent: who may ask for which is
// decided by the API before.
//
//	client.go      Dial, the leases of agents, the end
//	network.go     one running network and its coordination
//	tend.go        what goes on meanwhile: idle agents, agents that are gone
//	conn.go        a connection that hears why it ended
//	relay.go       the relay of this process, reached without a socket
package tailnetclient
