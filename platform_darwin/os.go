package platform

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causewayhq/causeway/netcfg"
)

// journalName is the journal's file in the state directory.
const journalName = "host-changes.json"

// ModeResolverFiles is the one way in which names are resolved.
const ModeResolverFiles = "resolver-files"

// commandTimeout bounds each program that is run: none of them has to wait for
// anything but the local system.
const commandTimeout = 5 * time.Second

// Options of New. Logger and StateDir are needed.
type Options struct {
	Logger *slog.Logger
	// StateDir holds the journal. It must exist.
	StateDir string
	// ResolverDir is the directory of resolver(5); "" means /etc/resolver.
	ResolverDir string
}

// OS implements netcfg.OS on macOS.
type OS struct {
	log       *slog.Logger
	journal   *netcfg.Journal
	system    system
	resolvers resolverDir
	epoch     string // of this boot
	pid       int
	sequence  atomic.Uint32 // of requests to the routing table
	lookups   chan struct{} // a token for each lookup that has not come back
	failed    atomic.Bool   // the last attempt to apply what is wanted failed
	ownIndex  atomic.Int64  // of our interface, 0 if none; read by the watcher

	mu       sync.Mutex // serialises everything that touches the host
	want     *netcfg.Config
	flushDue bool // what the caches hold may be out of date

	stateMu  sync.Mutex // never held across a call
	mode     string
	foreign  []string // resolver files that are in our way
	rivals   []string // other resolvers for our suffixes
	rivalsAt time.Time
}

var _ netcfg.OS = (*OS)(nil)

// newOS opens the journal; it changes nothing on the host. A corrupt journal
// is kept aside, logged, and no reason to fail.
func newOS(options Options, sys system, epoch string) (*OS, error) {
	if options.ResolverDir == "" {
		options.ResolverDir = "/etc/resolver"
	}
	journal, err := netcfg.OpenJournal(filepath.Join(options.StateDir, journalName))
	if corrupt := new(netcfg.CorruptJournalError); errors.As(err, &corrupt) {
		options.Logger.Warn("journal of host changes is corrupt; going by ownership marks",
			slog.String("kept", corrupt.Aside), slog.String("error", corrupt.Err.Error()))
	} else if err != nil {
		return nil, err
	}
	return &OS{
		log: options.Logger, journal: journal, system: sys, epoch: epoch, pid: os.Getpid(),
		resolvers: resolverDir{path: options.ResolverDir, journal: journal, log: options.Logger},
		lookups:   make(chan struct{}, maxLookups),
	}, nil
}

// Apply brings the host to the wanted state and remembers it, so that Watch can
// bring it back there.
func (o *OS) Apply(ctx context.Context, want netcfg.Config) error {
	if err := want.Validate(); err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	clone := want.Clone()
	o.want = &clone
	err := o.apply(ctx, clone)
	o.failed.Store(err != nil)
	return err
}

// again applies the last wanted state, if there is one. With force the caches
// are flushed even if nothing was amiss.
func (o *OS) again(ctx context.Context, force bool) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.want == nil {
		return nil
	}
	o.flushDue = o.flushDue || force
	err := o.apply(ctx, *o.want)
	o.failed.Store(err != nil)
	return err
}

// apply does all parts in an order in which no name points to a network that
// is not there: link, addresses, routes, names; then what is too much goes. A
// part that fails keeps none of the others from being done.
func (o *OS) apply(ctx context.Context, want netcfg.Config) error {
	links, err := o.system.Links()
	if err != nil {
		return errors.Join(fmt.Errorf("list interfaces: %w", err), o.applyDNS(ctx, want.DNS))
	}
	errs := []error{o.undoElsewhere(ctx, links, want.Interface)}
	if want.Interface == "" {
		o.ownIndex.Store(0)
		return errors.Join(append(errs, o.applyDNS(ctx, want.DNS))...)
	}
	l, found := findLink(links, want.Interface)
	if !found {
		o.ownIndex.Store(0)
		return errors.Join(append(errs, fmt.Errorf("find interface %s: %w", want.Interface, ErrNoInterface), o.applyDNS(ctx, want.DNS))...)
	}
	o.ownIndex.Store(int64(l.index))
	errs = append(errs, o.applyLink(ctx, l, want.MTU))
	surplusAddresses, err := o.addAddresses(ctx, l, want.Addresses)
	errs = append(errs, err)
	surplusRoutes, err := o.addRoutes(links, l, want.Routes)
	errs = append(errs, err,
		o.applyDNS(ctx, want.DNS),
		o.removeRoutes(l, surplusRoutes),
		o.removeAddresses(ctx, l, surplusAddresses))
	return errors.Join(errs...)
}

