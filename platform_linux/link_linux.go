package platform

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/causewayhq/causeway/netcfg"
)

// Failures that have a remedy of their own.
var (
	// ErrNoInterface: the interface of the configuration is not there.
	ErrNoInterface = errors.New("interface not found")
	// ErrForeignInterface: it is there, but not a TUN device, so not ours.
	ErrForeignInterface = errors.New("interface is not a TUN device")
	// ErrIPv6Disabled: the host has IPv6 switched off.
	ErrIPv6Disabled = errors.New("IPv6 is disabled")
	// ErrRouteTaken: another program has the same route on another interface.
	ErrRouteTaken = errors.New("route is taken")
)

// dumpTries is how often a dump is repeated that the kernel calls inconsistent
// because something changed meanwhile.
const dumpTries = 5

// ourLink finds the interface and refuses one that cannot be ours.
func (o *OS) ourLink(name string) (netlink.Link, error) {
	link, err := o.netlink.LinkByName(name)
	if notFound := (netlink.LinkNotFoundError{}); errors.As(err, &notFound) {
		return nil, fmt.Errorf("find interface %s: %w", name, ErrNoInterface)
	}
	if err != nil {
		return nil, fmt.Errorf("find interface %s: %w", name, err)
	}
	if link.Type() != "tuntap" {
		return nil, fmt.Errorf("use interface %s of kind %s: %w", name, link.Type(), ErrForeignInterface)
	}
	return link, nil
}

// applyLink sets the MTU and brings the interface up.
func (o *OS) applyLink(link netlink.Link, mtu int) error {
	name := link.Attrs().Name
	if mtu != 0 && link.Attrs().MTU != mtu {
		if err := o.netlink.LinkSetMTU(link, mtu); err != nil {
			return fmt.Errorf("set MTU %d on %s: %w", mtu, name, err)
		}
	}
	if link.Attrs().Flags&net.FlagUp != 0 {
		return nil
	}
	if err := o.journal.Record(o.change(kindLink, link, "up")); err != nil {
		return err
	}
	if err := o.netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("bring %s up: %w", name, err)
	}
	o.did("interface is up", slog.String("interface", name), slog.Int("index", link.Attrs().Index))
	return nil
}

// addAddresses adds what is missing and returns what is too much.
func (o *OS) addAddresses(link netlink.Link, want []netip.Prefix) (surplus []netip.Prefix, err error) {
	name := link.Attrs().Name
	have, err := o.addresses(link)
	if err != nil {
		return nil, fmt.Errorf("list addresses of %s: %w", name, err)
	}
	add, surplus := netcfg.DiffPrefixes(have, want)
	changes := make([]netcfg.Change, 0, len(want))
	for _, p := range want {
		changes = append(changes, o.change(kindAddress, link, p.String()))
	}
	if err := o.journal.Record(changes...); err != nil {
		return nil, err
	}
	var errs []error
	for _, p := range add {
		if p.Addr().Is6() {
			if why := ipv6Off(name); why != "" {
				errs = append(errs, fmt.Errorf("add address %s to %s: %w (%s); switch it on, it is picked up by itself", p, name, ErrIPv6Disabled, why))
				continue
			}
		}
		// NODAD: the address is usable at once. There is nobody else on a
		// TUN device with whom it could collide.
		err := o.netlink.AddrAdd(link, &netlink.Addr{IPNet: ipNet(p), Flags: unix.IFA_F_NODAD})
		if err != nil && !errors.Is(err, unix.EEXIST) {
			errs = append(errs, fmt.Errorf("add address %s to %s: %w", p, name, err))
			continue
		}
		o.did("address added", slog.String("interface", name), slog.String("address", p.String()))
	}
	return surplus, errors.Join(errs...)
}

// removeAddresses sweeps what the device has beyond the wanted: left by an
// earlier run on a device that was kept.
func (o *OS) removeAddresses(link netlink.Link, surplus []netip.Prefix) error {
	name := link.Attrs().Name
	var errs []error
	for _, p := range surplus {
		err := o.netlink.AddrDel(link, &netlink.Addr{IPNet: ipNet(p)})
		if err != nil && !gone(err) {
			errs = append(errs, fmt.Errorf("remove address %s from %s: %w", p, name, err))
			continue
		}
		o.did("address removed", slog.String("interface", name), slog.String("address", p.String()))
		errs = append(errs, o.journal.Done(o.change(kindAddress, link, p.String())))
	}
	return errors.Join(errs...)
}

// addresses lists those that are somebody's wish: not link-local ones, which
// the kernel makes.
func (o *OS) addresses(link netlink.Link) ([]netip.Prefix, error) {
	list, err := retryDump(func() ([]netlink.Addr, error) {
		return o.netlink.AddrList(link, netlink.FAMILY_ALL)
	})
	if err != nil {
		return nil, err
	}
	var have []netip.Prefix
	for _, a := range list {
		if p, ok := prefix(a.IPNet); ok && !p.Addr().IsLinkLocalUnicast() {
			have = append(have, p)
		}
	}
	return have, nil
}

// undoElsewhere undoes what the journal lists on interfaces other than name,
// after the configured name has changed or the wish has become nothing.
func (o *OS) undoElsewhere(ctx context.Context, name string) error {
	others := map[string]bool{}
	for _, c := range o.journal.Entries() {
		if c.Interface != "" && c.Interface != name {
			others[c.Interface] = true
		}
	}
	var errs []error
	for other := range others {
		errs = append(errs, o.undoInterface(ctx, other))
	}
	return errors.Join(errs...)
}

// ipv6Off tells in words why the interface cannot have an IPv6 address, "" if
// it can.
func ipv6Off(name string) string {
	const root = "/proc/sys/net/ipv6"
	if _, err := os.Stat(root); err != nil {
		return "this kernel runs without IPv6: " + root + " is missing"
	}
	for _, scope := range []string{"all", name} {
		path := filepath.Join(root, "conf", scope, "disable_ipv6")
		if value, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(value)) == "1" {
			return path + " is 1"
		}
	}
	return ""
}

// gone tells that the thing to remove is not there, or its device is not.
func gone(err error) bool {
	return errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.ESRCH) ||
		errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOENT)
}

// retryDump repeats a dump that was interrupted by a change.
func retryDump[T any](dump func() ([]T, error)) (list []T, err error) {
	for range dumpTries {
		if list, err = dump(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return list, err
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func prefix(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(a.Unmap(), bits), ok
}
