package resources

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/causewayhq/causeway/control"
	"github.com/causewayhq/causeway/proto/agentv2"
)

const (
	// answerLimit bounds one question or report on a connection that is alive.
	answerLimit = 30 * time.Second
	// retryWait is the wait after a question that was not answered.
	retryWait = 5 * time.Second
)

// Client is the part of the agent API that wants to know.
type Client interface {
	GetResourcesMonitoringConfiguration(ctx context.Context, in *agentv2.GetResourcesMonitoringConfigurationRequest) (*agentv2.GetResourcesMonitoringConfigurationResponse, error)
	PushResourcesMonitoringUsage(ctx context.Context, in *agentv2.PushResourcesMonitoringUsageRequest) (*agentv2.PushResourcesMonitoringUsageResponse, error)
}

type datapoints = []*agentv2.PushResourcesMonitoringUsageRequest_Datapoint

// Monitor keeps the last datapoints, also over connections. Run is for one
// connection after the other.
type Monitor struct {
	logger *slog.Logger
	memory func(hostOnly bool) (Amount, Scope, error)
	volume func(path string) (Amount, error)

	plan   plan
	points datapoints
	// pending are the answers of volumes, failing what could not be measured.
	pending map[string]chan volumeResult
	failing map[string]string
}

// NewMonitor makes a monitor without datapoints.
func NewMonitor(logger *slog.Logger) *Monitor {
	return &Monitor{
		logger: logger, memory: Memory, volume: Disk,
		pending: map[string]chan volumeResult{}, failing: map[string]string{},
	}
}

// Run measures and reports over one connection until ctx ends, or at once when
// the control plane wants nothing. As soon as there are as many datapoints as it
// wants, each new one is reported together with those before it. While a report
// is under way, measuring goes on, and the next one is of what is then the last.
func (m *Monitor) Run(ctx context.Context, client Client) error {
	next, err := configuration(ctx, client, m.logger)
	if err != nil {
		return nil // the connection ends, or the control plane never asks
	}
	wanted, any := planOf(next)
	if !m.plan.equal(wanted) {
		m.plan, m.points, m.failing = wanted, nil, map[string]string{}
	}
	if !any {
		return nil
	}
	full := make(chan datapoints, 1)
	pushed := make(chan struct{})
	go func() {
		defer close(pushed)
		m.push(ctx, client, full)
	}()
	defer func() {
		close(full)
		<-pushed
	}()
	ticker := time.NewTicker(wanted.interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		m.points = append(m.points, m.measure(wanted))
		m.points = slices.Clone(m.points[max(0, len(m.points)-wanted.datapoints):])
		if len(m.points) < wanted.datapoints {
			continue
		}
		select {
		case <-full: // nobody began to tell it
		default:
		}
		full <- m.points
	}
}

// push tells what comes, and forgets what is not taken: the next one holds all
// of it but the oldest datapoint.
func (m *Monitor) push(ctx context.Context, client Client, full <-chan datapoints) {
	for points := range full {
		limited, cancel := context.WithTimeout(ctx, answerLimit)
		_, err := client.PushResourcesMonitoringUsage(limited, &agentv2.PushResourcesMonitoringUsageRequest{Datapoints: points})
		cancel()
		if err != nil && ctx.Err() == nil && !control.Unimplemented(err) {
			m.logger.Debug("resource usage not taken", slog.String("error", err.Error()))
		}
	}
}

// configuration asks until there is an answer.
func configuration(ctx context.Context, client Client, logger *slog.Logger) (*agentv2.GetResourcesMonitoringConfigurationResponse, error) {
	for {
		limited, cancel := context.WithTimeout(ctx, answerLimit)
		answer, err := client.GetResourcesMonitoringConfiguration(limited, &agentv2.GetResourcesMonitoringConfigurationRequest{})
		cancel()
		if err == nil || control.Unimplemented(err) {
			return answer, err
		}
		logger.Debug("what to measure not learnt", slog.String("error", err.Error()))
		timer := time.NewTimer(retryWait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		case <-timer.C:
		}
	}
}