// applyDNS brings the resolver files to what is wanted. Names without a name
// server are none: a file without one would make the system give up on them.
func (o *OS) applyDNS(ctx context.Context, dns netcfg.DNS) error {
	suffixes := dns.Suffixes
	if len(dns.Nameservers) == 0 {
		suffixes = nil
	}
	result, err := o.resolvers.apply(suffixes, dns.Nameservers)
	o.flushDue = o.flushDue || result.changed
	o.flush(ctx)
	o.stateMu.Lock()
	o.foreign = result.foreign
	o.mode = ""
	if len(suffixes) > 0 {
		o.mode = ModeResolverFiles
	}
	o.stateMu.Unlock()
	o.lookForRivals(ctx, suffixes, dns.Nameservers)
	return err
}

// DNSMode names the mechanism in use, "" while there are no names.
func (o *OS) DNSMode() string {
	o.stateMu.Lock()
	defer o.stateMu.Unlock()
	return o.mode
}

// Trouble names what stands in the way of our names: files of others for our
// suffixes, which we never touch, and other resolvers that claim them.
func (o *OS) Trouble() error {
	o.stateMu.Lock()
	defer o.stateMu.Unlock()
	var errs []error
	for _, path := range o.foreign {
		errs = append(errs, fmt.Errorf("resolver file %s belongs to another program; remove it to resolve these names", path))
	}
	for _, rival := range o.rivals {
		errs = append(errs, errors.New(rival))
	}
	return errors.Join(errs...)
}

// Upstreams is empty: macOS has split DNS, so nothing forwards.
func (o *OS) Upstreams() []netip.Addr { return nil }

// Close leaves the host as it is. Watch must have returned.
func (o *OS) Close() error { return nil }

// change names a thing on an interface, which a reboot destroys.
func (o *OS) change(kind string, l link, p netip.Prefix) netcfg.Change {
	return netcfg.Change{Kind: kind, Interface: l.name, Index: l.index, Value: p.String(), Epoch: o.epoch}
}

func (o *OS) run(ctx context.Context, path string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	_, err := o.system.Run(ctx, path, args...)
	return err
}

// undoElsewhere undoes what the journal lists on interfaces other than keep,
// also of an earlier one of that name, routes before addresses.
func (o *OS) undoElsewhere(ctx context.Context, links []link, keep string) error {
	var errs []error
	entries := o.journal.Entries()
	kept, found := findLink(links, keep)
	for _, kind := range []string{kindRoute, kindAddress} {
		for _, c := range entries {
			stays := found && c.Interface == kept.name && c.Index == kept.index && c.Epoch == o.epoch
			if c.Kind == kind && !stays {
				errs = append(errs, o.undo(ctx, links, c))
			}
		}
	}
	return errors.Join(errs...)
}

// Cleanup undoes what the journal lists and what carries our marks: resolver
// files with our line, routes with our flag. Names go first, so that none
// points to a network that has gone.
func (o *OS) Cleanup(ctx context.Context) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.want = nil
	errs := []error{o.applyDNS(ctx, netcfg.DNS{})}
	links, err := o.system.Links()
	if err != nil {
		return errors.Join(append(errs, fmt.Errorf("list interfaces: %w", err))...)
	}
	return errors.Join(append(errs, o.undoElsewhere(ctx, links, ""), o.undoMarked(links))...)
}

// undo takes one thing of the journal away, if it is still there: the same
// boot, an interface of the same name and index, and on it the very address,
// or the very route with our mark. Another program may have been given the
// name and the index since; it has neither.
func (o *OS) undo(ctx context.Context, links []link, c netcfg.Change) error {
	l, found := findLink(links, c.Interface)
	p, err := netip.ParsePrefix(c.Value)
	if !found || err != nil || l.index != c.Index || c.Epoch != o.epoch {
		return o.journal.Done(c)
	}
	if c.Kind == kindAddress {
		if !slices.Contains(l.addresses, p) {
			return o.journal.Done(c)
		}
		return o.removeAddresses(ctx, l, []netip.Prefix{p})
	}
	table, err := o.routes()
	if err != nil {
		return err
	}
	if slices.Contains(planRoutes(table, nil, l.index).remove, p) {
		return o.removeRoutes(l, []netip.Prefix{p})
	}
	return o.journal.Done(c)
}

// undoMarked finds routes that the journal does not know, after it was lost. On
// interfaces of other kinds a routing daemon may use the same flag. Addresses go
// with the process that has the interface.
func (o *OS) undoMarked(links []link) error {
	table, err := o.routes()
	if err != nil {
		return err
	}
	var errs []error
	for _, l := range links {
		if !strings.HasPrefix(l.name, "utun") {
			continue
		}
		errs = append(errs, o.removeRoutes(l, planRoutes(table, nil, l.index).remove))
	}
	return errors.Join(errs...)
}
