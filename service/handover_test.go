package service

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causewayhq/causeway/netcfg"
	"github.com/causewayhq/causeway/proto/localv1"
	"github.com/causewayhq/causeway/tunnel"
)

// keeping is a rig whose device is kept, and says how often it was let go.
func keeping(t *testing.T) (*rig, *atomic.Int32) {
	t.Helper()
	r, released := newRig(t), new(atomic.Int32)
	r.config.Release = func() { released.Add(1) }
	return r, released
}

// run runs a service of which the test needs no API until end is called.
func (r *rig) run(t *testing.T) (end func(cause error) error) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- New(r.config).Run(ctx) }()
	t.Cleanup(func() { cancel(nil) })
	return func(cause error) error {
		cancel(cause)
		select {
		case err := <-ended:
			return err
		case <-time.After(10 * time.Second):
			return errors.New("Run did not end")
		}
	}
}

// wanting makes the state one that wants the tunnel up.
func (r *rig) wanting(t *testing.T) {
	t.Helper()
	_, call, stop := r.start(t)
	login(t, call)
	if _, err := call.Up(t.Context(), &localv1.UpRequest{}); err != nil {
		t.Fatal(err)
	}
	r.tunnel(t)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

// A handover tells the tunnel so and lets nothing go; the next process cleans
// nothing up. A stop lets the device go.
func TestHandoverIsNoStop(t *testing.T) {
	r, released := keeping(t)
	r.wanting(t)
	released.Store(0)
	cleanups := r.os.cleanups

	end := r.run(t)
	handed := r.tunnel(t)
	if err := end(tunnel.ErrHandover); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(handed.cause, tunnel.ErrHandover) {
		t.Errorf("the tunnel ended with the cause %v", handed.cause)
	}
	if released.Load() != 0 || r.os.cleanups != cleanups {
		t.Errorf("a handover let the device go %d times, and cleaned up %d times", released.Load(), r.os.cleanups-cleanups)
	}

	end = r.run(t)
	stopped := r.tunnel(t)
	if err := end(nil); err != nil {
		t.Fatal(err)
	}
	if errors.Is(stopped.cause, tunnel.ErrHandover) || released.Load() != 1 {
		t.Errorf("a stop ended the tunnel with %v and let the device go %d times", stopped.cause, released.Load())
	}
}

// lateContext tells of its end before contexts that are made from it hear.
type lateContext struct {
	context.Context
	done chan struct{}
}

func (c *lateContext) Done() <-chan struct{} { return c.done }

// The cause of a handover reaches the tunnel whoever is awake first.
func TestCauseReachesTheTunnel(t *testing.T) {
	r := newRig(t)
	for range 200 {
		s := New(r.config)
		inner, cancel := context.WithCancelCause(t.Context())
		ctx := &lateContext{inner, make(chan struct{})}
		ended := make(chan error, 1)
		go func() { ended <- s.runTunnel(ctx, Profile{}, Options{}, 1, nil) }()
		running := r.tunnel(t)
		cancel(tunnel.ErrHandover)
		close(ctx.done)
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		if !errors.Is(running.cause, tunnel.ErrHandover) {
			t.Fatalf("the tunnel ended with the cause %v", running.cause)
		}
	}
}

// Down and signing out let the device go before they answer, and so does a
// start that wants no tunnel.
func TestWhoWantsNoTunnelKeepsNoDevice(t *testing.T) {
	for name, ask := range map[string]func(*testing.T, *Service) error{
		"down": func(t *testing.T, s *Service) error {
			_, err := s.Down(as(t, 0), &localv1.DownRequest{})
			return err
		},
		"sign out": func(t *testing.T, s *Service) error {
			_, err := s.Logout(as(t, 0), &localv1.LogoutRequest{})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, released := keeping(t)
			r.wanting(t)
			s, _, stop := r.start(t)
			running := r.tunnel(t)
			released.Store(0)
			if err := ask(t, s); err != nil {
				t.Fatal(err)
			}
			if released.Load() == 0 || errors.Is(running.cause, tunnel.ErrHandover) {
				t.Errorf("let go %d times, cause %v", released.Load(), running.cause)
			}
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			released.Store(0)
			end := r.run(t)
			for deadline := time.Now().Add(10 * time.Second); released.Load() == 0 && time.Now().Before(deadline); {
				time.Sleep(time.Millisecond)
			}
			if err := end(tunnel.ErrHandover); err != nil || released.Load() == 0 {
				t.Errorf("the next start let go %d times, %v", released.Load(), err)
			}
		})
	}
}

