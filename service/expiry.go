package service

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/causewayhq/causeway/client"
	"github.com/causewayhq/causeway/proto/localv1"
	"github.com/causewayhq/causeway/tunnel"
)

const (
	// expiryEvery is how often a deployment is asked when the token ends, while
	// the tunnel is wanted: some move the end while the token is used.
	expiryEvery = 12 * time.Hour
	// expiryRetry is the pause after a question that was not answered.
	expiryRetry = 15 * time.Minute
	// expiryLimit bounds one question.
	expiryLimit = 20 * time.Second
	// expiryNotice is how long before its end a token becomes a problem.
	expiryNotice = 3 * 24 * time.Hour
	// expiryGrain is the least change that is worth writing down.
	expiryGrain = time.Minute
)

// TokenExpiry asks a real deployment when the profile's token ends.
func TokenExpiry(ctx context.Context, p Profile) (time.Time, error) {
	api, done, err := p.api(ctx)
	if err != nil {
		return time.Time{}, err
	}
	defer done()
	return api.TokenExpiry(ctx)
}

// keepExpiry knows when the active profile's token ends: it asks for a new token
// at once, and again while a tunnel is wanted.
func (s *Service) keepExpiry(ctx context.Context) {
	if s.config.Expiry == nil {
		return
	}
	var asked client.Token
	s.mu.Lock()
	if p := s.state.profile(); p != nil && !s.state.up {
		asked = p.Token // of an earlier process, which asked
	}
	s.mu.Unlock()
	next := time.Now()
	for ctx.Err() == nil {
		wants := s.wants.next()
		p, up := s.tokenInUse()
		now := time.Now()
		switch {
		case p == nil:
			sleep(ctx, wants, 0)
		case p.Token == asked && !up:
			sleep(ctx, wants, 0)
		case p.Token == asked && now.Before(next):
			sleep(ctx, wants, next.Sub(now))
		default:
			asked = p.Token
			next = now.Add(s.askExpiry(ctx, *p))
		}
	}
}

// tokenInUse is the active profile if it is signed in, and whether its tunnel
// is wanted.
func (s *Service) tokenInUse() (*Profile, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.state.profile()
	if p == nil || !p.signedIn() {
		return nil, false
	}
	copied := s.onMachine(*p)
	return &copied, s.state.up
}

// askExpiry asks once, and says when to ask again.
func (s *Service) askExpiry(ctx context.Context, p Profile) time.Duration {
	limit, cancel := context.WithTimeout(ctx, expiryLimit)
	defer cancel()
	expires, err := s.config.Expiry(limit, p)
	if err != nil {
		s.config.Logger.Debug("not known when the token ends", slog.Any("error", err))
		return expiryRetry
	}
	err = s.record(func(next *state) bool {
		i := next.index(p.ID)
		if i < 0 || next.profiles[i].Token != p.Token || expires.Sub(next.profiles[i].Expires).Abs() < expiryGrain {
			return false
		}
		next.profiles[i].Expires = expires
		return true
	})
	if err != nil {
		s.config.Logger.Warn("not kept when the token ends", slog.Any("error", err))
	}
	again := expiryEvery - rand.N(expiryEvery/4)
	// Before its end is said: it may have been moved.
	if last := time.Until(expires.Add(-expiryGrain)); last > 0 {
		again = min(again, last)
	}
	return again
}

// record stores what was learnt, which nobody asked for: the supervisor has
// nothing to do with it.
func (s *Service) record(edit func(*state) (changed bool)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := s.state.clone()
	if !edit(&next) {
		return nil
	}
	if err := saveState(s.config.StateDir, next); err != nil {
		return err
	}
	s.state = next
	s.changed.wake()
	return nil
}

// codeExpired is of a token that has ended.
const codeExpired = "token-expired"

// expiryProblem tells of a token that ends soon, or that has ended, which a
// control plane that is connected does not notice. Its text stays the same, so
// that a status is not a new one each second.
func expiryProblem(p Profile, now time.Time) *localv1.Problem {
	until := p.URL.Redacted() + " until " + p.Expires.Local().Format("Mon 2 Jan 15:04")
	again := "causeway login " + p.URL.Redacted() + " (names and sessions stay)"
	switch {
	case p.Expires.IsZero() || now.Before(p.Expires.Add(-expiryNotice)):
		return nil
	case now.Before(p.Expires):
		return &localv1.Problem{Code: "token-expires", Cause: "you are signed in to " + until, Remedy: "sign in again before that: " + again}
	}
	return &localv1.Problem{Code: codeExpired, Cause: "you were signed in to " + until, Remedy: "sign in again: " + again}
}

// saysSignedOut is what the deployment itself says of the token.
func saysSignedOut(problems []*localv1.Problem) bool {
	return slices.ContainsFunc(problems, func(one *localv1.Problem) bool { return one.GetCode() == tunnel.CodeSignedOut })
}
