package platform

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strconv"

	"github.com/causewayhq/causeway/netcfg"
)

// ifconfigPath is that of ifconfig(8), which knows each version's own form of
// the requests that set an address.
const ifconfigPath = "/sbin/ifconfig"

const kindAddress = "address"

// ErrNoInterface says that our interface is not there.
var ErrNoInterface = errors.New("no such interface")

func findLink(links []link, name string) (link, bool) {
	for _, l := range links {
		if l.name == name {
			return l, true
		}
	}
	return link{}, false
}

// planAddresses compares an interface with what is wanted of it. Link-local
// addresses are the system's: it gives one to each interface.
func planAddresses(have, want []netip.Prefix) (add, remove []netip.Prefix) {
	var ours []netip.Prefix
	for _, p := range have {
		if !p.Addr().IsLinkLocalUnicast() {
			ours = append(ours, p)
		}
	}
	return netcfg.DiffPrefixes(ours, want)
}

// addressArgs are those of ifconfig(8). An IPv4 address of a point-to-point
// interface needs one for the far end.
func addressArgs(name string, p netip.Prefix, add bool) []string {
	family, verb := "inet6", "-alias"
	if p.Addr().Is4() {
		family = "inet"
	}
	if !add {
		return []string{name, family, p.Addr().String(), verb}
	}
	args := []string{name, family, p.String()}
	if p.Addr().Is4() {
		args = append(args, p.Addr().String())
	}
	return append(args, "alias")
}

// applyLink sets the MTU and brings the interface up. Neither is journalled:
// the interface is the process's own and goes with it.
func (o *OS) applyLink(ctx context.Context, l link, mtu int) error {
	var errs []error
	if mtu != 0 && l.mtu != mtu {
		errs = append(errs, o.run(ctx, ifconfigPath, l.name, "mtu", strconv.Itoa(mtu)))
	}
	if !l.up {
		errs = append(errs, o.run(ctx, ifconfigPath, l.name, "up"))
	}
	return errors.Join(errs...)
}

func (o *OS) addAddresses(ctx context.Context, l link, want []netip.Prefix) (surplus []netip.Prefix, err error) {
	add, surplus := planAddresses(l.addresses, want)
	var errs []error
	for _, p := range want {
		errs = append(errs, o.journal.Record(o.change(kindAddress, l, p)))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	for _, p := range add {
		if err := o.run(ctx, ifconfigPath, addressArgs(l.name, p, true)...); err != nil {
			errs = append(errs, fmt.Errorf("add address %s: %w", p, err))
			continue
		}
		o.log.Info("address added", slog.String("interface", l.name), slog.String("address", p.String()))
	}
	return surplus, errors.Join(errs...)
}

func (o *OS) removeAddresses(ctx context.Context, l link, surplus []netip.Prefix) error {
	var errs []error
	for _, p := range surplus {
		if err := o.run(ctx, ifconfigPath, addressArgs(l.name, p, false)...); err != nil {
			errs = append(errs, fmt.Errorf("remove address %s: %w", p, err))
			continue
		}
		o.log.Info("address removed", slog.String("interface", l.name), slog.String("address", p.String()))
		errs = append(errs, o.journal.Done(o.change(kindAddress, l, p)))
	}
	return errors.Join(errs...)
}
