// Command node is what the bench runs inside its namespaces: an end of a tunnel
// made of the tailnet engine alone, a relay (ours or upstream's), DNS servers
// and the generators of load. It needs Linux and root.
package main
