package platform

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/causewayhq/causeway/netcfg"
)

// Cleanup undoes what the journal lists, then what carries our marks: the
// sections in the hosts file and in resolv.conf, the drop-in, the record of
// resolvconf, and interfaces with routes of our protocol. Names
// go first, so that none points to a network that has gone.
func (o *OS) Cleanup(ctx context.Context) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.want = nil
	o.trail = ""
	o.setMode("")
	o.setUpstreams("", nil)
	return errors.Join(
		removeBut(o.mechanisms(ctx, nil, netcfg.Config{})),
		o.undoElsewhere(ctx, ""),
		o.undoMarked(ctx),
	)
}

// alive tells that the interface of a journal entry is still the very one: same
// boot, same index, same name, and a TUN device. Indexes are used again after a
// reboot, names after our device has gone.
func (o *OS) alive(c netcfg.Change) bool {
	if c.Epoch != o.epoch {
		return false
	}
	link, err := o.netlink.LinkByIndex(c.Index)
	return err == nil && link.Attrs().Name == c.Interface && link.Type() == "tuntap"
}

// undoInterface undoes all that the journal lists on one interface: names,
// routes, addresses, the link, in this order.
func (o *OS) undoInterface(ctx context.Context, name string) error {
	var errs []error
	for _, kind := range []string{kindResolved, kindRoute, kindAddress, kindLink} {
		for _, c := range o.journal.Entries() {
			if c.Interface == name && c.Kind == kind {
				errs = append(errs, o.undoChange(ctx, c))
			}
		}
	}
	return errors.Join(errs...)
}

func (o *OS) undoChange(ctx context.Context, c netcfg.Change) error {
	if c.Kind == kindResolved {
		return o.revertResolvedChange(ctx, c)
	}
	if o.alive(c) {
		if err := o.undoKernel(c); err != nil && !gone(err) {
			return fmt.Errorf("undo %s %s on %s: %w", c.Kind, c.Value, c.Interface, err)
		}
		o.did("undone", slog.String("kind", c.Kind), slog.String("interface", c.Interface), slog.String("value", c.Value))
	}
	return o.journal.Done(c)
}

func (o *OS) undoKernel(c netcfg.Change) error {
	link, err := o.netlink.LinkByIndex(c.Index)
	if err != nil {
		return err
	}
	if c.Kind == kindLink {
		return o.netlink.LinkSetDown(link)
	}
	p, err := netip.ParsePrefix(c.Value)
	if err != nil {
		return nil // a damaged entry names nothing that could be undone
	}
	if c.Kind == kindAddress {
		return o.netlink.AddrDel(link, &netlink.Addr{IPNet: ipNet(p)})
	}
	return o.netlink.RouteDel(&netlink.Route{LinkIndex: c.Index, Dst: ipNet(p), Protocol: RouteProtocol})
}

// undoMarked finds what the journal does not know, after it was lost. A TUN
// device with routes of our protocol is ours; so are these routes, its
// addresses within them, what resolved has for it, and that it is up: it stays
// where the service manager keeps it.
func (o *OS) undoMarked(ctx context.Context) error {
	routes, err := retryDump(func() ([]netlink.Route, error) {
		return o.netlink.RouteListFiltered(netlink.FAMILY_ALL,
			&netlink.Route{Protocol: RouteProtocol, Table: unix.RT_TABLE_UNSPEC},
			netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return fmt.Errorf("list routes: %w", err)
	}
	covered := map[int][]netip.Prefix{}
	var ours []netlink.Route
	for _, r := range routes {
		link, err := o.netlink.LinkByIndex(r.LinkIndex)
		if err != nil || link.Type() != "tuntap" {
			continue
		}
		ours = append(ours, r)
		if p, ok := prefix(r.Dst); ok {
			covered[r.LinkIndex] = append(covered[r.LinkIndex], p)
		}
	}
	var errs []error
	for index, prefixes := range covered {
		errs = append(errs, o.undoMarkedLink(ctx, index, prefixes))
	}
	errs = append(errs, o.removeRoutes(ours))
	for index := range covered {
		if link, err := o.netlink.LinkByIndex(index); err == nil {
			errs = append(errs, o.netlink.LinkSetDown(link))
		}
	}
	return errors.Join(errs...)
}

func (o *OS) undoMarkedLink(ctx context.Context, index int, prefixes []netip.Prefix) error {
	link, err := o.netlink.LinkByIndex(index)
	if err != nil {
		return nil // it has gone, and all with it
	}
	var errs []error
	if err := o.resolved.revert(ctx, index); err != nil && !holdsNothing(err) {
		errs = append(errs, err)
	}
	have, err := o.addresses(link)
	errs = append(errs, err)
	var surplus []netip.Prefix
	for _, a := range have {
		for _, p := range prefixes {
			if p.Contains(a.Addr()) {
				surplus = append(surplus, a)
				break
			}
		}
	}
	return errors.Join(append(errs, o.removeAddresses(link, surplus))...)
}
