// Package platform brings a Windows host to the state that a netcfg.Config
// describes, keeps it there, and undoes it.
//
// What is decided carries no build tag and is tested on Linux against a host of
// text; what acts on Windows is behind the interface system, in files named
// *_windows.go. Everything is journalled before it is made and carries a mark by
// which it is found again: the GUID of our adapter, for addresses, routes and
// registry values; the comment of NRPT rules; the markers of the hosts section.
// What lacks them is foreign and never touched.
//
// Our name servers are named in NRPT rules only, never on the interface: Windows
// asks the servers of all interfaces at once ("Smart Multi-Homed Name
// Resolution"), so there they would be asked for everybody's names.
//
// The daemon's own sockets are bound to no interface. Only our own prefix
// (fd60:627a:a42b::/48) is routed into the adapter, on-link, and no control
// plane, relay or peer endpoint has an address in it. So our traffic cannot loop
// into our own adapter, whatever default route another program sets; and a
// control plane behind another VPN is reached through it, which a binding to the
// interface of the default route (IP_UNICAST_IF, upstream's net/netns) would
// prevent.
package platform
