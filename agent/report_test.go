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
				r.flush(time.Hour)
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
		r.flush(time.Second) // nobody takes it
		if took := time.Since(started); took != time.Second {
			t.Errorf("flush took %s", took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		client := &taker{}
		go func() {
			r.flush(time.Minute)
			r.add(agentv2.Lifecycle_READY)
			synctest.Wait()
			r.flush(time.Minute)
			cancel()
		}()
		r.run(ctx, client, "/")
		if len(client.states) != 2 || client.startups != 1 {
			t.Errorf("told %v", client.states)
		}
	})
}
