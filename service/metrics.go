package service

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/causewayhq/causeway/proto/localv1"
)

// countPause is the least time between two looks at a status that changes all
// the time, so that counting costs nothing to speak of.
const countPause = time.Second

// counts are what the status does not remember.
type counts struct {
	mu sync.Mutex
	// connected and answering are as last seen.
	connected, answering bool
	connections          uint64 // that were made to the control plane
	darkenings           uint64 // times that names stopped answering while one was wanted
	received, sent       uint64 // bytes of all agents, also those that have gone
	seen                 map[string][2]uint64
}

// keepCounts counts what comes and goes, until the context ends.
func (s *Service) keepCounts(ctx context.Context) {
	for ctx.Err() == nil {
		changed := s.changed.next()
		s.mu.Lock()
		tunnel := s.tunnel
		s.mu.Unlock()
		if tunnel != nil {
			s.counts.note(tunnel.Brief())
		} else {
			s.counts.note(nil)
		}
		sleep(ctx, nil, countPause)
		sleep(ctx, changed, 0)
	}
}

// note compares with what was seen last; nil is no tunnel.
func (c *counts) note(status *localv1.Status) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if status.GetControlConnected() && !c.connected {
		c.connections++
	}
	// A tunnel that is taken down does not fail.
	if c.answering && status != nil && !status.GetCanaryOk() {
		c.darkenings++
	}
	c.connected, c.answering = status.GetControlConnected(), status.GetCanaryOk()
	seen := make(map[string][2]uint64, len(status.GetAgents()))
	for _, agent := range status.GetAgents() {
		id, now := string(agent.GetId()), [2]uint64{agent.GetRxBytes(), agent.GetTxBytes()}
		before := c.seen[id]
		if now[0] < before[0] || now[1] < before[1] {
			before = [2]uint64{} // the peer was made anew
		}
		c.received, c.sent = c.received+now[0]-before[0], c.sent+now[1]-before[1]
		seen[id] = now
	}
	c.seen = seen
}

// metricsPrefix begins every name; the names are stable, and documented by
// causeway metrics --help.
const metricsPrefix = "causeway_"

// GetMetrics is the text format of Prometheus. All names begin with causeway_,
// also of the process: node_exporter has the usual ones itself, and refuses them
// in a text file.
func (s *Service) GetMetrics(context.Context, *localv1.GetMetricsRequest) (*localv1.GetMetricsResponse, error) {
	status := s.status()
	s.mu.Lock()
	running := s.tunnel != nil
	s.mu.Unlock()
	if running {
		s.counts.note(status)
	}
	out := &exposition{}
	out.one("build_info", "gauge", "Always 1; the version is in the labels.", 1, "version", s.config.Version, "go", runtime.Version())
	s.writeState(out, status)
	writeAgents(out, status)
	s.counts.write(out)
	if s.config.Logs != nil {
		out.one("log_entries_total", "counter", "Entries that were logged.", float64(s.config.Logs.total()))
	}
	out.one("start_time_seconds", "gauge", "When the daemon started, in seconds since 1970.", float64(started.UnixMilli())/1000)
	out.one("goroutines", "gauge", "Goroutines of the daemon.", float64(runtime.NumGoroutine()))
	if bytes, known := residentBytes(); known {
		out.one("resident_memory_bytes", "gauge", "Memory of the daemon that is resident.", float64(bytes))
	}
	return &localv1.GetMetricsResponse{Text: out.text.String()}, nil
}

// started is when this process began, or nearly so.
var started = time.Now()

func (s *Service) writeState(out *exposition, status *localv1.Status) {
	out.head("state", "gauge", "1 for the state in which the tunnel is, 0 for the others.")
	for number := localv1.State_SIGNED_OUT; number <= localv1.State_FAILED; number++ {
		word := strings.ReplaceAll(strings.ToLower(number.String()), "_", "-")
		out.sample("state", truth(status.GetState() == number), "state", word)
	}
	out.one("wanted_up", "gauge", "1 while the tunnel is wanted up.", truth(status.GetWantedUp()))
	out.one("control_connected", "gauge", "1 while the control plane is connected.", truth(status.GetControlConnected()))
	out.one("names_answer", "gauge", "1 while a lookup through the system's resolver was answered.", truth(status.GetCanaryOk()))
	out.one("problems", "gauge", "Problems that the status tells.", float64(len(status.GetProblems())))
	if latency := status.GetHomeRelay().GetLatency(); latency != nil {
		out.one("home_relay_latency_seconds", "gauge", "Round trip to the home relay.", latency.AsDuration().Seconds())
	}
	if expires := status.GetTokenExpiresAt(); expires != nil {
		out.one("token_expiry_timestamp_seconds", "gauge", "When the sign-in ends, in seconds since 1970.", float64(expires.AsTime().Unix()))
	}
}

func writeAgents(out *exposition, status *localv1.Status) {
	paths := map[localv1.AgentStatus_Path]int{}
	reachable := 0
	for _, agent := range status.GetAgents() {
		paths[agent.GetPath()]++
		if agent.GetReachable() {
			reachable++
		}
	}
	out.head("agents", "gauge", "Agents of workspaces, by the path that packets take; idle: not in use.")
	out.sample("agents", float64(paths[localv1.AgentStatus_DIRECT]), "path", "direct")
	out.sample("agents", float64(paths[localv1.AgentStatus_RELAYED]), "path", "relayed")
	out.sample("agents", float64(paths[localv1.AgentStatus_PATH_UNSPECIFIED]), "path", "idle")
	out.one("agents_reachable", "gauge", "Agents from which something came back in the last minutes.", float64(reachable))
}

func (c *counts) write(out *exposition) {
	c.mu.Lock()
	defer c.mu.Unlock()
	out.one("control_connections_total", "counter", "Connections that were made to the control plane; more than one are reconnections.", float64(c.connections))
	out.one("names_failures_total", "counter", "Times that names stopped answering while the tunnel was up.", float64(c.darkenings))
	out.one("received_bytes_total", "counter", "Bytes received from agents.", float64(c.received))
	out.one("sent_bytes_total", "counter", "Bytes sent to agents.", float64(c.sent))
}

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// exposition writes the text format, version 0.0.4.
type exposition struct{ text strings.Builder }

// one is a metric of one sample.
func (e *exposition) one(name, kind, help string, value float64, labels ...string) {
	e.head(name, kind, help)
	e.sample(name, value, labels...)
}

func (e *exposition) head(name, kind, help string) {
	fmt.Fprintf(&e.text, "# HELP %s%s %s\n# TYPE %s%s %s\n", metricsPrefix, name, help, metricsPrefix, name, kind)
}

// sample takes labels as names and values in turn.
func (e *exposition) sample(name string, value float64, labels ...string) {
	e.text.WriteString(metricsPrefix + name)
	for i := 0; i+1 < len(labels); i += 2 {
		e.text.WriteString(map[bool]string{true: "{", false: ","}[i == 0] + labels[i] + `="` + labelText.Replace(validText(labels[i+1])) + `"`)
	}
	if len(labels) > 0 {
		e.text.WriteByte('}')
	}
	e.text.WriteString(" " + strconv.FormatFloat(value, 'g', -1, 64) + "\n")
}

var labelText = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)
