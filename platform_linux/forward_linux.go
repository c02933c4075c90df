package platform

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/causewayhq/causeway/netcfg"
)

func (o *OS) resolvConfChange() netcfg.Change {
	return netcfg.Change{Kind: kindResolvConf, Value: o.options.ResolvConf}
}

// applyResolvConf lists our servers first in resolv.conf. Those of the host stay
// listed after them: with us dead, libc asks them.
func (o *OS) applyResolvConf(dns netcfg.DNS) error {
	have, err := readText(o.options.ResolvConf)
	if err != nil {
		return err
	}
	want, err := addServers(have, dns.Nameservers)
	if err != nil {
		return fmt.Errorf("write %s: %w", o.options.ResolvConf, err)
	}
	if err := o.journal.Record(o.resolvConfChange()); err != nil {
		return err
	}
	if have == want {
		o.placed = true
		return nil
	}
	if o.placed && !hasServers(have) {
		o.loseRound(author(have))
	}
	if err := replaceText(o.options.ResolvConf, have, want); err != nil {
		return err
	}
	o.placed = true
	o.did("name server put first in resolv.conf", slog.String("file", o.options.ResolvConf))
	return nil
}

// loseRound takes down that our line was there and is there no more.
func (o *OS) loseRound(by string) {
	o.log.Warn("resolv.conf was rewritten", slog.String("file", o.options.ResolvConf), slog.String("by", by))
	o.modeMu.Lock()
	defer o.modeMu.Unlock()
	if o.fight.lose(time.Now(), by) {
		o.log.Error("giving resolv.conf up for a while: another program rewrites it again and again",
			slog.String("by", by), slog.Duration("pause", fightPause))
	}
}

// removeResolvConf takes our lines out and leaves all else as it is now, not as
// it was when they came: the host may be in another network since.
func (o *OS) removeResolvConf() error {
	have, err := readText(o.options.ResolvConf)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if want := removeServers(have); want != have {
		if err := o.journal.Record(o.resolvConfChange()); err != nil {
			return err
		}
		if err := replaceText(o.options.ResolvConf, have, want); err != nil {
			return err
		}
		o.did("name server taken out of resolv.conf", slog.String("file", o.options.ResolvConf))
	}
	o.placed = false
	if !o.recorded(o.resolvConfChange()) {
		return nil
	}
	if target, err := filepath.EvalSymlinks(o.options.ResolvConf); err == nil {
		if err := os.Remove(tempName(target)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return o.journal.Done(o.resolvConfChange())
}

// ownAddress tells that an address is ours to answer at, so nobody's upstream.
func ownAddress(want netcfg.Config) func(netip.Addr) bool {
	return func(a netip.Addr) bool {
		for _, s := range want.DNS.Nameservers {
			if s == a {
				return true
			}
		}
		for _, p := range append(want.Routes, want.Addresses...) {
			if p.Contains(a) {
				return true
			}
		}
		return false
	}
}

// Upstreams are the servers that the forwarder asks, in the order of the host.
func (o *OS) Upstreams() []netip.Addr {
	o.modeMu.Lock()
	defer o.modeMu.Unlock()
	return append([]netip.Addr(nil), o.upstreams...)
}

// setUpstreams reads what the host has now, if we forward. Servers on this
// machine are left out: see lookAtForwarding.
func (o *OS) setUpstreams(mode string, own func(netip.Addr) bool) {
	var list []netip.Addr
	if forwards(mode) {
		content, err := readText(o.options.ResolvConf)
		if err != nil {
			return // the last ones are the best guess
		}
		for _, a := range upstreams(content, own) {
			if !a.IsLoopback() {
				list = append(list, a)
			}
		}
	}
	o.modeMu.Lock()
	defer o.modeMu.Unlock()
	o.upstreams = list
}

func forwards(mode string) bool {
	return mode == ModeResolvConf || mode == ModeDebianResolvconf || mode == ModeOpenResolv
}
