package tunnel

import (
	"context"
	"strings"
	"time"
)

const (
	// relayEvery is how often the home relay is looked at while it is not there,
	// and until there is a map. One that is there tells when it goes.
	relayEvery = time.Second
	// relayGrace is how long it may be away before it is a problem.
	relayGrace = 5 * time.Second
	// relayAskEvery is how often it is asked while the control plane is away, as
	// a cut may have hit both, and relayRetry while it is a problem itself.
	relayAskEvery   = 10 * time.Second
	relayRetry      = 3 * time.Second
	relayAskTimeout = 3 * time.Second
)

// relayFacts are what was measured of the home relay.
type relayFacts struct {
	connected bool
	away      bool // for longer than the grace
	err       error
}

// same says whether nothing that shows has changed.
func (r relayFacts) same(other relayFacts) bool {
	return r.connected == other.connected && r.away == other.away && (!r.away || sameError(r.err, other.err))
}

func (r relayFacts) problem() Problem {
	cause := "home relay not reached"
	if r.err != nil {
		cause += ": " + strings.ReplaceAll(r.err.Error(), "\n", ": ")
	}
	return Problem{CodeRelay, cause, "check that this host reaches the relay (a firewall or a proxy may be in the way); workspaces without a direct path cannot be reached until then"}
}

// watchRelay looks whether the home relay is there, once there is a map of
// relays. It is asked only when there is a reason to doubt it.
func (s *session) watchRelay(ctx context.Context) {
	good, failed := time.Now(), false
	for {
		changed := s.tunnel.Changed() // taken before what it tells of is looked at
		wait := relayEvery
		if mapped, doubt := s.relayWanted(); mapped {
			err := s.lookAtRelay(ctx, doubt || failed)
			if ctx.Err() != nil {
				return
			}
			now := time.Now()
			if failed = err != nil; !failed {
				good = now
			}
			away := now.Sub(good) >= relayGrace
			s.tunnel.note(func(f *facts) { f.relay = relayFacts{connected: !failed, away: away, err: err} })
			switch {
			case away:
				wait = relayRetry
			case doubt && !failed:
				wait = relayAskEvery
			case !failed:
				s.relayThere(ctx, changed)
				good, wait = time.Now(), 0 // it was there until now
			}
		} else {
			good = time.Now()
		}
		if !pause(ctx, wait) {
			return
		}
	}
}

// relayWanted says whether there is a map of relays, and whether the control
// plane is away.
func (s *session) relayWanted() (mapped, doubt bool) {
	s.tunnel.mu.Lock()
	defer s.tunnel.mu.Unlock()
	return s.tunnel.saved.Relays.DERPMap != nil, s.tunnel.facts.control.unreachable()
}

func (s *session) lookAtRelay(ctx context.Context, ask bool) error {
	ctx, cancel := context.WithTimeout(ctx, relayAskTimeout)
	defer cancel()
	return s.engine.HomeRelay(ctx, ask)
}

// relayThere waits, with a home relay that is there and nothing to doubt it by,
// until either may be otherwise. A timer would be what an idle daemon wakes up
// for most.
func (s *session) relayThere(ctx context.Context, changed <-chan struct{}) {
	select {
	case <-ctx.Done():
	case <-changed:
	case <-s.homed:
	}
}
