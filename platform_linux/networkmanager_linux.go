package platform

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/godbus/dbus/v5"

	"github.com/causewayhq/causeway/netcfg"
)

// Names of NetworkManager on the bus, from its D-Bus reference manual.
const (
	nmName       = "org.freedesktop.NetworkManager"
	nmPath       = dbus.ObjectPath("/org/freedesktop/NetworkManager")
	nmDNSPath    = nmPath + "/DnsManager"
	nmDNSManager = nmName + ".DnsManager"

	// nmReloadDNSFull is NM_MANAGER_RELOAD_FLAG_DNS_FULL: start the DNS plugin
	// anew, after its drop-ins have changed.
	nmReloadDNSFull = uint32(0x4)
)

var nmService = service{nmName, "NetworkManager"}

// dropInName is our file among the drop-ins of NetworkManager's dnsmasq.
const dropInName = "causeway.conf"

// networkManager is what it says of its way with DNS: "dnsmasq",
// "systemd-resolved", "default", "none"; "" where none runs that has to do with
// this network.
func (o *OS) networkManager(ctx context.Context) string {
	var mode string
	if err := o.bus.property(ctx, nmService, nmDNSPath, nmDNSManager, "Mode", &mode); err != nil {
		return ""
	}
	if o.bus.here(ctx, nmService) != nil {
		return ""
	}
	return mode
}

func (o *OS) dropInPath() string { return filepath.Join(o.options.DnsmasqDir, dropInName) }

// dropInChange has no epoch: the file outlives a reboot.
func (o *OS) dropInChange() netcfg.Change {
	return netcfg.Change{Kind: kindDropIn, Value: o.dropInPath()}
}

// reloadChange stands for a dnsmasq that has not read the drop-in as it is now.
func (o *OS) reloadChange() netcfg.Change {
	return netcfg.Change{Kind: kindReload, Value: nmName, Epoch: o.epoch}
}

// applyDropIn has the dnsmasq of NetworkManager ask us for our suffixes. It is
// started anew, which answers nothing for a moment, only if the file has
// changed or if it may not have been since the file did.
func (o *OS) applyDropIn(ctx context.Context, dns netcfg.DNS) error {
	have, err := readText(o.dropInPath())
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return err
	}
	if !missing && !isDropIn(have) {
		return fmt.Errorf("write %s: the file is there and not ours", o.dropInPath())
	}
	want := dropIn(dns)
	stale := have != want || o.recorded(o.reloadChange()) || !o.recorded(o.dropInChange())
	if !stale {
		return nil
	}
	if err := o.journal.Record(o.dropInChange(), o.reloadChange()); err != nil {
		return err
	}
	if have != want {
		if err := replaceText(o.dropInPath(), have, want); err != nil {
			return err
		}
	}
	if err := o.reload(ctx); err != nil {
		return err
	}
	o.did("split DNS set in the dnsmasq of NetworkManager", slog.String("file", o.dropInPath()),
		slog.String("suffixes", strings.Join(dns.Suffixes, " ")))
	return nil
}

// removeDropIn takes our file away, found by the journal or by its mark.
func (o *OS) removeDropIn(ctx context.Context) error {
	have, err := readText(o.dropInPath())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	ours := err == nil && isDropIn(have)
	if !ours && !o.recorded(o.dropInChange()) {
		return nil
	}
	if ours {
		if err := o.journal.Record(o.dropInChange(), o.reloadChange()); err != nil {
			return err
		}
		if err := os.Remove(o.dropInPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		o.did("split DNS taken out of the dnsmasq of NetworkManager", slog.String("file", o.dropInPath()))
	}
	if err := os.Remove(tempName(o.dropInPath())); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if o.recorded(o.reloadChange()) {
		if err := o.reload(ctx); err != nil {
			return err
		}
	}
	return o.journal.Done(o.dropInChange())
}

// reload has NetworkManager start its dnsmasq anew. One that does not run, or
// has no dnsmasq now, will read the drop-ins when it starts.
func (o *OS) reload(ctx context.Context) error {
	if o.networkManager(ctx) == "dnsmasq" {
		err := o.bus.call(ctx, nmService, nmPath, nmName+".Reload", nmReloadDNSFull).err
		if err != nil && !errors.Is(err, errAbsent) {
			return err
		}
	}
	return o.journal.Done(o.reloadChange())
}

// recorded tells that the journal lists a change.
func (o *OS) recorded(c netcfg.Change) bool {
	for _, have := range o.journal.Entries() {
		if have == c {
			return true
		}
	}
	return false
}
