package service

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causewayhq/causeway/proto/localv1"
)

// TestTokenExpiryIsAskedAndSaid: at once for a new token, now and then while the
// tunnel is wanted, again soon after no answer; and it is a problem for the last
// three days, until the token has ended.
func TestTokenExpiryIsAskedAndSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		mkdir(t, r.config.StateDir, 0o700)
		began := time.Now()
		expires := began.Add(10 * 24 * time.Hour)
		var asked atomic.Int32
		fails := errors.New("no answer")
		r.config.Expiry = func(context.Context, Profile) (time.Time, error) {
			if asked.Add(1) == 1 {
				return time.Time{}, fails
			}
			return expires, nil
		}
		s := New(r.config)
		s.os, s.state = r.os, wantingState()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan struct{})
		go func() { defer close(done); s.keepExpiry(ctx) }()
		synctest.Wait()
		if s.status().GetTokenExpiresAt() != nil || asked.Load() != 1 {
			t.Errorf("asked %d times, expires %v", asked.Load(), s.status().GetTokenExpiresAt())
		}
		time.Sleep(expiryRetry)
		synctest.Wait()
		if got := s.status().GetTokenExpiresAt().AsTime(); !got.Equal(expires) || asked.Load() != 2 {
			t.Errorf("asked %d times, expires %v", asked.Load(), got)
		}
		if kept, err := loadState(r.config.StateDir); err != nil || !kept.profile().Expires.Equal(expires) {
			t.Errorf("kept %+v, %v", kept.profile(), err)
		}
		said := func(code string) bool {
			for _, problem := range s.status().GetProblems() {
				if problem.GetCode() == code {
					return problem.GetRemedy() != ""
				}
			}
			return false
		}
		time.Sleep(time.Until(expires.Add(-expiryNotice - time.Second)))
		if said("token-expires") {
			t.Error("said too early")
		}
		time.Sleep(2 * time.Second)
		if !said("token-expires") {
			t.Error("not said three days before")
		}
		before := s.status()
		time.Sleep(time.Hour)
		if !sameStatus(before, s.status()) {
			t.Error("the status is another each time")
		}
		time.Sleep(time.Until(expires.Add(time.Second)))
		if said("token-expires") || !said("token-expired") {
			t.Error("not said that the token has ended, or both")
		}
		s.mu.Lock()
		s.tunnel = &fakeTunnel{status: &localv1.Status{Problems: []*localv1.Problem{{Code: "signed-out"}}}}
		s.mu.Unlock()
		if said("token-expired") {
			t.Error("said twice")
		}
		s.mu.Lock()
		s.tunnel = &fakeTunnel{status: &localv1.Status{State: localv1.State_CONNECTED, ControlConnected: true}}
		s.mu.Unlock()
		if now := s.status(); now.GetState() != localv1.State_DEGRADED || !said("token-expired") {
			t.Errorf("it goes on without a sign-in as %s: %v", now.GetState(), now.GetProblems())
		}
		s.mu.Lock()
		s.tunnel = nil
		s.mu.Unlock()
		if n := asked.Load(); n < 2+20 || n > 2+28 {
			t.Errorf("asked %d times in 10 days", n)
		}
		// Nobody wants the tunnel, nobody is asked.
		if _, err := s.change(func(next *state) error { next.up = false; return nil }); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		n := asked.Load()
		time.Sleep(100 * time.Hour)
		if asked.Load() != n {
			t.Error("asked for a tunnel that is down")
		}
		// A new token is another matter.
		if _, err := s.change(func(next *state) error { next.profiles[0].Token = nextToken; return nil }); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if asked.Load() != n+1 {
			t.Errorf("a new token: asked %d times", asked.Load()-n)
		}
		cancel()
		<-done
	})
}

// TestEndThatIsMovedIsNotSaid: some deployments move the end of a token that is
// used, so they are asked once more before it is said to have ended.
func TestEndThatIsMovedIsNotSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		mkdir(t, r.config.StateDir, 0o700)
		end := time.Now().Add(2 * time.Hour)
		moved := end.Add(30 * 24 * time.Hour)
		r.config.Expiry = func(context.Context, Profile) (time.Time, error) {
			if time.Until(end) > time.Hour {
				return end, nil
			}
			return moved, nil
		}
		s := New(r.config)
		s.os, s.state = r.os, wantingState()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan struct{})
		go func() { defer close(done); s.keepExpiry(ctx) }()
		time.Sleep(2*time.Hour + time.Second)
		if got := s.status(); !got.GetTokenExpiresAt().AsTime().Equal(moved) || len(got.GetProblems()) != 0 {
			t.Errorf("status %v", got)
		}
		cancel()
		<-done
	})
}

// TestExpiryDisturbsNothing: what is learnt is not what somebody asked for.
func TestExpiryDisturbsNothing(t *testing.T) {
	r := newRig(t)
	told := make(chan struct{})
	r.config.Expiry = func(ctx context.Context, _ Profile) (time.Time, error) {
		select {
		case <-told:
		case <-ctx.Done():
		}
		return time.Now().Add(time.Hour), nil
	}
	s, call, _ := r.start(t)
	tunnel := upAs(t, r, call)
	changed := s.changed.next()
	close(told)
	<-changed
	status := statusOf(t, call)
	if status.GetTokenExpiresAt() == nil || status.GetState() != localv1.State_CONNECTED || len(status.GetProblems()) != 1 {
		t.Errorf("status %v", status)
	}
	if len(tunnel.tokens) != 0 || tunnel.kicks.Load() != 0 {
		t.Error("the tunnel was disturbed")
	}
}
