package api

import (
	"context"
	"math"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/causewayhq/causeway/proto/agentv2"
	"github.com/causewayhq/causeway/server/store"
)

const (
	// statsInterval is how often an agent reports its statistics: the default of
	// the protocol (docs, 5.6).
	statsInterval = 5 * time.Minute
	// protocolsMost, metricsMost and labelsMost are how many of each are kept of a
	// report, nameMost how long their names and values are.
	protocolsMost = 64
	metricsMost   = 256
	labelsMost    = 16
	nameMost      = 128
	// reportMetric is how causeway-agent numbers its reports: those of one run,
	// which the label names, count up. A report whose answer was lost comes again
	// with its number.
	reportMetric   = "causeway_agent_report"
	reportRunLabel = "run"
)

// statsBody is the latest report of an agent's statistics. Packets and bytes are
// those since the report before.
type statsBody struct {
	CollectedAt time.Time        `json:"collected_at"`
	ByProtocol  map[string]int64 `json:"connections_by_proto"`
	Connections int64            `json:"connection_count"`
	// Latency is the median in milliseconds, -1 when it is not known.
	Latency   float64      `json:"connection_median_latency_ms"`
	RxPackets int64        `json:"rx_packets"`
	RxBytes   int64        `json:"rx_bytes"`
	TxPackets int64        `json:"tx_packets"`
	TxBytes   int64        `json:"tx_bytes"`
	VSCode    int64        `json:"session_count_vscode"`
	JetBrains int64        `json:"session_count_jetbrains"`
	PTY       int64        `json:"session_count_reconnecting_pty"`
	SSH       int64        `json:"session_count_ssh"`
	Metrics   []metricBody `json:"metrics,omitempty"`
}

type metricBody struct {
	Name   string            `json:"name"`
	Type   string            `json:"type"`
	Value  float64           `json:"value"`
	Labels map[string]string `json:"labels,omitempty"`
}

// UpdateStats keeps the report and answers with the interval. An empty report
// only asks for that, and one that is known is not counted again.
func (h *agentHandler) UpdateStats(_ context.Context, req *agentv2.UpdateStatsRequest) (*agentv2.UpdateStatsResponse, error) {
	answer := &agentv2.UpdateStatsResponse{ReportInterval: durationpb.New(statsInterval)}
	given := req.GetStats()
	if proto.Size(given) == 0 {
		return answer, nil
	}
	body := readStats(given, time.Now().UTC())
	h.state.mu.Lock()
	defer h.state.mu.Unlock()
	if body.repeats(h.state.stats) {
		return answer, nil
	}
	h.state.stats = body
	h.state.dirty[valueName{store.ValueStats, ""}] = struct{}{}
	line := body.line()
	line.Agent = h.agent.ID
	if h.state.line != nil {
		h.state.line.Add(line)
	} else {
		h.state.line = &line
	}
	return answer, nil
}

func readStats(given *agentv2.Stats, at time.Time) *statsBody {
	body := &statsBody{
		CollectedAt: at, ByProtocol: map[string]int64{}, Connections: positive(given.GetConnectionCount()), Latency: given.GetConnectionMedianLatencyMs(),
		RxPackets: positive(given.GetRxPackets()), RxBytes: positive(given.GetRxBytes()), TxPackets: positive(given.GetTxPackets()), TxBytes: positive(given.GetTxBytes()),
		VSCode: positive(given.GetSessionCountVscode()), JetBrains: positive(given.GetSessionCountJetbrains()),
		PTY: positive(given.GetSessionCountReconnectingPty()), SSH: positive(given.GetSessionCountSsh()),
	}
	// Above an hour it is no latency, and NaN is no number.
	if math.IsNaN(body.Latency) || body.Latency < 0 || body.Latency > float64(time.Hour/time.Millisecond) {
		body.Latency = -1
	}
	for name, count := range given.GetConnectionsByProto() {
		if len(body.ByProtocol) < protocolsMost {
			body.ByProtocol[agentText(name, nameMost)] = positive(count)
		}
	}
	for _, metric := range given.GetMetrics()[:min(len(given.GetMetrics()), metricsMost)] {
		if one, sound := readMetric(metric); sound {
			body.Metrics = append(body.Metrics, one)
		}
	}
	slices.SortStableFunc(body.Metrics, func(a, b metricBody) int { return strings.Compare(a.Name, b.Name) })
	return body
}

func readMetric(given *agentv2.Stats_Metric) (metricBody, bool) {
	body := metricBody{Name: agentText(given.GetName(), nameMost), Value: given.GetValue(), Labels: map[string]string{}}
	switch given.GetType() {
	case agentv2.Stats_Metric_COUNTER:
		body.Type = "counter"
	case agentv2.Stats_Metric_GAUGE:
		body.Type = "gauge"
	default:
		return body, false
	}
	for _, label := range given.GetLabels()[:min(len(given.GetLabels()), labelsMost)] {
		body.Labels[agentText(label.GetName(), nameMost)] = agentText(label.GetValue(), nameMost)
	}
	// JSON has no word for these.
	return body, body.Name != "" && !math.IsNaN(body.Value) && !math.IsInf(body.Value, 0)
}

// repeats says whether a report is one that was taken before. The latest one is
// stored with its number, so that a restart of the server changes nothing.
func (b *statsBody) repeats(latest *statsBody) bool {
	run, number := b.number()
	before, last := latest.number()
	return run != "" && run == before && number <= last
}

// number is the agent's number of a report; no run is that of other agents.
func (b *statsBody) number() (run string, number float64) {
	if b == nil {
		return "", 0
	}
	for _, metric := range b.Metrics {
		if metric.Name == reportMetric {
			return metric.Labels[reportRunLabel], metric.Value
		}
	}
	return "", 0
}

// line is the part of a report of which a series is kept.
func (b *statsBody) line() store.AgentStats {
	latency := -time.Millisecond
	if b.Latency >= 0 {
		latency = time.Duration(b.Latency * float64(time.Millisecond))
	}
	return store.AgentStats{
		At: b.CollectedAt, Connections: b.Connections, Latency: latency,
		RxPackets: b.RxPackets, RxBytes: b.RxBytes, TxPackets: b.TxPackets, TxBytes: b.TxBytes,
		SessionsVSCode: b.VSCode, SessionsJetBrains: b.JetBrains, SessionsPTY: b.PTY, SessionsSSH: b.SSH,
	}
}
