// Package rpty serves terminals that outlive their connections: the
// reconnecting PTY of port 2 (docs of the protocol, 5.2). A viewer that comes
// back, or one that comes in addition, gets the state of the screen, whatever
// was on it, and then what the program writes.
//
// A terminal has the smallest size of its viewers, so that nobody sees a part
// only. Those whose window has just this size get the program's own bytes; for
// the others the screen is painted from its state. A viewer that does not keep
// up misses bytes, never state: it is sent the screen when it can take it.
package rpty
