package tunnel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/control"
	"github.com/causewayhq/causeway/netcfg"
	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/tun"
	"github.com/causewayhq/causeway/workspace"
)

// hostTimeout bounds one visit to the operating system's configuration.
const hostTimeout = 15 * time.Second

// Run is the whole life of the tunnel, in the order in which it comes up: the
// kept state, the device, the data plane, the host's configuration, and then
// the control loop. When the context ends, everything is taken away again in
// the opposite order. A context that ended is no error, but ErrHost is when
// something could not be taken away. An error of Run is one of those of this
// package; when the context has not ended, the names stay on the host for the
// next tunnel, and whoever wants none has to call Cleanup of the OS.
func (t *Tunnel) Run(ctx context.Context) (err error) {
	t.note(func(f *facts) { *f = begun() })
	defer func() {
		t.setKick(nil)
		t.note(func(f *facts) { *f = facts{phase: phaseStopped, fatal: err} })
	}()
	disk, err := t.open()
	if err != nil {
		return err
	}
	web := httpClient(t.config.Profile, t.addresses)
	defer web.CloseIdleConnections()
	for again := (reopening{}); ; {
		began := time.Now()
		left, err := t.assemble(ctx, disk, web)
		var anew *reassembly
		switch {
		case ctx.Err() != nil:
		case errors.As(err, &anew):
			// What is on the host is brought to the next one's wishes.
			t.log.Info("tunnel is made anew", slog.String("reason", err.Error()))
			t.mu.Lock()
			t.adopt(anew.got)
			t.mu.Unlock()
			continue
		case errors.Is(err, ErrDeviceLost):
			wait, repeated := again.after(time.Since(began))
			t.log.Warn("tunnel is made anew", slog.String("reason", err.Error()), slog.Duration("after", wait))
			t.lost(err, repeated)
			if pause(ctx, wait) {
				continue
			}
		}
		return t.end(ctx, left, err)
	}
}

// open reads what an earlier process left, or starts afresh.
func (t *Tunnel) open() (store, error) {
	disk, err := openStore(t.config.StateDir)
	if err != nil {
		return store{}, err
	}
	kept, found, err := disk.load()
	t.mu.Lock()
	defer t.mu.Unlock()
	profile := t.profile()
	switch {
	case errors.Is(err, errCorrupt):
		t.log.Warn("kept state is ignored", slog.String("error", err.Error()))
	case err != nil:
		return store{}, err
	case found && !kept.belongs(profile):
		t.log.Info("kept state is of another deployment or user, and is ignored", slog.String("url", kept.URL))
		found = false
	}
	if !found {
		kept = fresh(profile)
	}
	t.saved = kept
	t.addresses.restore(kept.Places)
	return disk, nil
}

// assemble opens the device and runs one data plane on it. It also says whether
// the host has been left as it should be.
func (t *Tunnel) assemble(ctx context.Context, disk store, web *http.Client) (left bool, err error) {
	device, err := t.config.OpenDevice(t.config.Interface, MTU)
	if err != nil {
		return false, fmt.Errorf("%w: %w", ErrDevice, err)
	}
	name, err := device.Name()
	if err != nil {
		device.Close()
		return false, fmt.Errorf("%w: ask for its name: %w", ErrDevice, err)
	}
	asked := false
	if t.kept().Suffix == "" {
		if err := t.bootstrap(ctx, web); err != nil {
			device.Close()
			return false, err
		}
		asked = true
	}
	kept := t.kept()
	s := &session{
		tunnel: t, disk: disk, http: web, device: name, asked: asked,
		host: make(chan struct{}, 1), look: make(chan struct{}, 1), dirty: make(chan struct{}, 1), urgent: make(chan struct{}, 1),
		connected: make(chan struct{}, 1), kicked: make(chan struct{}, 1), began: make(chan struct{}, 1), woke: make(chan struct{}, 1),
		parted: make(chan struct{}, 1), doubt: make(chan struct{}, 1), homed: make(chan struct{}, 1), hosting: make(chan struct{}, 1), places: make(chan struct{}, pingsAtOnce),
	}
	var upstreams func() []netip.Addr
	if t.config.DNSForwarder {
		upstreams = t.config.OS.Upstreams
	}
	engine, answers, err := t.parts(ingredients{
		log: t.log, profile: t.config.Profile, headers: t.headers.now, name: name, device: device, kept: kept, addresses: t.addresses,
		began: func() { s.signal(s.began) }, homed: func() { s.signal(s.homed) }, upstreams: upstreams,
	})
	if err != nil {
		return false, fmt.Errorf("%w: %w", ErrEngine, err)
	}
	s.engine, s.answers, s.tun = engine, answers, device
	t.addresses.onChange(func() { s.signal(s.dirty) })
	defer t.addresses.onChange(nil)
	return s.run(ctx, device, kept)
}

