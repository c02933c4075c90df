package platform

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
)

// Cleanup undoes what the journal lists and what carries our marks: rules and
// hosts section by theirs, the rest by the adapter's GUID. Names go first, so
// that none points to a network that has gone.
func (o *OS) Cleanup(ctx context.Context) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.want, o.trail = nil, ""
	o.setMode("")
	o.noteShadows(nil)
	return errors.Join(o.removeHosts(ctx), o.rules.Cleanup(ctx), o.undoAdapter())
}

// undoAdapter takes addresses, routes and values off our adapter. If the adapter
// has gone, as it does with the process that made it, so have the first two.
func (o *OS) undoAdapter() error {
	errs := []error{o.undoAdapterValues()}
	now, err := o.system.Snapshot()
	if err != nil {
		return errors.Join(append(errs, fmt.Errorf("find our adapter: %w", err))...)
	}
	for _, l := range now.Links {
		if l.GUID == o.guid {
			errs = append(errs,
				o.removeRoutes(l, planRoutes(now, l.LUID, nil).remove),
				o.removeAddresses(l, planAddresses(now, l.LUID, nil).remove))
		}
	}
	for _, c := range o.journal.Entries() {
		if c.Kind != kindAddress && c.Kind != kindRoute {
			continue
		}
		if p, err := netip.ParsePrefix(c.Value); err == nil && onAdapter(now, o.guid, p) {
			continue // it could not be removed, or it would have been struck out
		}
		errs = append(errs, o.journal.Done(c))
	}
	return errors.Join(errs...)
}

// onAdapter says whether the adapter had the address or route when looked at;
// routes that Windows made go by themselves.
func onAdapter(now snapshot, guid string, p netip.Prefix) bool {
	for _, l := range now.Links {
		if l.GUID != guid {
			continue
		}
		for _, a := range now.Addresses {
			if a.LUID == l.LUID && a.Prefix == p {
				return true
			}
		}
		for _, r := range now.Routes {
			if r.LUID == l.LUID && r.Prefix == p && !r.Kernel {
				return true
			}
		}
	}
	return false
}
