// Command bench measures what the project promises, each figure beside a peer
// that is measured in the same run, in network namespaces of its own. `make
// bench` runs it; it needs Linux and root.
package main
