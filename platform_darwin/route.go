package platform

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"syscall"

	"github.com/causewayhq/causeway/netcfg"
)

const kindRoute = "route"

// routePlan is how to get from a routing table to what is wanted of it.
type routePlan struct {
	add, remove []netip.Prefix
	// taken are wanted destinations that another interface has, by its index:
	// macOS has one route for each, and that one is not ours.
	taken map[netip.Prefix]int
}

// planRoutes reads a dump. Routes that the kernel cloned, or that hold for
// sockets bound to one interface only, are in nobody's way.
func planRoutes(table []message, want []netip.Prefix, index int) routePlan {
	plan := routePlan{taken: map[netip.Prefix]int{}}
	var have, marked []netip.Prefix
	for _, m := range table {
		switch {
		case m.flags&(rtfWasCloned|rtfLLInfo|rtfIfScope) != 0:
		case m.index == index:
			have = append(have, m.dst)
			if m.flags&routeMark != 0 {
				marked = append(marked, m.dst)
			}
		case slices.Contains(want, m.dst):
			plan.taken[m.dst] = m.index
		}
	}
	plan.add, _ = netcfg.DiffPrefixes(have, want)
	plan.add = slices.DeleteFunc(plan.add, func(p netip.Prefix) bool { _, taken := plan.taken[p]; return taken })
	_, plan.remove = netcfg.DiffPrefixes(marked, want)
	return plan
}

// addRoutes adds what is missing and tells what is too much.
func (o *OS) addRoutes(links []link, l link, want []netip.Prefix) (surplus []netip.Prefix, err error) {
	table, err := o.routes()
	if err != nil {
		return nil, err
	}
	plan := planRoutes(table, want, l.index)
	var errs []error
	for dst, index := range plan.taken {
		errs = append(errs, fmt.Errorf("add route %s: %w", dst, &routeTakenError{by: linkNamed(links, index)}))
	}
	for _, dst := range want {
		if _, taken := plan.taken[dst]; !taken {
			errs = append(errs, o.journal.Record(o.change(kindRoute, l, dst)))
		}
	}
	for _, dst := range plan.add {
		if err := o.request(rtmAdd, dst, l); err != nil && !errors.Is(err, syscall.EEXIST) {
			errs = append(errs, fmt.Errorf("add route %s into %s: %w", dst, l.name, err))
			continue
		}
		o.log.Info("route added", slog.String("interface", l.name), slog.String("route", dst.String()))
	}
	return plan.remove, errors.Join(errs...)
}

// routeTakenError names who has a route of ours.
type routeTakenError struct{ by string }

func (e *routeTakenError) Error() string {
	return "another program has routed it into " + e.by + "; stop that one (Coder Desktop uses the same network)"
}

func linkNamed(links []link, index int) string {
	for _, l := range links {
		if l.index == index {
			return l.name
		}
	}
	return fmt.Sprintf("interface %d", index)
}

func (o *OS) removeRoutes(l link, surplus []netip.Prefix) error {
	var errs []error
	for _, dst := range surplus {
		if err := o.request(rtmDelete, dst, l); err != nil && !errors.Is(err, syscall.ESRCH) {
			errs = append(errs, fmt.Errorf("remove route %s from %s: %w", dst, l.name, err))
			continue
		}
		o.log.Info("route removed", slog.String("interface", l.name), slog.String("route", dst.String()))
		errs = append(errs, o.journal.Done(o.change(kindRoute, l, dst)))
	}
	return errors.Join(errs...)
}

func (o *OS) routes() ([]message, error) {
	dump, err := o.system.Routes()
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	return decode(dump), nil
}

func (o *OS) request(kind byte, dst netip.Prefix, l link) error {
	return o.system.Request(encodeRoute(kind, dst, l.index, l.name, o.pid, int(o.sequence.Add(1))))
}
