package tunnel

import (
	"context"
	"log/slog"
	"time"
)

// saveDelay gathers the changes of a moment into one write.
const saveDelay = 500 * time.Millisecond

// keepSaved writes what is kept to the disk after each change. The first write
// comes at once, so that keys which peers have seen are never forgotten.
func (s *session) keepSaved(ctx context.Context) {
	s.save()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.dirty:
		}
		if !pause(ctx, saveDelay) {
			return // shutdown saves
		}
		s.save()
	}
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
