package tunnel

import (
	"context"
	"log/slog"
	"time"
)

const (
	// saveDelay gathers the changes of a moment into one write.
	saveDelay = 500 * time.Millisecond
	// saveShare keeps saving to a twentieth of one core and of the disk's time,
	// however large the state is: so much longer than the last save took is the
	// pause after it. savePause bounds that pause.
	saveShare = 20
	savePause = 30 * time.Second
	// saveRetry is when a save that failed is tried again without a change.
	saveRetry = 30 * time.Second
)

// keepSaved writes what is kept to the disk after each change: soon, or at once
// if it is urgent. The first write comes at once, so that keys which peers have
// seen are never forgotten.
func (s *session) keepSaved(ctx context.Context) {
	for {
		began := time.Now()
		failed := s.save() != nil
		ended := time.Now()
		rested := ended.Add(min(saveShare*ended.Sub(began), savePause))
		if !s.unsaved(ctx, failed, rested) {
			return // shutdown saves
		}
	}
}

// unsaved waits until there is something to save and the disk has rested; false
// says that the context ended.
func (s *session) unsaved(ctx context.Context, failed bool, rested time.Time) bool {
	timer := time.NewTimer(saveRetry)
	defer timer.Stop()
	if !failed {
		timer.Stop()
	}
	dirty := s.dirty
	for {
		select {
		case <-ctx.Done():
			return false
		case <-dirty:
			dirty = nil // later changes are for the next round
			timer.Reset(max(saveDelay, time.Until(rested)))
		case <-s.urgent:
			dirty = nil // must not put it off
			timer.Reset(max(0, time.Until(rested)))
		case <-timer.C:
			return true
		}
	}
}

// save writes the state. A disk that refuses is a problem for the next start,
// not for this one.
func (s *session) save() error {
	kept := s.tunnel.kept()
	if running := s.engine.Identity(); running.Node.Equal(kept.Identity.Node) {
		kept.Identity = running // with the port that is really in use
	}
	err := s.disk.save(kept)
	if err != nil {
		s.tunnel.log.Error("state not saved", slog.String("error", err.Error()))
	}
	s.tunnel.note(func(f *facts) { f.saveErr = err })
	return err
}
