// Package stats tells the control plane how much the workspace is used: the
// traffic since the last report, and sessions and latency as they are now.
//
// What was counted is told once, however often the control plane fails or goes
// away. A report whose answer is missing is sent again as it is, with its number
// (MetricReport), by which a control plane can see that it has it already; what
// is counted meanwhile waits for the next one.
package stats

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/proto/agentv2"
	"github.com/causewayhq/causeway/tailnet/userspace"
)

// MetricReport is the metric that numbers the reports of one run of the agent,
// which its label LabelRun names.
const (
	MetricReport = "causeway_agent_report"
	LabelRun     = "run"
)

const (
	// defaultInterval is for a control plane that names none, and pingLimit how
	// long peers have to answer (docs of the protocol, 5.6).
	defaultInterval = 5 * time.Minute
	pingLimit       = 5 * time.Second
	// The control plane can choose any interval between these.
	minInterval, maxInterval = time.Second, 24 * time.Hour
)

// Config is what a reporter needs; all fields but Metrics are required.
type Config struct {
	Logger *slog.Logger
	// Traffic takes what was counted since the last call.
	Traffic func() userspace.Traffic
	// Latencies are those of the peers in use that answer before ctx ends.
	Latencies func(ctx context.Context) []time.Duration
	// Sessions are those that are open now.
	Sessions func() map[agentv2.Connection_Type]int64
	// Metrics are told with each report.
	Metrics func() []*agentv2.Stats_Metric
}

// Reporter keeps what was not told yet. Run is for one connection after the
// other.
type Reporter struct {
	config   Config
	run      string
	interval time.Duration
	// due is when the next report is made.
	due time.Time
	// unanswered is a report that may or may not have been taken, nil if there is
	// none.
	unanswered *agentv2.Stats
	number     int
	// hurry takes who waits for a report that is made at once, waiting are those.
	hurry   chan chan struct{}
	waiting []chan struct{}
	// deaf says that the control plane takes no reports.
	deaf atomic.Bool
}

// New makes a reporter.
func New(config Config) *Reporter {
	return &Reporter{config: config, run: uuid.NewString(), interval: defaultInterval, hurry: make(chan chan struct{})}
}

// make makes a report of all that was not told yet.
func (r *Reporter) make(ctx context.Context) *agentv2.Stats {
	var latencies []time.Duration
	if len(r.waiting) == 0 { // who waits has no time for pings
		limited, cancel := context.WithTimeout(ctx, pingLimit)
		latencies = r.config.Latencies(limited)
		cancel()
	}
	sessions, traffic := r.config.Sessions(), r.config.Traffic()
	r.number++
	result := &agentv2.Stats{
		ConnectionsByProto: traffic.Flows, ConnectionMedianLatencyMs: median(latencies),
		RxPackets: traffic.RxPackets, RxBytes: traffic.RxBytes, TxPackets: traffic.TxPackets, TxBytes: traffic.TxBytes,
		SessionCountVscode:          sessions[agentv2.Connection_VSCODE],
		SessionCountJetbrains:       sessions[agentv2.Connection_JETBRAINS],
		SessionCountReconnectingPty: sessions[agentv2.Connection_RECONNECTING_PTY],
		SessionCountSsh:             sessions[agentv2.Connection_SSH],
		Metrics: []*agentv2.Stats_Metric{{
			Name: MetricReport, Type: agentv2.Stats_Metric_COUNTER, Value: float64(r.number),
			Labels: []*agentv2.Stats_Metric_Label{{Name: LabelRun, Value: r.run}},
		}},
	}
	for _, count := range traffic.Flows {
		result.ConnectionCount += count
	}
	if r.config.Metrics != nil {
		result.Metrics = append(result.Metrics, r.config.Metrics()...)
	}
	r.config.Logger.Debug("stats", slog.Int64("connections", result.ConnectionCount),
		slog.Int64("rx_bytes", result.RxBytes), slog.Int64("tx_bytes", result.TxBytes))
	return result
}

// median is in milliseconds, -1 if there is none.
func median(latencies []time.Duration) float64 {
	if len(latencies) == 0 {
		return -1
	}
	slices.Sort(latencies)
	middle := len(latencies) / 2
	value := latencies[middle]
	if len(latencies)%2 == 0 {
		value = (value + latencies[middle-1]) / 2
	}
	return float64(value) / float64(time.Millisecond)
}
