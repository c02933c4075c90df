package service

import (
	"context"
	"errors"
	"net/url"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

// fakeSessions are those of one user, whom the test logs in and out.
type fakeSessions struct {
	mu      sync.Mutex
	user    localapi.User
	present bool
	err     error
	changes broadcast
}

func (f *fakeSessions) look(_ context.Context, user localapi.User) (bool, <-chan struct{}, error) {
	changed := f.changes.next()
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.present && f.user == user, changed, f.err
}

func (f *fakeSessions) set(present bool) {
	f.mu.Lock()
	f.present = present
	f.mu.Unlock()
	f.changes.wake()
}

// loginState wants a tunnel up while alice is logged in.
func loginState() state {
	s := state{up: true}
	s.activate(Profile{
		ID: "1", Name: "h", Owner: localapi.User{UID: aliceUID}, URL: &url.URL{Scheme: "https", Host: "h"}, Token: goodToken, AtLogin: true,
	})
	return s
}

// TestTunnelWaitsForItsOwner follows logins and logouts, without a poll.
func TestTunnelWaitsForItsOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		sessions := &fakeSessions{user: localapi.User{UID: aliceUID}}
		r.config.Sessions = sessions.look
		s := New(r.config)
		s.os, s.state = r.os, loginState()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		s.lookOnce(ctx)
		var running sync.WaitGroup
		running.Go(func() { s.keepPresence(ctx) })
		running.Go(func() { s.supervise(ctx) })
		synctest.Wait()
		if status := s.status(); len(r.tunnels) != 0 || !status.GetWaitsForLogin() || !status.GetWantedUp() || status.GetState() != localv1.State_DOWN {
			t.Errorf("%d tunnels before the login, status %v", len(r.tunnels), status)
		}
		if _, err := s.running(); err == nil {
			t.Error("there is a tunnel")
		}
		sessions.set(true)
		synctest.Wait()
		if len(r.tunnels) != 1 || s.status().GetWaitsForLogin() {
			t.Fatalf("%d tunnels after the login", len(r.tunnels))
		}
		first := <-r.tunnels
		sessions.changes.wake() // nothing has changed
		synctest.Wait()
		if len(r.tunnels) != 0 {
			t.Error("the tunnel was made anew for nothing")
		}
		sessions.set(false)
		synctest.Wait()
		select {
		case <-first.ended:
		default:
			t.Error("the tunnel outlives the last session")
		}
		// A profile that connects at boot does not wait.
		s.mu.Lock()
		s.state.profiles[0].AtLogin = false
		s.asked++
		s.mu.Unlock()
		s.wants.wake()
		synctest.Wait()
		if len(r.tunnels) != 1 {
			t.Errorf("%d tunnels of a profile that connects at boot", len(r.tunnels))
		}
		cancel()
		running.Wait()
	})
}

// TestSessionsThatCannotBeSeen: then the tunnel is connected as at boot.
func TestSessionsThatCannotBeSeen(t *testing.T) {
	r := newRig(t)
	r.config.Sessions = (&fakeSessions{err: errors.New("no logind")}).look
	s := New(r.config)
	s.state = loginState()
	s.lookOnce(t.Context())
	if !s.wantsTunnel() {
		t.Error("the tunnel waits for what cannot be seen")
	}
}

// TestStartBeforeTheLogin cleans up as if no tunnel were wanted: after a boot
// there is none to adopt, and after a crash nobody is there who would use it.
func TestStartBeforeTheLogin(t *testing.T) {
	for name, present := range map[string]bool{"away": false, "there": true} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			sessions := &fakeSessions{user: localapi.User{UID: aliceUID}, present: present}
			r.config.Sessions = sessions.look
			mkdir(t, r.config.StateDir, 0o700)
			if err := saveState(r.config.StateDir, loginState()); err != nil {
				t.Fatal(err)
			}
			_, _, stop := r.start(t)
			want := 1
			if present {
				want = 0
				r.tunnel(t)
			}
			if got := r.os.count(); got != want || len(r.tunnels) != 0 {
				t.Errorf("%d cleanups, want %d; %d tunnels", got, want, len(r.tunnels))
			}
			if err := stop(); err != nil {
				t.Error(err)
			}
		})
	}
}