// session is one data plane with everything that runs beside it.
type session struct {
	tunnel  *Tunnel
	engine  Engine
	answers answers
	loop    *control.Loop
	disk    interface{ save(saved) error }
	http    *http.Client
	tun     tun.Device
	teller  *teller // nil: telemetry is off
	device  string  // name of the interface
	asked   bool    // the control plane has just said who we are
	dialed  Token   // of the last dial; under the tunnel's lock

	// One-slot signals: bring the host up to date, look with the canary, save
	// soon, save now, the control connection is up, try again what failed, a
	// peer has a session for the first time, the host woke, the control
	// connection ended, look whether the peers in use still answer, the home relay
	// may have come or gone.
	host, look, dirty, urgent, connected, kicked, began, woke, parted, doubt, homed chan struct{}
	// hosting holds a token while somebody brings the host to the wanted state:
	// what was wanted last is then also applied last.
	hosting chan struct{}
	// places bounds the pings under way.
	places chan struct{}
}

func (s *session) signal(to chan struct{}) {
	select {
	case to <- struct{}{}:
	default:
	}
}

// fragile is a device that tells when the system has taken it away, and patient
// one that keeps packets while there is nobody to answer them.
type (
	fragile interface{ Lost() <-chan struct{} }
	patient interface {
		Begin()
		Pause()
	}
)

func (s *session) run(outer context.Context, device tun.Device, kept saved) (left bool, err error) {
	t := s.tunnel
	defer device.Close() // the engine has closed it; a fake one may not have
	s.teller = newTeller(t.config.Telemetry, t.log, t.config.Version, kept.ClientID)
	s.loop = s.newLoop(kept)
	t.mu.Lock()
	t.live = &live{
		engine: s.engine, answers: s.answers, loop: s.loop, teller: s.teller, pings: map[uuid.UUID]pong{}, presence: newPresence(),
		saveSoon: func() { s.signal(s.dirty) }, repairs: newRepairs(),
		wake: func() { s.happened(netcfg.Woke) },
	}
	repairs := t.live.repairs
	t.publish()
	t.mu.Unlock()
	t.setKick(s.kick)
	s.resume(kept)
	if waits, ok := device.(patient); ok {
		waits.Begin()
	}
	s.apply(outer)

	ctx, cancel := context.WithCancelCause(outer)
	defer cancel(nil)
	var group sync.WaitGroup
	// The loop ends last of all, so that what is over can still be told.
	loopCtx, stopLoop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stopLoop(nil)
	group.Go(func() { _ = s.loop.Run(loopCtx) })
	group.Go(func() { s.watchHost(ctx) })
	group.Go(func() { s.rebind(ctx) })
	group.Go(func() { s.keepHost(ctx) })
	group.Go(func() { s.canary(ctx) })
	group.Go(func() { s.mend(ctx, repairs) })
	group.Go(func() { s.probe(ctx) })
	group.Go(func() { s.overdue(ctx) })
	group.Go(func() { s.watchRelay(ctx) })
	group.Go(func() { s.keepSaved(ctx) })
	group.Go(func() {
		if err := s.refresh(ctx); err != nil {
			cancel(err)
		}
	})
	group.Go(func() { s.stands(ctx) })
	if mayGo, ok := device.(fragile); ok {
		group.Go(func() {
			select {
			case <-mayGo.Lost():
				cancel(fmt.Errorf("%w: %s is gone", ErrDeviceLost, s.device))
			case <-ctx.Done():
			}
		})
	}
	<-ctx.Done()
	why := context.Cause(ctx)
	s.teller.close(t.surroundings)
	if handedOver(outer) || errors.Is(why, ErrDeviceLost) {
		stopLoop(ErrHandover)
	} else {
		stopLoop(nil)
	}
	t.note(func(f *facts) { f.phase = phaseStopping })
	group.Wait()
	if outer.Err() != nil {
		return true, s.shutdown(func() error { return t.leave(outer, t.empty) })
	}
	t.note(func(f *facts) { *f = begun() })
	if s.ofAnother(why) {
		return true, errors.Join(why, s.shutdown(func() error { return t.leave(outer, t.empty) }))
	}
	// The next data plane takes over the host as it is.
	return false, errors.Join(why, s.shutdown(func() error { return nil }))
}

