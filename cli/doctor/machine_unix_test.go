//go:build unix

package doctor

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

// fakeDaemon is a local API whose tunnel is starting for a while, and whose Up
// may fail.
type fakeDaemon struct {
	localv1.DRPCLocalUnimplementedServer
	looks atomic.Int32 // before the tunnel has started
	up    func(context.Context) error
	downs atomic.Int32
}

func (d *fakeDaemon) GetStatus(context.Context, *localv1.GetStatusRequest) (*localv1.Status, error) {
	switch left := d.looks.Add(-1); {
	case left >= 3:
		return nil, errors.New("cut off")
	case left >= 2:
		return &localv1.Status{State: localv1.State_DOWN, WantedUp: true}, nil
	case left >= 0:
		return &localv1.Status{State: localv1.State_STARTING}, nil
	}
	return &localv1.Status{State: localv1.State_CONNECTED}, nil
}

func (d *fakeDaemon) Examine(ctx context.Context, _ *localv1.ExamineRequest) (*localv1.ExamineResponse, error) {
	status, err := d.GetStatus(ctx, nil)
	return &localv1.ExamineResponse{Status: status}, err
}

func (d *fakeDaemon) Down(context.Context, *localv1.DownRequest) (*localv1.DownResponse, error) {
	d.downs.Add(1)
	return &localv1.DownResponse{}, nil
}

func (d *fakeDaemon) Up(ctx context.Context, _ *localv1.UpRequest) (*localv1.UpResponse, error) {
	return &localv1.UpResponse{}, d.up(ctx)
}

// serve gives the machine whose daemon it is.
func (d *fakeDaemon) serve(t *testing.T) *Machine {
	t.Helper()
	dir, err := os.MkdirTemp("", "cw") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	listener, err := localapi.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	allow := func(localapi.Caller, localapi.Access) error { return nil }
	go func() { ended <- localapi.Serve(ctx, listener, d, allow, slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return &Machine{Socket: path}
}

// What is missing while the tunnel starts is no fault: that is waited for.
func TestTunnelThatStartsIsWaitedFor(t *testing.T) {
	daemon := &fakeDaemon{}
	daemon.looks.Store(4)
	machine := daemon.serve(t)
	if got := machine.Tunnel(t.Context()); got.Err != nil || got.Status.GetState() != localv1.State_CONNECTED {
		t.Errorf("Tunnel() = %+v", got)
	}
}

// What the daemon complains of is waited for a moment, as its cause may have
// just gone.
func TestStaleComplaints(t *testing.T) {
	machine := (&fakeDaemon{}).serve(t)
	stale := Tunnel{Status: &localv1.Status{Problems: []*localv1.Problem{{Code: hostProblem, Cause: "shadowed"}}}}
	if got := machine.Complaints(t.Context(), stale); len(got) != 0 {
		t.Errorf("Complaints() = %v", got)
	}
	machine.Socket += "-none"
	if got := machine.Complaints(t.Context(), stale); len(got) != 1 {
		t.Errorf("Complaints() without a daemon = %v", got)
	}
}

func TestStarting(t *testing.T) {
	for name, test := range map[string]struct {
		break_ func(*Facts)
		want   bool
	}{
		"starts":        {noDaemon("activating", ""), true},
		"restarts":      {noDaemon("deactivating", ""), true},
		"just now":      {noDaemon("active", ""), true},
		"between":       {func(f *Facts) { noDaemon("inactive", "")(f); f.Daemon.Unit.Job = true }, true},
		"stopped":       {noDaemon("inactive", ""), false},
		"failed":        {noDaemon("failed", ""), false},
		"not a service": {func(f *Facts) { noDaemon("activating", "")(f); f.Daemon.Unit = Unit{} }, false},
		"answers":       {func(*Facts) {}, false},
	} {
		facts := wellFacts()
		test.break_(&facts)
		if got := facts.Daemon.starting(); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// A tunnel that does not come up again is told in words, and not waited for
// without end.
func TestCycleThatFails(t *testing.T) {
	daemon := &fakeDaemon{up: func(context.Context) error {
		return &localapi.Error{Code: localapi.CodeGeneric, Cause: "the disk is full", Remedy: "make room"}
	}}
	machine := daemon.serve(t)
	err := machine.Cycle(t.Context())
	var known *localapi.Error
	if !errors.As(err, &known) || !strings.Contains(err.Error(), "the disk is full") || strings.Contains(err.Error(), "%!") {
		t.Errorf("Cycle() = %v", err)
	}
	daemon.up = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	began := time.Now()
	if err := machine.Cycle(t.Context()); err == nil || time.Since(began) > 3*callLimit {
		t.Errorf("Cycle() of a daemon that is stuck = %v after %v", err, time.Since(began))
	}
	if got := daemon.downs.Load(); got != 2 {
		t.Errorf("taken down %d times", got)
	}
}
