package platform

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strconv"

	"github.com/causewayhq/causeway/netcfg"
)

// interfaceMetric is above all that Windows gives by itself (5 to 75, "Automatic
// Metric feature for IPv4 routes"), so that the adapter, which reports 100 Gbit/s,
// is nobody's preferred interface. Only our own prefix leads to it anyway.
const interfaceMetric = 500

// tcpip6Key holds DisabledComponents ("Guidance for configuring IPv6 in Windows").
const tcpip6Key = `SYSTEM\CurrentControlSet\Services\Tcpip6\Parameters`

// wantedSettings are those of a family on our adapter: nobody else is on the
// link, so no duplicate can be detected and no router discovered, and an
// address is usable at once.
func wantedSettings(have settings, mtu int) settings {
	have.AutomaticMetric, have.Metric = false, interfaceMetric
	have.DADTransmits, have.RouterDiscovery, have.ManagedAddresses = 0, false, false
	if mtu != 0 {
		have.MTU = uint32(mtu)
	}
	return have
}

// families are those that the configuration needs.
func families(want netcfg.Config) []family {
	var list []family
	for _, p := range slices.Concat(want.Addresses, want.Routes) {
		if f := familyOf(p.Addr()); !slices.Contains(list, f) {
			list = append(list, f)
		}
	}
	slices.Sort(list)
	return list
}

// applyFamilies sets up each family; those that the adapter lacks are returned,
// each with the reason, and everything else goes on without them.
func (o *OS) applyFamilies(ctx context.Context, adapter link, want netcfg.Config) (map[family]error, error) {
	missing := map[family]error{}
	var errs []error
	for _, f := range families(want) {
		var have settings
		err := o.await(ctx, adapter, func() error {
			var err error
			have, err = o.system.Family(adapter.LUID, f)
			return err
		})
		if err == nil {
			if wanted := wantedSettings(have, want.MTU); wanted != have {
				err = o.system.SetFamily(adapter.LUID, f, wanted)
			}
		}
		switch {
		case errors.Is(err, errMissing):
			missing[f] = o.whyMissing(f)
		case err != nil:
			errs = append(errs, fmt.Errorf("set up %s of %s: %w", f, adapter.Name, err))
		}
	}
	return missing, errors.Join(errs...)
}

// whyMissing puts into words why an interface lacks a family.
func (o *OS) whyMissing(f family) error {
	if f == ipv4 {
		return fmt.Errorf("%w on the adapter; bind \"Internet Protocol Version 4\" to it again", ErrIPv4Disabled)
	}
	v, err := o.system.Value(tcpip6Key, "DisabledComponents")
	number, parseErr := strconv.ParseUint(v.Data, 10, 32)
	if err != nil || parseErr != nil {
		number = 0
	}
	return fmt.Errorf("%w (%s); it is picked up by itself", ErrIPv6Disabled, ipv6Reason(uint32(number)))
}

// The bits of DisabledComponents that matter to an adapter.
const (
	ipv6OffAll    = 0xff // everywhere but on the loopback interface
	ipv6OffNative = 0x10 // on interfaces that are not tunnels
)

func ipv6Reason(components uint32) string {
	switch {
	case components&ipv6OffAll == ipv6OffAll:
		return fmt.Sprintf(`the registry's DisabledComponents is %#x, which switches it off everywhere: set it to 0 and reboot`, components)
	case components&ipv6OffNative != 0:
		return fmt.Sprintf(`the registry's DisabledComponents is %#x, which switches it off on network adapters: set it to 0 and reboot`, components)
	}
	return `the adapter is not bound to it: tick "Internet Protocol Version 6" in the adapter's properties`
}

// addressPlan is what has to happen to the addresses of our adapter.
type addressPlan struct {
	want, add, remove []netip.Prefix
	// idle are other adapters that are down and hold an address that is to be
	// added: Windows has an address once, also if nobody can use it there.
	idle []address
	// held are those that are up.
	held map[netip.Addr]string
}

