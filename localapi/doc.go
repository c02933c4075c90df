// Package localapi carries the local API (proto/localv1) between the daemon and
// the programs of one machine: a unix socket, and on it one dRPC call for each
// connection.
//
// Any local user may connect. Who is calling is what the kernel says about the
// other end, never what the caller says; [Rule] decides from that whether the
// caller may read, operate, or neither.
//
// The server takes nothing on trust: a call has to arrive whole within seconds
// and within a size, an answer has to be taken off within seconds, and nobody
// can use up the connections of those who may read.
package localapi
