package service

import (
	"context"
	"errors"
	"log/slog"

	"github.com/causewayhq/causeway/localapi"
)

// Sessions tells whether a user is logged in to this machine. changed is closed
// when that may have changed, or when the context ends. An error means that it
// cannot be told here; users then count as logged in.
type Sessions func(ctx context.Context, user localapi.User) (present bool, changed <-chan struct{}, err error)

// presence is what is known of the sessions of one user.
type presence struct {
	user    localapi.User
	present bool
}

// away says that a profile's tunnel has to wait for its owner to log in; the
// caller holds mu.
func (s *Service) away(p *Profile) bool {
	return p != nil && p.AtLogin && s.config.Sessions != nil && s.presence != presence{p.Owner, true}
}

// wantsTunnel says whether a tunnel is wanted now; the caller holds mu, or is alone.
func (s *Service) wantsTunnel() bool { return s.state.wantsTunnel() && !s.away(s.state.profile()) }

// waiting is the user on whose sessions a tunnel depends.
func (s *Service) waiting() (localapi.User, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.state.profile()
	if p == nil || !p.AtLogin || s.config.Sessions == nil || !s.state.wantsTunnel() {
		return localapi.User{}, false
	}
	return p.Owner, true
}

// look asks whether the user is there now.
func (s *Service) look(ctx context.Context, user localapi.User) (changed <-chan struct{}) {
	present, changed, err := s.config.Sessions(ctx, user)
	if err != nil {
		s.config.Logger.Warn("sessions of users cannot be seen here: the tunnel is connected at once, as at boot", slog.Any("error", err))
		present, changed = true, ctx.Done()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := (presence{user, present}); now != s.presence {
		s.presence = now
		s.config.Logger.Info("owner's sessions", slog.String("owner", s.names.of(user)), slog.Bool("present", present))
		s.asked++
		s.wants.wake()
		s.changed.wake()
	}
	return changed
}

// keepPresence follows the sessions of the user on whom the tunnel depends.
func (s *Service) keepPresence(ctx context.Context) {
	if s.config.Sessions == nil {
		return
	}
	for ctx.Err() == nil {
		wants := s.wants.next()
		user, waits := s.waiting()
		if !waits {
			sleep(ctx, wants, 0)
			continue
		}
		lookCtx, stop := context.WithCancel(ctx)
		changed := s.look(lookCtx, user)
		for again := true; again; {
			select {
			case <-changed:
				again = false
			case <-wants:
				wants = s.wants.next()
				now, still := s.waiting()
				again = still && now == user
			case <-ctx.Done():
				again = false
			}
		}
		stop()
	}
}

// lookOnce knows before the start whether the tunnel has to wait.
func (s *Service) lookOnce(ctx context.Context) {
	if user, waits := s.waiting(); waits {
		lookCtx, stop := context.WithCancel(ctx)
		defer stop()
		s.look(lookCtx, user)
	}
}

// errNoSessions means that this system does not tell who is logged in.
var errNoSessions = errors.New("this system does not tell who is logged in")