func planAddresses(now snapshot, own luid, want []netip.Prefix) addressPlan {
	plan := addressPlan{want: want, held: map[netip.Addr]string{}}
	var have []netip.Prefix
	for _, a := range now.Addresses {
		// Link-local ones are Windows' own.
		if a.LUID == own && !a.Prefix.Addr().IsLinkLocalUnicast() {
			have = append(have, a.Prefix)
		}
	}
	plan.add, plan.remove = netcfg.DiffPrefixes(have, want)
	for _, a := range now.Addresses {
		isWanted := slices.ContainsFunc(plan.add, func(p netip.Prefix) bool { return p.Addr() == a.Prefix.Addr() })
		if a.LUID == own || !isWanted {
			continue
		}
		if i := slices.IndexFunc(now.Links, func(l link) bool { return l.LUID == a.LUID }); i >= 0 && now.Links[i].Up {
			plan.held[a.Prefix.Addr()] = now.Links[i].Name
		} else {
			plan.idle = append(plan.idle, a)
		}
	}
	return plan
}

func (o *OS) addAddresses(adapter link, plan addressPlan, missing map[family]error) error {
	if err := o.record(kindAddress, adapter, plan.want); err != nil {
		return err
	}
	var errs []error
	for _, p := range plan.add {
		err := missing[familyOf(p.Addr())]
		if err == nil {
			err = o.addAddress(adapter, p, plan.idle)
		}
		switch holder := plan.held[p.Addr()]; {
		case err == nil:
			o.log.Info("address added", slog.String("interface", adapter.Name), slog.String("address", p.String()))
		case errors.Is(err, errExists) && holder != "":
			errs = append(errs, fmt.Errorf("add address %s to %s: %w by adapter %q; stop what set it", p, adapter.Name, ErrAddressTaken, holder))
		case errors.Is(err, errExists):
			// Somebody, Windows perhaps, was faster than we.
		default:
			errs = append(errs, fmt.Errorf("add address %s to %s: %w", p, adapter.Name, err))
		}
	}
	return errors.Join(errs...)
}

// addAddress adds one, and if Windows refuses because adapters that are down
// have it, takes it from these first.
func (o *OS) addAddress(adapter link, p netip.Prefix, idle []address) error {
	err := o.system.AddAddress(adapter.LUID, p)
	if !errors.Is(err, errExists) {
		return err
	}
	freed := false
	for _, a := range idle {
		if a.Prefix.Addr() != p.Addr() {
			continue
		}
		if err := o.system.RemoveAddress(a.LUID, a.Prefix); err != nil && !errors.Is(err, errMissing) {
			return fmt.Errorf("free it from an adapter that is down: %w", err)
		}
		o.log.Info("address freed from an adapter that is down", slog.String("address", a.Prefix.String()))
		freed = true
	}
	if freed {
		err = o.system.AddAddress(adapter.LUID, p)
	}
	return err
}

// removeAddresses sweeps what our adapter has beyond the wanted.
func (o *OS) removeAddresses(adapter link, surplus []netip.Prefix) error {
	var errs []error
	for _, p := range surplus {
		if err := o.system.RemoveAddress(adapter.LUID, p); err != nil && !errors.Is(err, errMissing) {
			errs = append(errs, fmt.Errorf("remove address %s from %s: %w", p, adapter.Name, err))
			continue
		}
		o.log.Info("address removed", slog.String("interface", adapter.Name), slog.String("address", p.String()))
		errs = append(errs, o.journal.Done(o.change(kindAddress, p.String())))
	}
	return errors.Join(errs...)
}

// record writes down prefixes that are about to be set.
func (o *OS) record(kind string, adapter link, list []netip.Prefix) error {
	changes := make([]netcfg.Change, 0, len(list))
	for _, p := range list {
		changes = append(changes, o.change(kind, p.String()))
	}
	if err := o.journal.Record(changes...); err != nil {
		return fmt.Errorf("change %s: %w", adapter.Name, err)
	}
	return nil
}

// change names a thing on our adapter, which is known by its GUID: people may
// rename it.
func (o *OS) change(kind, value string) netcfg.Change {
	return netcfg.Change{Kind: kind, Interface: o.guid, Value: value}
}