// What cannot run here leaves nothing of an earlier daemon.
func TestRefusalCleansUp(t *testing.T) {
	r := newRig(t)
	refusal := fail(FailureTUN, "", "no device")
	r.config.Preflight = func() error { return refusal }
	if err := New(r.config).Run(t.Context()); !errors.Is(err, refusal) {
		t.Errorf("Run() = %v", err)
	}
	if r.os.cleanups != 1 {
		t.Errorf("%d cleanups", r.os.cleanups)
	}
	r.config.OpenOS = func() (netcfg.OS, error) { return nil, errors.New("no platform") }
	if err := New(r.config).Run(t.Context()); !errors.Is(err, refusal) {
		t.Errorf("Run() = %v", err)
	}
}

// A signal during a start does not cut short what the start undoes.
func TestStopDuringStart(t *testing.T) {
	for name, cause := range map[string]error{"stop": nil, "handover": tunnel.ErrHandover} {
		t.Run(name, func(t *testing.T) {
			r, _ := keeping(t)
			ctx, cancel := context.WithCancelCause(t.Context())
			open := r.config.OpenOS
			r.config.OpenOS = func() (netcfg.OS, error) { cancel(cause); return open() }
			if err := New(r.config).Run(ctx); err != nil {
				t.Errorf("Run() = %v", err)
			}
			if r.os.cleanups != 1 {
				t.Errorf("%d cleanups", r.os.cleanups)
			}
		})
	}
}

// READY comes with the device, with the reason why there is none, or at last.
func TestReady(t *testing.T) {
	for name, test := range map[string]struct {
		wanted bool
		happen func(s *Service, opened chan struct{})
		after  time.Duration
	}{
		"nothing wanted": {false, nil, 0},
		"device at once": {true, func(_ *Service, opened chan struct{}) { close(opened) }, 0},
		"device later":   {true, func(_ *Service, opened chan struct{}) { time.Sleep(2 * time.Second); close(opened) }, 2 * time.Second},
		"trouble":        {true, func(s *Service, _ chan struct{}) { time.Sleep(time.Second); s.settleAt(1, &localv1.Problem{}) }, time.Second},
		"device never":   {true, nil, readyLimit},
		"wanted no longer": {true, func(s *Service, _ chan struct{}) {
			time.Sleep(time.Second)
			s.mu.Lock()
			s.state.up = false
			s.mu.Unlock()
			s.changed.wake()
		}, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				opened, told := make(chan struct{}), make(chan string, 4)
				r.config.Opened = opened
				// A socket would be out of the bubble: the lookup of its name is
				// what shows that something was to be told.
				r.config.LookupEnv = func(name string) (string, bool) { told <- name; return "", false }
				s := New(r.config)
				s.state = wantingState()
				s.state.up = test.wanted
				if test.happen != nil {
					go test.happen(s, opened)
				}
				began := time.Now()
				s.tellReady(t.Context())
				if took := time.Since(began); took != test.after || len(told) != 1 {
					t.Errorf("told %d times after %v, want %v", len(told), took, test.after)
				}
			})
		})
	}
}

func TestWatchdogInterval(t *testing.T) {
	for name, test := range map[string]struct {
		env  map[string]string
		want time.Duration
	}{
		"none":       {nil, 0},
		"asked":      {map[string]string{"WATCHDOG_USEC": "60000000"}, time.Minute},
		"of us":      {map[string]string{"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "9"}, time.Millisecond},
		"of another": {map[string]string{"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "8"}, 0},
		"nonsense":   {map[string]string{"WATCHDOG_USEC": "soon"}, 0},
		"negative":   {map[string]string{"WATCHDOG_USEC": "-5"}, 0},
	} {
		lookup := func(name string) (string, bool) { text, ok := test.env[name]; return text, ok }
		if got := watchdogInterval(lookup, 9); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

// stuckTunnel has a status only later.
type stuckTunnel struct {
	*fakeTunnel
	free chan struct{}
}

func (t *stuckTunnel) Brief() *localv1.Status { <-t.free; return &localv1.Status{} }

// A daemon that is stuck with its lock is silent; one that works is not.
func TestWatchdogIsLiveness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		var pings atomic.Int32
		r.config.LookupEnv = func(name string) (string, bool) {
			if name == "NOTIFY_SOCKET" {
				pings.Add(1)
			}
			return "30000000", name == "WATCHDOG_USEC"
		}
		s := New(r.config)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); s.keepWatchdog(ctx) }()
		time.Sleep(65 * time.Second)
		if got := pings.Load(); got != 7 {
			t.Errorf("%d pings in 65 s of an interval of 30 s", got)
		}
		stuck := &stuckTunnel{fakeTunnel: &fakeTunnel{}, free: make(chan struct{})}
		s.mu.Lock()
		s.tunnel = stuck
		s.mu.Unlock()
		time.Sleep(time.Minute)
		if got := pings.Load(); got != 7 {
			t.Errorf("%d pings of a daemon that is stuck", got-7)
		}
		close(stuck.free)
		cancel()
		<-done
	})
}
