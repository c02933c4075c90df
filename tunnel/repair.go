package tunnel

import (
	"context"
	"errors"
	"fmt"

	"github.com/causewayhq/causeway/netcfg"
)

// repairs hands requests over to the data plane, which alone may touch the
// host: whoever asked may still be there when it has gone.
type repairs struct {
	ask  chan repair
	over chan struct{} // closed when nobody takes them any more
}

type repair struct {
	flushOnly bool
	done      chan repaired // of one place
}

type repaired struct {
	answers bool // names do
	err     error
}

func newRepairs() repairs { return repairs{make(chan repair), make(chan struct{})} }

// RepairNames puts back what names need, unless told otherwise, empties the host's
// cache of them, and asks the canary: whether names answer now, and what failed.
func (t *Tunnel) RepairNames(ctx context.Context, flushOnly bool) (answers bool, err error) {
	t.mu.Lock()
	running := t.live
	t.mu.Unlock()
	if running == nil {
		return false, fmt.Errorf("repair names: %w", ErrNotRunning)
	}
	wanted := repair{flushOnly: flushOnly, done: make(chan repaired, 1)}
	select {
	case running.repairs.ask <- wanted:
	case <-running.repairs.over:
		return false, fmt.Errorf("repair names: %w", ErrNotRunning)
	case <-ctx.Done():
		return false, ctx.Err()
	}
	select {
	case done := <-wanted.done:
		return done.answers, done.err
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// mend serves the requests until the data plane ends.
func (s *session) mend(ctx context.Context, from repairs) {
	defer close(from.over)
	for {
		select {
		case <-ctx.Done():
			return
		case wanted := <-from.ask:
			wanted.done <- s.repair(ctx, wanted.flushOnly)
		}
	}
}

func (s *session) repair(ctx context.Context, flushOnly bool) repaired {
	var errs []error
	if !flushOnly && !s.apply(ctx) {
		s.tunnel.mu.Lock()
		errs = append(errs, s.tunnel.facts.applied.err)
		s.tunnel.mu.Unlock()
	}
	// Afterwards: what the system learns before it is put right is wrong again.
	if host, ok := s.tunnel.config.OS.(netcfg.Flusher); ok {
		flushCtx, cancel := context.WithTimeout(ctx, hostTimeout)
		if err := host.FlushNames(flushCtx); err != nil {
			errs = append(errs, fmt.Errorf("empty the system's cache of names: %w", err))
		}
		cancel()
	}
	err := s.lookup(ctx)
	if err != nil && pause(ctx, canaryAgain) {
		err = s.lookup(ctx)
	}
	s.tunnel.note(func(f *facts) {
		if ctx.Err() == nil {
			f.canary.done, f.canary.ok, f.canary.err = true, err == nil, err
		}
	})
	return repaired{err == nil, errors.Join(append(errs, err)...)}
}
