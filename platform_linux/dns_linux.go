package platform

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/causewayhq/causeway/netcfg"
)

// nssResolvePaths is where distributions put the module; NixOS, which has it
// elsewhere, points resolv.conf to the stub.
var nssResolvePaths = []string{
	"/lib/*/libnss_resolve.so.2", "/usr/lib/*/libnss_resolve.so.2",
	"/lib64/libnss_resolve.so.2", "/usr/lib64/libnss_resolve.so.2",
	"/lib/libnss_resolve.so.2", "/usr/lib/libnss_resolve.so.2",
}

// detect looks at the host anew each time: at boot, resolved may come up after
// us, and a later look finds it; one at the caller's wish may even start it.
func (o *OS) detect(ctx context.Context, want netcfg.Config) dnsEnv {
	env := dnsEnv{forward: want.DNS.Forward, own: ownAddress(want)}
	env.resolvConf, env.resolvConfErr = readText(o.options.ResolvConf)
	if content, err := readText(o.options.Nsswitch); err == nil {
		env.nsswitch = content
	}
	for _, pattern := range nssResolvePaths {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			env.nssResolve = true
		}
	}
	env.resolvedErr = o.resolved.ping(ctx, o.asked)
	if mode, _ := chooseDNS(env); mode == ModeResolved {
		return env // nobody else need be asked
	}
	env.networkManager = o.networkManager(ctx)
	if env.forward {
		env.resolvconf = resolvconfKind(ctx)
		env.resolvconfInUse = o.resolvconfInUse(env.resolvconf, env.resolvConf)
		o.modeMu.Lock()
		env.fought, env.refused = o.fight.over(time.Now()), o.refusal != nil
		o.modeMu.Unlock()
	}
	return env
}

// mechanism is one way to make names known, and to take that back.
type mechanism struct {
	mode   string
	apply  func() error
	remove func() error
}

// mechanisms are bound to what is wanted; for removing, the zero value will do.
func (o *OS) mechanisms(ctx context.Context, link netlink.Link, want netcfg.Config) []mechanism {
	dns, own := want.DNS, ownAddress(want)
	return []mechanism{
		{ModeResolved, func() error { return o.applyResolved(ctx, link, dns) }, func() error { return o.revertResolved(ctx) }},
		{ModeNetworkManager, func() error { return o.applyDropIn(ctx, dns) }, func() error { return o.removeDropIn(ctx) }},
		{ModeResolvConf, func() error { return o.applyResolvConf(dns) }, o.removeResolvConf},
		{ModeDebianResolvconf, func() error { return o.applyRecord(ctx, debianResolvconf, dns, own) }, func() error { return o.removeRecord(ctx, debianResolvconf) }},
		{ModeOpenResolv, func() error { return o.applyRecord(ctx, openResolv, dns, own) }, func() error { return o.removeRecord(ctx, openResolv) }},
		{ModeHosts, func() error { return o.applyHosts(ctx, dns.Hosts) }, func() error { return o.removeHosts(ctx) }},
	}
}

// applyDNS makes our names known by the mechanism that the host uses, and takes
// back what another one said before. A mechanism that fails is replaced by the
// hosts file until the next attempt, so that names do not go dark; the error is
// reported all the same. link is nil if there is no interface.
func (o *OS) applyDNS(ctx context.Context, link netlink.Link, want netcfg.Config) error {
	all := o.mechanisms(ctx, link, want)
	if want.DNS.IsZero() {
		o.setMode("")
		o.setUpstreams("", nil)
		o.noteBypass("", dnsEnv{})
		return removeBut(all)
	}
	env := o.detect(ctx, want)
	if err := ctx.Err(); err != nil {
		return err // who does not answer in no time is not absent
	}
	mode, trail := chooseDNS(env)
	if mode != ModeHosts && (link == nil || len(want.DNS.Nameservers) == 0) {
		mode = ModeHosts
		trail = append(trail, "interface-or-server=missing", "mode="+mode)
	}
	o.logTrail(trail, env.resolvedErr)
	o.noteBypass(mode, env)
	failed := apply(all, mode)
	if failed == nil {
		o.setMode(mode)
		o.setUpstreams(mode, env.own)
		if mode == ModeHosts {
			return removeBut(all, mode)
		}
		// The new way stands: the hosts file may shrink to the net.
		return errors.Join(removeBut(all, mode, ModeHosts), o.applyNet(ctx, want.DNS))
	}
	if mode == ModeHosts {
		o.setMode(ModeHosts)
		return errors.Join(failed, removeBut(all, ModeHosts))
	}
	// What the other one was told stays: it may be what still works.
	o.log.Warn("DNS mode failed; names go to the hosts file", slog.String("mode", mode), slog.String("error", failed.Error()))
	o.setMode(ModeHosts)
	o.setUpstreams(ModeHosts, nil)
	return errors.Join(failed, apply(all, ModeHosts))
}

func apply(all []mechanism, mode string) error {
	for _, m := range all {
		if m.mode == mode {
			return m.apply()
		}
	}
	return nil
}

// removeBut takes back what all mechanisms but some have said.
func removeBut(all []mechanism, except ...string) error {
	var errs []error
	for _, m := range all {
		if !slices.Contains(except, m.mode) {
			errs = append(errs, m.remove())
		}
	}
	return errors.Join(errs...)
}

func (o *OS) logTrail(trail []string, resolvedErr error) {
	text := strings.Join(trail, " ")
	if text == o.trail {
		return
	}
	o.trail = text
	attrs := []slog.Attr{slog.String("reasons", text)}
	if resolvedErr != nil {
		attrs = append(attrs, slog.String("resolved", resolvedErr.Error()))
	}
	o.log.LogAttrs(context.Background(), slog.LevelInfo, "DNS mode chosen", attrs...)
}

func (o *OS) applyResolved(ctx context.Context, link netlink.Link, dns netcfg.DNS) error {
	if err := o.journal.Record(o.change(kindResolved, link, "")); err != nil {
		return err
	}
	sent, err := o.resolved.set(ctx, link.Attrs().Index, dns)
	if sent && err == nil {
		o.did("split DNS set in systemd-resolved", slog.String("interface", link.Attrs().Name),
			slog.String("suffixes", strings.Join(dns.Suffixes, " ")))
	}
	return err
}

// revertResolved undoes what the journal says was set in resolved, on the
// interfaces that are still the same ones.
func (o *OS) revertResolved(ctx context.Context) error {
	var errs []error
	for _, c := range o.journal.Entries() {
		if c.Kind == kindResolved {
			errs = append(errs, o.revertResolvedChange(ctx, c))
		}
	}
	return errors.Join(errs...)
}

func (o *OS) revertResolvedChange(ctx context.Context, c netcfg.Change) error {
	if o.alive(c) {
		// A resolved that is not there holds nothing either; when it starts
		// it drops what it saved for interfaces that have gone.
		if err := o.resolved.revert(ctx, c.Index); err != nil && !holdsNothing(err) {
			return err
		}
		o.did("split DNS taken out of systemd-resolved", slog.String("interface", c.Interface))
	}
	return o.journal.Done(c)
}

// holdsNothing tells from the error of a revert that there was nobody who could
// have anything of ours.
func holdsNothing(err error) bool {
	return errors.Is(err, errAbsent) || errors.Is(err, errElsewhere)
}
