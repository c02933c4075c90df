package agent

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/causewayhq/causeway/control"
	"github.com/causewayhq/causeway/proto/agentv2"
)

// reportRetry is the wait after a report that the control plane could not
// take; no session depends on one.
const reportRetry = 5 * time.Second

// reportClient is the part of the agent API that reports go to.
type reportClient interface {
	UpdateStartup(ctx context.Context, in *agentv2.UpdateStartupRequest) (*agentv2.Startup, error)
	UpdateLifecycle(ctx context.Context, in *agentv2.UpdateLifecycleRequest) (*agentv2.Lifecycle, error)
}

// reporter tells the control plane each step of the agent's life, once, in
// order, over however many connections that takes.
type reporter struct {
	log     *slog.Logger
	version string
	wake    chan struct{}

	mu    sync.Mutex
	steps []*agentv2.Lifecycle
	// empty is closed when the last step was told.
	empty chan struct{}
}

func newReporter(log *slog.Logger, version string) *reporter {
	return &reporter{log: log, version: version, wake: make(chan struct{}, 1), empty: make(chan struct{})}
}

// add queues a step; its time is now.
func (r *reporter) add(state agentv2.Lifecycle_State) {
	r.mu.Lock()
	r.steps = append(r.steps, &agentv2.Lifecycle{State: state, ChangedAt: timestamppb.Now()})
	r.empty = make(chan struct{})
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// flush waits until all was told, or for the limit.
func (r *reporter) flush(limit time.Duration) {
	r.mu.Lock()
	empty, pending := r.empty, len(r.steps) > 0
	r.mu.Unlock()
	if !pending {
		return
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-empty:
	case <-timer.C:
	}
}

// run reports over one connection until the context ends.
func (r *reporter) run(ctx context.Context, client reportClient, directory string) {
	startup := &agentv2.UpdateStartupRequest{Startup: &agentv2.Startup{Version: r.version, ExpandedDirectory: directory}}
	if !r.insist(ctx, "startup", func() error {
		_, err := client.UpdateStartup(ctx, startup)
		return err
	}) {
		return
	}
	for {
		step := r.first()
		if step == nil {
			select {
			case <-ctx.Done():
				return
			case <-r.wake:
				continue
			}
		}
		if !r.insist(ctx, "lifecycle", func() error {
			_, err := client.UpdateLifecycle(ctx, &agentv2.UpdateLifecycleRequest{Lifecycle: step})
			return err
		}) {
			return
		}
		r.told(step)
	}
}

// insist repeats a report until it is taken or there is nobody to take it; it
// says whether the connection goes on.
func (r *reporter) insist(ctx context.Context, what string, report func() error) bool {
	for {
		err := report()
		switch {
		case ctx.Err() != nil:
			return false
		case err == nil || control.Unimplemented(err):
			return true
		}
		r.log.Debug("report not taken", slog.String("report", what), slog.String("error", err.Error()))
		timer := time.NewTimer(reportRetry)
		select {
		case <-ctx.Done():
			timer.Stop()
			return false
		case <-timer.C:
		}
	}
}

func (r *reporter) first() *agentv2.Lifecycle {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.steps) == 0 {
		return nil
	}
	return r.steps[0]
}

func (r *reporter) told(step *agentv2.Lifecycle) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.steps) > 0 && r.steps[0] == step {
		r.steps = r.steps[1:]
		if len(r.steps) == 0 {
			close(r.empty)
		}
	}
}