// ofAnother says that the data plane ends because we have become another user,
// for whom nothing may be left.
func (s *session) ofAnother(why error) bool {
	var anew *reassembly
	if !errors.As(why, &anew) {
		return false
	}
	s.tunnel.mu.Lock()
	defer s.tunnel.mu.Unlock()
	return s.tunnel.saved.ofAnother(anew.got.user)
}

// resume gives the data plane what an earlier process knew, so that its
// sessions go on whether or not the control plane is there.
func (s *session) resume(kept saved) {
	if kept.Relays.DERPMap != nil {
		s.engine.SetRelayMap(kept.Relays.RelayMap)
	}
	replay(s.engine, kept.Active, kept.Nodes)
	s.engine.Handshake(kept.Active)
}

// shutdown ends the data plane. It leaves the host while the device is still
// there to be named; its error is that of leave.
func (s *session) shutdown(leave func() error) error {
	t := s.tunnel
	s.collect()
	_ = s.save() // said and shown by itself
	left := leave()
	if waits, ok := s.tun.(patient); ok {
		waits.Pause() // before anything is gone that answers
	}
	t.mu.Lock()
	t.live = nil
	t.notify()
	t.mu.Unlock()
	s.answers.close()
	if err := s.engine.Close(); err != nil {
		t.log.Warn("data plane did not close cleanly", slog.String("error", err.Error()))
	}
	return left
}

func (s *session) newLoop(kept saved) *control.Loop {
	profile := s.tunnel.config.Profile
	return &control.Loop{
		Dialer: &control.Dialer{
			URL: profile.URL, Path: control.UserPath, Headers: s.tunnel.headers.get, HTTP: s.http, Logger: s.tunnel.log,
			Token: s.dialToken,
		},
		Logger: s.tunnel.log, Coordinatee: attendance{s.engine, s}, OwnerID: kept.User.ID, Known: kept.Workspaces,
		RelayMap: s.relays, Workspaces: s.workspaces, Connected: s.heard, Retry: s.retrying,
		Resume: kept.Resume, ResumeChanged: s.resumeChanged, Telemetry: s.teller.on(),
	}
}

func (s *session) relays(m proto.RelayMap) {
	s.engine.SetRelayMap(m)
	s.keep(func(k *saved) { k.Relays.RelayMap = m })
}

func (s *session) resumeChanged(token control.ResumeToken) {
	s.keep(func(k *saved) { k.Resume = token })
}

// workspaces takes a change of what exists: first to the resolver, then to the
// host and the disk.
func (s *session) workspaces(state *workspace.State, diff workspace.Diff) error {
	t := s.tunnel
	t.mu.Lock()
	first := t.saved.Workspaces == nil
	t.saved.Workspaces, t.saved.AsOf = state, time.Now()
	// The first message of a connection, a full state, comes before it counts as up.
	if !t.facts.control.connected {
		t.snapshots++
		t.revision++
		t.notify()
	}
	if first || !diff.Empty() {
		t.publish()
		t.forgetPings()
	}
	t.mu.Unlock()
	s.signal(s.host)
	s.signal(s.dirty)
	return nil
}

// kick makes everything that waits try at once.
func (s *session) kick() {
	s.http.CloseIdleConnections()
	s.loop.Kick()
	s.signal(s.host)
	s.signal(s.look)
	s.signal(s.kicked)
}

// keep changes what will be saved.
func (s *session) keep(change func(*saved)) {
	s.tunnel.mu.Lock()
	change(&s.tunnel.saved)
	s.tunnel.mu.Unlock()
	s.signal(s.dirty)
}

func (t *Tunnel) kept() saved {
	t.mu.Lock()
	defer t.mu.Unlock()
	kept := t.saved
	kept.Active, kept.Nodes = slices.Clone(kept.Active), maps.Clone(kept.Nodes)
	kept.Places = t.addresses.places()
	if t.facts.control.connected {
		kept.AsOf = time.Now()
	}
	return kept
}

func (t *Tunnel) setKick(kick func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kick = kick
}

// address is our own, which stays the same from process to process.
func (k saved) address() netip.Prefix {
	return netip.PrefixFrom(proto.AddrFromUUID(proto.ServicePrefix, k.ClientID), 128)
}
