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
)

// keepSaved writes what is kept to the disk after each change: soon, or at once
// if it is urgent. The first write comes at once, so that keys which peers have
// seen are never forgotten.
func (s *session) keepSaved(ctx context.Context) {
	rest := s.timedSave()
	for {
		wait := saveDelay
		select {
		case <-ctx.Done():
			return // shutdown saves
		case <-s.dirty:
		case <-s.urgent:
			wait = 0
		}
		delay := time.NewTimer(max(wait, time.Until(rest)))
		for waiting := true; waiting; {
			select {
			case <-ctx.Done():
				delay.Stop()
				return
			case <-s.urgent:
				delay.Reset(max(0, time.Until(rest)))
			case <-delay.C:
				waiting = false
			}
		}
		rest = s.timedSave()
	}
}

// timedSave saves, and says until when the disk is to have its rest.
func (s *session) timedSave() time.Time {
	began := time.Now()
	s.save()
	ended := time.Now()
	return ended.Add(min(saveShare*ended.Sub(began), savePause))
}

// save writes the state. A disk that refuses is a problem for the next start,
// not for this one.
func (s *session) save() {
	kept := s.tunnel.kept()
	if running := s.engine.Identity(); running.Node.Equal(kept.Identity.Node) {
		kept.Identity = running // with the port that is really in use
	}
	err := s.disk.save(kept)
	if err != nil {
		s.tunnel.log.Error("state not saved", slog.String("error", err.Error()))
	}
	s.tunnel.note(func(f *facts) { f.saveErr = err })
}
