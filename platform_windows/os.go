package platform

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causewayhq/causeway/hosts"
	"github.com/causewayhq/causeway/netcfg"
)

// The kinds of change in the journal, beside those of package nrpt. An adapter
// keeps its GUID over a reboot, and so do values in the registry; addresses and
// routes do not, but taking away what is not there does no harm. So none has an
// epoch.
const (
	kindAddress = "address"
	kindRoute   = "route"
	kindAdapter = "adapter-values"
	kindHosts   = "hosts"
)

// journalName is the journal's file in the state directory.
const journalName = "host-changes.json"

// rules are those of package nrpt.
type rules interface {
	SetDNS(ctx context.Context, suffixes []string, servers []netip.Addr) error
	Cleanup(ctx context.Context) error
	Recheck(ctx context.Context) error
	Flush(ctx context.Context) error
	Trouble() error
}

// OS implements netcfg.OS on Windows.
type OS struct {
	log     *slog.Logger
	journal *netcfg.Journal
	hosts   *hosts.Writer
	file    string // the hosts file
	rules   rules
	system  system
	guid    string // of our adapter
	signals chan Signal
	restart func()
	pending chan struct{} // lookups that Windows has not answered yet

	failed atomic.Bool   // the last attempt to apply what is wanted failed
	own    atomic.Uint64 // LUID of our adapter, 0 if none; read by the watchers

	mu      sync.Mutex // serialises everything that touches the host
	want    *netcfg.Config
	trail   string // of the last DNS decision, to log changes only
	settled luid   // the adapter whose parts have had their time to appear

	seenMu  sync.Mutex // never held across a call
	mode    string
	shadows error // routes of others that take ours
}

// parts are what an OS is made of.
type parts struct {
	logger   *slog.Logger
	stateDir string
	system   system
	rules    func(*netcfg.Journal) rules
	file     string
	guid     string
	restart  func()
}

func assemble(p parts) (*OS, error) {
	journal, err := netcfg.OpenJournal(filepath.Join(p.stateDir, journalName))
	if corrupt := new(netcfg.CorruptJournalError); errors.As(err, &corrupt) {
		p.logger.Warn("journal of host changes is corrupt; going by ownership marks",
			slog.String("kept", corrupt.Aside), slog.String("error", corrupt.Err.Error()))
	} else if err != nil {
		return nil, err
	}
	return &OS{
		log: p.logger, journal: journal, hosts: hosts.NewWriter(p.file, p.logger), file: p.file,
		rules: p.rules(journal), system: p.system, guid: p.guid, restart: p.restart,
		signals: make(chan Signal, signalBacklog), pending: make(chan struct{}, maxLookups),
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

// again applies the last wanted state, if there is one. Every part compares
// with what is there, so that nothing need be forced.
func (o *OS) again(ctx context.Context) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.want == nil {
		return nil
	}
	err := o.apply(ctx, *o.want)
	o.failed.Store(err != nil)
	return err
}

// apply does all parts in an order in which no name points to a network that
// is not there: adapter, addresses, routes, names; then what is too much goes.
// A part that fails keeps none of the others from being done.
func (o *OS) apply(ctx context.Context, want netcfg.Config) error {
	if want.Interface == "" {
		o.noAdapter()
		return errors.Join(o.applyDNS(ctx, want.DNS), o.undoAdapter())
	}
	adapter, now, err := o.ourLink(want.Interface)
	if err != nil {
		o.noAdapter()
		return errors.Join(err, o.applyDNS(ctx, want.DNS))
	}
	o.own.Store(uint64(adapter.LUID))
	missing, err := o.applyFamilies(ctx, adapter, want)
	errs := []error{err}
	// The sweep of addresses and routes comes last, by plans made before.
	addresses := planAddresses(now, adapter.LUID, want.Addresses)
	routes := planRoutes(now, adapter.LUID, want.Routes)
	errs = append(errs, o.addAddresses(adapter, addresses, missing), o.addRoutes(adapter, routes, missing),
		o.applyDNS(ctx, want.DNS), o.applyAdapterValues(ctx, adapter, missing),
		o.removeRoutes(adapter, routes.remove), o.removeAddresses(adapter, addresses.remove))
	o.noteShadows(shadows(now, adapter.LUID, want.Routes))
	o.settled = adapter.LUID
	return errors.Join(errs...)
}

// noAdapter forgets what is known of the one that was there.
func (o *OS) noAdapter() {
	o.own.Store(0)
	o.settled = 0
	o.noteShadows(nil)
}

// ourLink finds the adapter and refuses one that cannot be ours.
func (o *OS) ourLink(name string) (link, snapshot, error) {
	now, err := o.system.Snapshot()
	if err != nil {
		return link{}, now, fmt.Errorf("find adapter %s: %w", name, err)
	}
	for _, l := range now.Links {
		switch {
		case l.GUID == o.guid:
			return l, now, nil
		case l.Name == name:
			err = fmt.Errorf("use adapter %s: %w: its GUID is %s", name, ErrForeignInterface, l.GUID)
		}
	}
	if err == nil {
		err = fmt.Errorf("find adapter %s: %w", name, ErrNoInterface)
	}
	return link{}, now, err
}

// DNSMode names the mechanism in use, "" before the first Apply.
func (o *OS) DNSMode() string {
	o.seenMu.Lock()
	defer o.seenMu.Unlock()
	return o.mode
}

func (o *OS) setMode(mode string) {
	o.seenMu.Lock()
	defer o.seenMu.Unlock()
	o.mode = mode
}

func (o *OS) noteShadows(err error) {
	o.seenMu.Lock()
	defer o.seenMu.Unlock()
	o.shadows = err
}

// Trouble names what competes with us: foreign rules for our names, group
// policy, foreign routes within ours; and a hosts file that cannot be written.
func (o *OS) Trouble() error {
	o.seenMu.Lock()
	shadows := o.shadows
	o.seenMu.Unlock()
	return errors.Join(shadows, o.rules.Trouble(), o.hosts.Status().Err)
}

// Upstreams is empty: Windows splits DNS by itself, nothing forwards.
func (o *OS) Upstreams() []netip.Addr { return nil }

// Close ends the hosts writer; the host stays as it is. Watch must have returned.
func (o *OS) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.hosts.Close()
}

// settling is how long things may take to appear after the adapter was made: its
// families, its keys in the registry.
var settling = retry{first: 50 * time.Millisecond, factor: 2, most: 500 * time.Millisecond, deadline: 3 * time.Second}

// await makes an attempt, and repeats it while something is missing, unless the
// adapter has had that time before: what is missing then was taken away.
func (o *OS) await(ctx context.Context, adapter link, attempt func() error) error {
	if o.settled == adapter.LUID {
		return attempt()
	}
	return settling.while(ctx, attempt)
}

// retry is the policy of an attempt that is repeated.
type retry struct {
	first    time.Duration // between the first two attempts
	factor   int           // by which the waits grow
	most     time.Duration // that a wait becomes
	deadline time.Duration // for all attempts together
}

// while repeats an attempt for as long as it wraps errMissing.
func (r retry) while(ctx context.Context, attempt func() error) error {
	ctx, cancel := context.WithTimeout(ctx, r.deadline)
	defer cancel()
	wait := r.first
	for {
		err := attempt()
		if !errors.Is(err, errMissing) {
			return err
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
		wait = min(wait*time.Duration(r.factor), r.most)
	}
}
