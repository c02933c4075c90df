package tunnel

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"github.com/causewayhq/causeway/netcfg"
	"github.com/causewayhq/causeway/proto"
)

const (
	hostRetryFloor   = time.Second
	hostRetryCeiling = 30 * time.Second
)

// wanted is the host state that the tunnel wants now.
func (s *session) wanted() netcfg.Config {
	t := s.tunnel
	t.mu.Lock()
	defer t.mu.Unlock()
	want := netcfg.Config{
		Interface: s.device, MTU: MTU,
		Addresses: []netip.Prefix{t.saved.address()},
		Routes:    []netip.Prefix{proto.ServicePrefix},
		DNS:       netcfg.DNS{Nameservers: []netip.Addr{proto.DNSAddr}, Suffixes: []string{t.saved.Suffix}, Forward: t.config.DNSForwarder},
	}
	if t.live != nil {
		want.DNS.Hosts = t.live.book.hosts
	}
	return want
}

// apply brings the host to the wanted state, and says whether it did.
func (s *session) apply(ctx context.Context) bool {
	applyCtx, cancel := context.WithTimeout(ctx, hostTimeout)
	defer cancel()
	s.hosting <- struct{}{}
	err := s.tunnel.config.OS.Apply(applyCtx, s.wanted())
	<-s.hosting
	if ctx.Err() != nil {
		return false
	}
	if err != nil {
		s.tunnel.log.Error("host not configured", slog.String("error", err.Error()))
	}
	s.tunnel.note(func(f *facts) { f.applied.done, f.applied.err = true, err })
	s.signal(s.look)
	return err == nil
}

// keepHost applies again after each change, and until it works.
func (s *session) keepHost(ctx context.Context) {
	s.tunnel.mu.Lock()
	works := s.tunnel.facts.applied.err == nil
	s.tunnel.mu.Unlock()
	for wait := hostRetryFloor; ; wait = min(2*wait, hostRetryCeiling) {
		var again <-chan time.Time
		timer := time.NewTimer(wait)
		if !works {
			again = timer.C
		}
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-s.host:
		case <-again:
		}
		timer.Stop()
		if works = s.apply(ctx); works {
			wait = hostRetryFloor
		}
	}
}

// watchHost acts on what happens to the host, for as long as the tunnel runs.
func (s *session) watchHost(ctx context.Context) {
	for wait := hostRetryFloor; ; wait = min(2*wait, hostRetryCeiling) {
		err := s.tunnel.config.OS.Watch(ctx, s.happened)
		if ctx.Err() != nil {
			return
		}
		text := "ended without an error"
		if err != nil {
			text = err.Error()
		}
		s.tunnel.log.Warn("host not watched", slog.String("error", text))
		if !pause(ctx, wait) {
			return
		}
	}
}

func (s *session) happened(event netcfg.Event) {
	if event == netcfg.Troubled {
		s.signal(s.look)
		return
	}
	s.tunnel.log.Info("host changed", slog.Bool("woke", event == netcfg.Woke))
	if event == netcfg.Woke {
		s.signal(s.woke)
	}
	s.kick()
}

// wakeDrain is how long after a wake the old UDP sockets are kept. What came
// in while the host was away waits in them, and new ones would throw it away:
// sessions then wait for TCP to repeat itself, for as long again as they were
// silent (42 s after a minute, measured with the continuity rig).
const wakeDrain = 400 * time.Millisecond

// rebind opens the sockets anew after each wake: behind a NAT that has
// forgotten us the old ones are deaf.
func (s *session) rebind(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.woke:
		}
		if !pause(ctx, wakeDrain) {
			return
		}
		s.engine.Rebind()
	}
}
