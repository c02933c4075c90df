package service

import (
	"log/slog"

	"github.com/causewayhq/causeway/proto/localv1"
)

// noTunnel decides what becomes of a start on a machine that cannot have a
// tunnel, for that reason: a daemon that goes on shows it in its status.
func (s *Service) noTunnel(why error) (goOn bool) {
	if !s.config.KeepGoing {
		return false
	}
	s.config.Logger.Error("this machine cannot have a tunnel now; going on without", slog.Any("error", why))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lacks = problemOf(why)
	return true
}

// lacking is what keeps this machine from having a tunnel, until one could be
// made all the same. The lock is held.
func (s *Service) lacking() *localv1.Problem {
	if s.lacks == nil || s.trouble != nil { // which is newer
		return nil
	}
	select {
	case <-s.config.Opened:
		return nil
	default:
		return s.lacks
	}
}
