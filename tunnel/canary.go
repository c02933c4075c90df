package tunnel

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/workspace"
)

const (
	canaryEvery   = 15 * time.Second
	canaryTimeout = 2 * time.Second
	// canaryAgain is the wait before a failure is believed.
	canaryAgain = 500 * time.Millisecond
	// canaryFailing is how often it asks while names do not resolve.
	canaryFailing = 3 * time.Second
	// While they do not, the host is configured again: at once, after mendFloor,
	// and then after twice as long each time, up to mendCeiling, without end.
	mendFloor   = 5 * time.Second
	mendCeiling = time.Minute
)

// mending says when a host on which names do not resolve is configured again.
type mending struct {
	next time.Time
	wait time.Duration
}

// due says whether it is time, and then takes it that it is done.
func (m *mending) due(now time.Time) bool {
	if now.Before(m.next) {
		return false
	}
	m.wait = min(max(2*m.wait, mendFloor), mendCeiling)
	m.next = now.Add(m.wait)
	return true
}

// canary asks the host's own resolver for the sentinel, as an application
// would: now and then, and after each change of the host. A failure is
// believed when it repeats itself, and then the host is configured again.
func (s *session) canary(ctx context.Context) {
	timer := time.NewTimer(canaryEvery)
	defer timer.Stop()
	var mend mending
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.look:
		case <-timer.C:
		}
		timer.Reset(canaryEvery)
		s.troubled()
		if !s.answering() {
			continue
		}
		err := s.lookup(ctx)
		if err != nil && pause(ctx, canaryAgain) {
			err = s.lookup(ctx)
		}
		if ctx.Err() != nil {
			return
		}
		s.sang(err, &mend)
		if err != nil {
			timer.Reset(canaryFailing)
		}
	}
}

// troubled notes what the host could not do although it took the wanted state.
// It is looked at as often as the names are: the host tells nobody of it.
func (s *session) troubled() {
	err := s.tunnel.config.OS.Trouble()
	s.tunnel.note(func(f *facts) { f.trouble = err })
}

// answering says whether our own resolver has anything to answer from yet.
func (s *session) answering() bool {
	s.tunnel.mu.Lock()
	defer s.tunnel.mu.Unlock()
	return s.tunnel.facts.names
}

// sang notes what the canary found, and has the host configured again while
// names do not resolve.
func (s *session) sang(err error, mend *mending) {
	t := s.tunnel
	worked := true
	t.note(func(f *facts) {
		worked = !f.canary.done || f.canary.ok
		f.canary.done, f.canary.ok, f.canary.err = true, err == nil, err
	})
	switch {
	case err == nil:
		*mend = mending{}
		if !worked {
			t.log.Info("names resolve on this host again")
		}
		return
	case worked:
		t.log.Warn("names do not resolve on this host", slog.String("error", err.Error()))
	}
	if mend.due(time.Now()) {
		s.signal(s.host)
	}
}

func (s *session) lookup(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, canaryTimeout)
	defer cancel()
	s.tunnel.mu.Lock()
	name := workspace.Sentinel + "." + strings.ToLower(s.tunnel.saved.Suffix)
	s.tunnel.mu.Unlock()
	addrs, err := s.tunnel.config.OS.Lookup(ctx, name)
	if err != nil {
		return fmt.Errorf("look up %s: %w", name, err)
	}
	if !slices.Contains(addrs, proto.DNSAddr) {
		return fmt.Errorf("look up %s: got %v, want %s", name, addrs, proto.DNSAddr)
	}
	return nil
}
