package service

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
	"github.com/causewayhq/causeway/tunnel"
)

func (o *fakeOS) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.cleanups
}

// failOnce has a running tunnel fail, and waits until the status says so.
func failOnce(t *testing.T, call *localapi.Client, failing *fakeTunnel) {
	t.Helper()
	stream, err := call.WatchStatus(t.Context(), &localv1.GetStatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	failing.failure <- errors.New("no device")
	for {
		status, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if status.GetState() == localv1.State_FAILED {
			return
		}
	}
}

// What a failed tunnel left on the host stays for its next, and is taken away
// when nobody wants that any more.
func TestLeftByAFailedTunnel(t *testing.T) {
	for name, test := range map[string]struct {
		end  func(t *testing.T, call *localapi.Client)
		want int
	}{
		"next try": {func(*testing.T, *localapi.Client) {}, 0},
		"down": {func(t *testing.T, call *localapi.Client) {
			if _, err := call.Down(t.Context(), &localv1.DownRequest{}); err != nil {
				t.Error(err)
			}
		}, 1},
		"sign-out": {func(t *testing.T, call *localapi.Client) {
			if _, err := call.Logout(t.Context(), &localv1.LogoutRequest{}); err != nil {
				t.Error(err)
			}
		}, 1},
		"sign in again":    {func(t *testing.T, call *localapi.Client) { loginAs(t, call, "https://coder.example.com", nextToken) }, 0},
		"sign in as other": {func(t *testing.T, call *localapi.Client) { loginAs(t, call, "https://coder.example.com", bobsToken) }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			_, call, _ := r.start(t)
			first := upAs(t, r, call)
			before := r.os.count()
			failOnce(t, call, first)
			test.end(t, call)
			if test.want == 0 || name == "sign in as other" {
				r.tunnel(t)
			}
			if got := r.os.count() - before; got != test.want {
				t.Errorf("%d cleanups, want %d", got, test.want)
			}
		})
	}
}

// The end of the daemon is a stop, but not to hand over.
func TestEndAfterAFailedTunnel(t *testing.T) {
	for name, test := range map[string]struct {
		cause error
		want  int
	}{"stop": {nil, 1}, "handover": {tunnel.ErrHandover, 0}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			s := New(r.config)
			s.os, s.state = r.os, wantingState()
			ctx, cancel := context.WithCancelCause(t.Context())
			ended := make(chan struct{})
			go func() { s.supervise(ctx); close(ended) }()
			changed := s.changed.next()
			r.tunnel(t).failure <- errors.New("no device")
			for s.problem() == nil {
				<-changed
				changed = s.changed.next()
			}
			cancel(test.cause)
			<-ended
			if got := r.os.count(); got != test.want {
				t.Errorf("%d cleanups, want %d", got, test.want)
			}
		})
	}
}

func (s *Service) problem() *localv1.Problem {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.trouble
}

// What cannot be taken away is told to who asked, in one line.
func TestLeftByAFailedTunnelStays(t *testing.T) {
	r := newRig(t)
	_, call, stop := r.start(t)
	failOnce(t, call, upAs(t, r, call))
	r.os.mu.Lock()
	r.os.err = errors.Join(errors.New("remove route: busy"), errors.New("restore hosts: denied"))
	r.os.mu.Unlock()
	if _, err := call.Down(t.Context(), &localv1.DownRequest{}); err == nil || !strings.Contains(err.Error(), "remove route: busy; restore hosts: denied") {
		t.Errorf("Down() = %v", err)
	}
	if err := stop(); err == nil {
		t.Error("the end says nothing of it")
	}
}

// A start that fails while a tunnel is wanted leaves the host as it is for the
// next try: names that somebody uses do not go dark. Where none is wanted,
// nothing may stay.
func TestFailedStartLeavesWantedNames(t *testing.T) {
	for name, test := range map[string]struct {
		state state
		want  int
	}{
		"wanted":     {wantingState(), 0},
		"down":       {func() state { s := wantingState(); s.up = false; return s }(), 1},
		"signed out": {func() state { s := wantingState(); s.profiles[0].Token = ""; return s }(), 1},
	} {
		t.Run(name, func(t *testing.T) {
			r, released := keeping(t)
			r.config.Preflight = func() error { return fail(FailureTUN, "modprobe tun", "no driver") }
			mkdir(t, r.config.StateDir, 0o700)
			if err := saveState(r.config.StateDir, test.state); err != nil {
				t.Fatal(err)
			}
			wantFailure(t, New(r.config).Run(t.Context()), FailureTUN)
			if got := r.os.count(); got != test.want || int(released.Load()) != test.want {
				t.Errorf("%d cleanups, let go %d times, want %d", got, released.Load(), test.want)
			}
		})
	}
}
