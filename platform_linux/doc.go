// Package platform brings a Linux host to the state that a netcfg.Config
// describes, keeps it there, and undoes it.
//
// Each mechanism has a plan (pure, without build tags), a thin part that acts,
// and a part that watches: addresses and routes by netlink, names by
// systemd-resolved over D-Bus, by a drop-in for NetworkManager's dnsmasq, by a
// section of the hosts file, or by a forwarder that resolv.conf lists first,
// itself or through one of the two resolvconfs. Everything is journalled before it is made, and carries a mark by which it is found again:
// our own interface name, our own route protocol number, the markers of our
// sections, the first line of the drop-in, the name of the record. What lacks them is foreign and never touched.
//
// No policy routing, no firewall marks: only our own prefix
// (fd60:627a:a42b::/48) is routed into the interface, on-link. No control
// plane, relay or peer endpoint has an address in it, so the daemon's own
// traffic cannot loop into its own device, whatever default route another
// program sets.
package platform
