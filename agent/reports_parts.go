package agent

import (
	"context"
	"runtime"
	"runtime/metrics"
	"sync"
	"time"

	"github.com/causewayhq/causeway/agent/apphealth"
	"github.com/causewayhq/causeway/agent/banners"
	"github.com/causewayhq/causeway/agent/connections"
	"github.com/causewayhq/causeway/agent/metadata"
	"github.com/causewayhq/causeway/agent/resources"
	"github.com/causewayhq/causeway/agent/stats"
	"github.com/causewayhq/causeway/proto/agentv2"
	"github.com/causewayhq/causeway/tailnet/userspace"
)

// reports are what the agent tells about its workspace and its use, besides the
// steps of its own life.
type reports struct {
	agent       *agent
	began       time.Time
	banners     *banners.Keeper
	connections *connections.Log
	metadata    *metadata.Collector
	apps        *apphealth.Checker
	stats       *stats.Reporter
	resources   *resources.Monitor
	// meter counts the traffic of one network after the other.
	meter userspace.Meter
}

func newReports(a *agent) *reports {
	r := &reports{agent: a, began: time.Now(), banners: banners.New(a.log), connections: connections.New(a.log), resources: resources.NewMonitor(a.log)}
	r.metadata = metadata.New(metadata.Config{
		Logger: a.log, Command: a.login().Command,
		Wanted: func() []*agentv2.WorkspaceAgentMetadata_Description { return a.message().GetMetadata() },
	})
	r.apps = apphealth.New(a.log, func() []*agentv2.WorkspaceApp { return a.message().GetApps() })
	r.stats = stats.New(stats.Config{
		Logger: a.log, Traffic: r.meter.Take, Latencies: a.latencies, Sessions: r.connections.Counts, Metrics: r.metrics,
	})
	return r
}

// parts are what runs over each connection.
func (r *reports) parts() []part {
	return []part{
		partFunc(func(ctx context.Context, api agentv2.DRPCAgentClient) error { return r.banners.Run(ctx, api) }),
		partFunc(func(ctx context.Context, api agentv2.DRPCAgentClient) error { return r.connections.Run(ctx, api) }),
		partFunc(func(ctx context.Context, api agentv2.DRPCAgentClient) error { return r.metadata.Run(ctx, api) }),
		partFunc(func(ctx context.Context, api agentv2.DRPCAgentClient) error { return r.apps.Run(ctx, api) }),
		partFunc(func(ctx context.Context, api agentv2.DRPCAgentClient) error { return r.stats.Run(ctx, api) }),
		partFunc(func(ctx context.Context, api agentv2.DRPCAgentClient) error { return r.resources.Run(ctx, api) }),
	}
}

// work is what goes on without a control plane, until ctx ends.
func (r *reports) work(ctx context.Context) {
	var group sync.WaitGroup
	group.Go(func() { r.metadata.Collect(ctx) })
	group.Go(func() { r.apps.Check(ctx) })
	group.Wait()
}

// partFunc is a part that is one function.
type partFunc func(context.Context, agentv2.DRPCAgentClient) error

func (f partFunc) Run(ctx context.Context, api agentv2.DRPCAgentClient) error { return f(ctx, api) }

// message is the manifest as it came; nil, of which everything is empty, before
// the first.
func (a *agent) message() *agentv2.Manifest {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.manifest.message
}

// latencies are those of the peers in use.
func (a *agent) latencies(ctx context.Context) []time.Duration {
	a.mu.Lock()
	current := a.network
	a.mu.Unlock()
	if current == nil {
		return nil
	}
	return current.Latencies(ctx)
}

// metrics are the agent's own gauges.
func (r *reports) metrics() []*agentv2.Stats_Metric {
	memory := []metrics.Sample{{Name: "/memory/classes/total:bytes"}}
	metrics.Read(memory)
	gauge := func(name string, value float64) *agentv2.Stats_Metric {
		return &agentv2.Stats_Metric{Name: name, Type: agentv2.Stats_Metric_GAUGE, Value: value}
	}
	return []*agentv2.Stats_Metric{
		gauge("causeway_agent_uptime_seconds", time.Since(r.began).Truncate(time.Second).Seconds()),
		gauge("causeway_agent_goroutines", float64(runtime.NumGoroutine())),
		gauge("causeway_agent_memory_bytes", float64(memory[0].Value.Uint64())),
	}
}
