package platform

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"

	"github.com/causewayhq/causeway/netcfg"
)

// routePlan is what has to happen to the routes of our adapter.
type routePlan struct {
	want, add []netip.Prefix
	remove    []route
}

// planRoutes compares. Routes that Windows makes by itself, for addresses and
// multicast, are not ours to remove.
func planRoutes(now snapshot, own luid, want []netip.Prefix) routePlan {
	plan := routePlan{want: want}
	wanted := map[netip.Prefix]bool{}
	for _, p := range want {
		wanted[p.Masked()] = true
	}
	var have []netip.Prefix
	for _, r := range now.Routes {
		switch {
		case r.LUID != own:
		case wanted[r.Prefix] && r.NextHop.IsUnspecified():
			have = append(have, r.Prefix)
		case !r.Kernel:
			plan.remove = append(plan.remove, r)
		}
	}
	plan.add, _ = netcfg.DiffPrefixes(have, want)
	return plan
}

func (o *OS) addRoutes(adapter link, plan routePlan, missing map[family]error) error {
	if err := o.record(kindRoute, adapter, plan.want); err != nil {
		return err
	}
	var errs []error
	for _, p := range plan.add {
		err := missing[familyOf(p.Addr())]
		if err == nil {
			err = o.system.AddRoute(adapter.LUID, p)
		}
		if err != nil && !errors.Is(err, errExists) {
			errs = append(errs, fmt.Errorf("add route %s to %s: %w", p, adapter.Name, err))
			continue
		}
		o.log.Info("route added", slog.String("interface", adapter.Name), slog.String("route", p.String()))
	}
	return errors.Join(errs...)
}

func (o *OS) removeRoutes(adapter link, surplus []route) error {
	var errs []error
	for _, r := range surplus {
		if err := o.system.RemoveRoute(adapter.LUID, r); err != nil && !errors.Is(err, errMissing) {
			errs = append(errs, fmt.Errorf("remove route %s from %s: %w", r.Prefix, adapter.Name, err))
			continue
		}
		o.log.Info("route removed", slog.String("interface", adapter.Name), slog.String("route", r.Prefix.String()))
		errs = append(errs, o.journal.Done(o.change(kindRoute, r.Prefix.String())))
	}
	return errors.Join(errs...)
}

// shadows names the routes of others that take packets from ours: the same
// destination or a part of it, on another interface. They are never touched.
func shadows(now snapshot, own luid, want []netip.Prefix) error {
	var errs []error
	for _, r := range now.Routes {
		for _, p := range want {
			if r.LUID != own && p.Bits() <= r.Prefix.Bits() && p.Contains(r.Prefix.Addr()) {
				errs = append(errs, fmt.Errorf("route %s into the tunnel: adapter %q has a route to %s; stop what set it", p, now.name(r.LUID), r.Prefix))
			}
		}
	}
	return errors.Join(errs...)
}
