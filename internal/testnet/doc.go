// Package testnet builds small networks of real hosts out of Linux namespaces:
// switches, routers with NAT, hosts with an /etc and a /run of their own, and
// hosts whose process 1 is a real systemd.
//
// It needs root, iproute2, nftables and util-linux (systemd hosts: mmdebstrap
// too), and touches nothing of the machine beside the namespaces that it makes.
// A namespace is held by a child that ends with its standard input, so nothing
// outlives the process that made it, not even after a kill -9; systemd hosts
// are stopped by the next run then.
package testnet
