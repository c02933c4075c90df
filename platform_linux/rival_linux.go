package platform

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/causewayhq/causeway/netcfg"
)

// rtTableMain is RT_TABLE_MAIN of rtnetlink(7).
const rtTableMain = unix.RT_TABLE_MAIN

// ErrShadowed: our route stands, but the kernel sends packets elsewhere.
var ErrShadowed = errors.New("route is shadowed")

// findRivals asks the kernel where it would send packets for our routes, and
// names what leads them away: another program's route within ours, or a policy
// rule that leads to a table with a route of its own.
func (o *OS) findRivals(link netlink.Link, want netcfg.Config) error {
	if ipv6Off(link.Attrs().Name) != "" {
		return nil // that has been told
	}
	samples := map[netip.Addr]netip.Prefix{} // what a packet for it is taken by
	for _, p := range want.Routes {
		for _, s := range want.DNS.Nameservers {
			if p.Contains(s) {
				samples[s] = p
			}
		}
		if len(want.DNS.Nameservers) == 0 {
			samples[p.Addr().Next()] = p
		}
	}
	rivals, err := o.routesWithin(want.Routes, link.Attrs().Index)
	if err != nil {
		return fmt.Errorf("list routes: %w", err)
	}
	for _, p := range rivals {
		if _, known := samples[p.Addr()]; !known {
			samples[p.Addr()] = p
		}
	}
	told := map[string]bool{}
	var errs []error
	for address, p := range samples {
		err := o.leadsAway(address, link.Attrs().Index)
		if err != nil && !told[err.Error()] {
			told[err.Error()] = true
			errs = append(errs, fmt.Errorf("send packets for %s to %s: %w", p, link.Attrs().Name, err))
		}
	}
	return errors.Join(errs...)
}

// routesWithin lists the routes of others, in any table, for parts of ours.
func (o *OS) routesWithin(ours []netip.Prefix, own int) ([]netip.Prefix, error) {
	routes, err := o.allRoutes()
	var list []netip.Prefix
	for _, r := range routes {
		p, ok := prefix(r.Dst)
		if !ok || r.LinkIndex == own || r.Protocol == RouteProtocol {
			continue
		}
		for _, q := range ours {
			if q.Contains(p.Addr()) && p.Bits() >= q.Bits() {
				list = append(list, p)
			}
		}
	}
	return list, err
}

// allRoutes lists the routes of every table but the local one, whose routes
// follow from addresses.
func (o *OS) allRoutes() ([]netlink.Route, error) {
	routes, err := retryDump(func() ([]netlink.Route, error) {
		return o.netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	})
	var list []netlink.Route
	for _, r := range routes {
		if r.Table != unix.RT_TABLE_LOCAL && r.Protocol != unix.RTPROT_KERNEL {
			list = append(list, r)
		}
	}
	return list, err
}

// leadsAway asks for the route of one packet.
func (o *OS) leadsAway(address netip.Addr, own int) error {
	routes, err := o.netlink.RouteGetWithOptions(address.AsSlice(), &netlink.RouteGetOptions{FIBMatch: true})
	if err != nil {
		return fmt.Errorf("%w: the kernel refuses them (%w)", ErrShadowed, err)
	}
	if len(routes) == 0 || routes[0].LinkIndex == own || routes[0].Type == unix.RTN_LOCAL {
		return nil
	}
	rival := routes[0]
	where := fmt.Sprintf("interface %d", rival.LinkIndex)
	if other, err := o.netlink.LinkByIndex(rival.LinkIndex); err == nil {
		where = "interface " + other.Attrs().Name
	}
	destination := "its default route"
	if p, ok := prefix(rival.Dst); ok && p.Bits() > 0 {
		destination = "its route " + p.String()
	}
	cause := fmt.Sprintf("%s (protocol %d, table %d) takes them by %s", where, int(rival.Protocol), rival.Table, destination)
	if rival.Table != rtTableMain {
		cause += o.ruleTo(rival.Table, address.Is6())
	}
	return fmt.Errorf("%w: %s; stop what set it", ErrShadowed, cause)
}

// ruleTo names the policy rule that leads to a table.
func (o *OS) ruleTo(table int, six bool) string {
	family := netlink.FAMILY_V4
	if six {
		family = netlink.FAMILY_V6
	}
	rules, err := retryDump(func() ([]netlink.Rule, error) { return o.netlink.RuleList(family) })
	if err != nil {
		return ""
	}
	for _, r := range rules {
		if r.Table == table {
			return fmt.Sprintf(", by policy rule %d", r.Priority)
		}
	}
	return ""
}
