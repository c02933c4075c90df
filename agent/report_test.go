package agent

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"storj.io/drpc/drpcerr"

	"github.com/causewayhq/causeway/proto/agentv2"
)

// taker records what it is told, after failing as often as it is asked to.
type taker struct {
	failures []error
	startups int
	states   []agentv2.Lifecycle_State
}

func (k *taker) fail() error {
	if len(k.failures) == 0 {
		return nil
	}
	err := k.failures[0]
	k.failures = k.failures[1:]
	return err
}

func (k *taker) UpdateStartup(context.Context, *agentv2.UpdateStartupRequest) (*agentv2.Startup, error) {
	if err := k.fail(); err != nil {
		return nil, err
	}
	k.startups++
	return &agentv2.Startup{}, nil
}

func (k *taker) UpdateLifecycle(_ context.Context, in *agentv2.UpdateLifecycleRequest) (*agentv2.Lifecycle, error) {
	if err := k.fail(); err != nil {
		return nil, err
	}
	k.states = append(k.states, in.GetLifecycle().GetState())
	return in.GetLifecycle(), nil
}

func drain(r *reporter, limit time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	r.steps.drain(ctx)
}

func TestReports(t *testing.T) {
	all := []agentv2.Lifecycle_State{agentv2.Lifecycle_STARTING, agentv2.Lifecycle_READY}
	broken := errors.New("database is away")
	tests := []struct {
		name     string
		failures []error
		startups int
		states   []agentv2.Lifecycle_State
		took     time.Duration
	}{
		{"taken at once", nil, 1, all, 0},
		{"unimplemented by code", []error{drpcerr.WithCode(errors.New("no"), drpcerr.Unimplemented)}, 0, all, 0},
		{"unimplemented by text", []error{errors.New("protocol error: unknown rpc: /coder.agent.v2.Agent/UpdateStartup")}, 0, all, 0},
		{"lifecycle unimplemented", []error{nil, drpcerr.WithCode(errors.New("no"), drpcerr.Unimplemented)}, 1, all[1:], 0},
		{"taken later, in order", []error{broken, nil, broken, broken}, 1, all, 3 * reportRetry},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newReporter(slog.New(slog.DiscardHandler), "v")
				r.add(all[0])
				r.add(all[1])
				client := &taker{failures: test.failures}
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan struct{})
				started := time.Now()
				go func() {
					defer close(done)
					r.run(ctx, client, "/home")
				}()
				drain(r, time.Hour)
				if took := time.Since(started); took != test.took {
					t.Errorf("took %s, want %s", took, test.took)
				}
				cancel()
				<-done
				if client.startups != test.startups || !slices.Equal(client.states, test.states) {
					t.Errorf("told %d startups and %v", client.startups, client.states)
				}
			})
		})
	}
}

func TestReportsGoOnWithTheNextConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReporter(slog.New(slog.DiscardHandler), "v")
		r.add(agentv2.Lifecycle_STARTING)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		r.run(ended, &taker{failures: []error{errors.New("closed")}}, "/")

		started := time.Now()
		drain(r, time.Second) // nobody takes it
		if took := time.Since(started); took != time.Second {
			t.Errorf("flush took %s", took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		client := &taker{}
		go func() {
			drain(r, time.Minute)
			r.add(agentv2.Lifecycle_READY)
			synctest.Wait()
			drain(r, time.Minute)
			cancel()
		}()
		r.run(ctx, client, "/")
		if len(client.states) != 2 || client.startups != 1 {
			t.Errorf("told %v", client.states)
		}
	})
}

// TestLifeDoesNotGoBack when the start of scripts ends after the end has begun.
func TestLifeDoesNotGoBack(t *testing.T) {
	r := newReporter(slog.New(slog.DiscardHandler), "v")
	for _, state := range []agentv2.Lifecycle_State{
		agentv2.Lifecycle_STARTING, agentv2.Lifecycle_STARTING, agentv2.Lifecycle_SHUTTING_DOWN, agentv2.Lifecycle_READY,
		agentv2.Lifecycle_START_ERROR, agentv2.Lifecycle_SHUTDOWN_ERROR, agentv2.Lifecycle_SHUTTING_DOWN,
	} {
		r.add(state)
	}
	var got []agentv2.Lifecycle_State
	for _, step := range r.steps.items {
		got = append(got, step.GetState())
	}
	want := []agentv2.Lifecycle_State{agentv2.Lifecycle_STARTING, agentv2.Lifecycle_SHUTTING_DOWN, agentv2.Lifecycle_SHUTDOWN_ERROR}
	if !slices.Equal(got, want) {
		t.Errorf("told %v, want %v", got, want)
	}
}

func TestPendingDropsTheOldest(t *testing.T) {
	p := newPending[int](3)
	for i := range 3 {
		p.add(i)
	}
	_, number, _ := p.first() // is on its way
	p.add(3)
	p.told(number) // and was taken, but dropped meanwhile
	var got []int
	for {
		item, number, found := p.first()
		if !found {
			break
		}
		got = append(got, item)
		p.told(number)
	}
	if !slices.Equal(got, []int{1, 2, 3}) {
		t.Errorf("told %v", got)
	}
	p.drain(t.Context())
}

// TestReportThatHangs is given up and tried again.
func TestReportThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		started, tries := time.Now(), 0
		if !insist(t.Context(), slog.New(slog.DiscardHandler), "test", func(ctx context.Context) error {
			if tries++; tries == 1 {
				<-ctx.Done()
			}
			return ctx.Err()
		}) {
			t.Error("the connection is said to have ended")
		}
		if took := time.Since(started); took != reportLimit+reportRetry {
			t.Errorf("took %s", took)
		}
	})
}

func TestSubsystems(t *testing.T) {
	for text, want := range map[string][]agentv2.Startup_Subsystem{
		"": nil, "envbox": {agentv2.Startup_ENVBOX}, "EnvBuilder, exectrace,unknown,subsystem_unspecified,,": {agentv2.Startup_ENVBUILDER, agentv2.Startup_EXECTRACE},
	} {
		if got := subsystems(text); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}
