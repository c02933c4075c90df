package platform

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/causewayhq/causeway/netcfg"
)

// RouteProtocol marks our routes in the kernel (rtm_protocol; "proto 173" in
// the output of ip route). Nothing in iproute2's rt_protos has that number; it
// makes "which routes are ours" a question that the kernel answers.
const RouteProtocol = netlink.RouteProtocol(173)

// addRoutes adds what is missing and returns what is too much.
func (o *OS) addRoutes(link netlink.Link, want []netip.Prefix) (surplus []netlink.Route, err error) {
	name := link.Attrs().Name
	present, err := o.routes(link.Attrs().Index)
	if err != nil {
		return nil, fmt.Errorf("list routes of %s: %w", name, err)
	}
	wanted := make(map[netip.Prefix]bool, len(want))
	changes := make([]netcfg.Change, 0, len(want))
	for _, p := range want {
		wanted[p] = true
		changes = append(changes, o.change(kindRoute, link, p.String()))
	}
	if err := o.journal.Record(changes...); err != nil {
		return nil, err
	}
	var have []netip.Prefix
	for _, r := range present {
		if p, ok := prefix(r.Dst); ok && wanted[p] && r.Gw == nil && r.Type == unix.RTN_UNICAST {
			have = append(have, p)
		} else {
			surplus = append(surplus, r)
		}
	}
	add, _ := netcfg.DiffPrefixes(have, want)
	var errs []error
	for _, p := range add {
		if err := o.addRoute(link, p); err != nil {
			errs = append(errs, fmt.Errorf("add route %s to %s: %w", p, name, err))
			continue
		}
		o.did("route added", slog.String("interface", name), slog.String("route", p.String()))
	}
	return surplus, errors.Join(errs...)
}

// addRoute adds and never replaces: a route of the same destination is
// somebody else's, and telling whose is better than taking it away.
func (o *OS) addRoute(link netlink.Link, p netip.Prefix) error {
	if p.Addr().Is6() {
		if why := ipv6Off(link.Attrs().Name); why != "" {
			return fmt.Errorf("%w (%s); switch it on, it is picked up by itself", ErrIPv6Disabled, why)
		}
	}
	route := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(p), Protocol: RouteProtocol}
	if p.Addr().Is4() {
		route.Scope = netlink.SCOPE_LINK
	}
	err := o.netlink.RouteAdd(route)
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	rivals, listErr := retryDump(func() ([]netlink.Route, error) {
		return o.netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Dst: ipNet(p)}, netlink.RT_FILTER_DST)
	})
	if listErr != nil || len(rivals) == 0 {
		return err
	}
	rival := fmt.Sprintf("interface %d", rivals[0].LinkIndex)
	if other, err := o.netlink.LinkByIndex(rivals[0].LinkIndex); err == nil {
		rival = "interface " + other.Attrs().Name
	}
	return fmt.Errorf("%w by %s (protocol %d); stop what set it", ErrRouteTaken, rival, int(rivals[0].Protocol))
}

func (o *OS) removeRoutes(surplus []netlink.Route) error {
	var errs []error
	for _, r := range surplus {
		p, _ := prefix(r.Dst)
		if err := o.netlink.RouteDel(&r); err != nil && !gone(err) {
			errs = append(errs, fmt.Errorf("remove route %s: %w", p, err))
			continue
		}
		o.did("route removed", slog.String("route", p.String()))
		for _, c := range o.journal.Entries() {
			if c.Kind == kindRoute && c.Index == r.LinkIndex && c.Value == p.String() {
				errs = append(errs, o.journal.Done(c))
			}
		}
	}
	return errors.Join(errs...)
}

// routes lists ours on one interface, in every table.
func (o *OS) routes(index int) ([]netlink.Route, error) {
	return retryDump(func() ([]netlink.Route, error) {
		return o.netlink.RouteListFiltered(netlink.FAMILY_ALL,
			&netlink.Route{LinkIndex: index, Protocol: RouteProtocol, Table: unix.RT_TABLE_UNSPEC},
			netlink.RT_FILTER_OIF|netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_TABLE)
	})
}
