// Command wireguard is the bench's peer: plain wireguard-go, put together from
// its packages as its own main does. It needs Linux and root.
package main
