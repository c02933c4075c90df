package stats

import (
	"context"
	"log/slog"
	"time"

	"github.com/causewayhq/causeway/control"
	"github.com/causewayhq/causeway/proto/agentv2"
)

const (
	// answerLimit bounds one report on a connection that is alive.
	answerLimit = 30 * time.Second
	// retryWait is the wait after a report that was not taken.
	retryWait = 5 * time.Second
)

// Client is the part of the agent API that takes the reports.
type Client interface {
	UpdateStats(ctx context.Context, in *agentv2.UpdateStatsRequest) (*agentv2.UpdateStatsResponse, error)
}

// Run reports over one connection until ctx ends, or until the control plane
// says that it takes no such reports. An empty report asks for the interval.
func (r *Reporter) Run(ctx context.Context, client Client) error {
	r.deaf.Store(false)
	if !r.insist(ctx, client, nil) {
		return nil
	}
	if r.due.IsZero() {
		r.due = time.Now().Add(r.interval)
	}
	for {
		if r.unanswered == nil {
			if !r.awaitDue(ctx) {
				return nil
			}
			// Before the report is made: what it costs does not add up.
			made := time.Now()
			r.unanswered = r.make(ctx)
			r.due = made.Add(r.interval)
		}
		if !r.insist(ctx, client, r.unanswered) {
			return nil
		}
		r.unanswered = nil
		for _, done := range r.waiting {
			close(done)
		}
		r.waiting = nil
	}
}

// awaitDue waits until a report is due or somebody is in a hurry. It says
// whether ctx goes on.
func (r *Reporter) awaitDue(ctx context.Context) bool {
	timer := time.NewTimer(time.Until(r.due))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	case done := <-r.hurry:
		r.waiting = append(r.waiting, done)
	}
	return true
}

// Drain has a report made at once and waits until it was taken, or for ctx: what
// is not told when the agent ends never will be.
func (r *Reporter) Drain(ctx context.Context) {
	if r.deaf.Load() {
		return
	}
	done := make(chan struct{})
	select {
	case r.hurry <- done:
	case <-ctx.Done():
		return
	}
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// insist sends a report until it is answered, and learns the interval from the
// answer. It says whether there will be another one.
func (r *Reporter) insist(ctx context.Context, client Client, stats *agentv2.Stats) bool {
	for {
		answer, err := send(ctx, client, stats)
		switch {
		case ctx.Err() != nil:
			return false
		case control.Unimplemented(err):
			r.deaf.Store(true)
			return false
		case err == nil:
			r.setInterval(answer.GetReportInterval().AsDuration())
			return true
		}
		r.config.Logger.Debug("stats not taken", slog.String("error", err.Error()))
		if !wait(ctx, retryWait) {
			return false
		}
	}
}

func send(ctx context.Context, client Client, stats *agentv2.Stats) (*agentv2.UpdateStatsResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	return client.UpdateStats(ctx, &agentv2.UpdateStatsRequest{Stats: stats})
}

// setInterval also moves the next report.
func (r *Reporter) setInterval(interval time.Duration) {
	if interval <= 0 {
		interval = defaultInterval
	}
	interval = min(max(interval, minInterval), maxInterval)
	if !r.due.IsZero() {
		r.due = r.due.Add(interval - r.interval)
	}
	r.interval = interval
}

// wait says whether ctx goes on after it.
func wait(ctx context.Context, while time.Duration) bool {
	timer := time.NewTimer(while)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
