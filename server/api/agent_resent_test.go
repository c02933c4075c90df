package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	agentlogs "github.com/causewayhq/causeway/agent/logs"
	"github.com/causewayhq/causeway/proto/agentv2"
	"github.com/causewayhq/causeway/server/store"
)

func numbered(run string, number float64, bytes int64) *agentv2.UpdateStatsRequest {
	return &agentv2.UpdateStatsRequest{Stats: &agentv2.Stats{RxBytes: bytes, RxPackets: 1, Metrics: []*agentv2.Stats_Metric{{
		Name: "causeway_agent_report", Type: agentv2.Stats_Metric_COUNTER, Value: number, Labels: []*agentv2.Stats_Metric_Label{{Name: "run", Value: run}},
	}}}}
}

// TestStatsAreCountedOnce: an agent whose report was not answered sends it again
// as it was, also to a server that has started anew.
func TestStatsAreCountedOnce(t *testing.T) {
	r := newRig(t)
	alice := r.person("alice")
	agent := r.report(alice)
	send := func(agent agentv2.DRPCAgentClient, request *agentv2.UpdateStatsRequest) {
		t.Helper()
		if answer := must[*agentv2.UpdateStatsResponse](t)(agent.UpdateStats(t.Context(), request)); answer.GetReportInterval().AsDuration() != statsInterval {
			t.Errorf("answer %v", answer)
		}
	}
	total := func() (sum int64) {
		t.Helper()
		lines := must[[]store.AgentStats](t)(r.store.Stats(t.Context(), alice.agent.ID, time.Time{}))
		for _, line := range lines {
			sum += line.RxBytes
		}
		return sum
	}
	for _, request := range []*agentv2.UpdateStatsRequest{
		numbered("a", 1, 1), numbered("a", 1, 1), numbered("a", 2, 10), numbered("a", 1, 1), numbered("a", 2, 10),
	} {
		send(agent, request)
	}
	r.api.reports.close(t.Context())
	if got := total(); got != 11 {
		t.Errorf("%d bytes, want 11", got)
	}
	// Another server on the same database.
	other := newRigAt(t, r.dir, func(*Config) {})
	agent = other.report(alice)
	for _, request := range []*agentv2.UpdateStatsRequest{
		numbered("a", 2, 10), numbered("a", 3, 100),
		numbered("b", 1, 1000),                                                           // the agent has started anew
		{Stats: &agentv2.Stats{RxBytes: 10000}}, {Stats: &agentv2.Stats{RxBytes: 10000}}, // of an agent without numbers each one counts
	} {
		send(agent, request)
	}
	other.api.reports.close(t.Context())
	if got := total(); got != 21111 {
		t.Errorf("%d bytes, want 21111", got)
	}
}

// TestConnectionsAreRecordedOnce: what is reported again changes nothing, in
// whatever order it comes.
func TestConnectionsAreRecordedOnce(t *testing.T) {
	r := newRig(t)
	alice := r.person("alice")
	id := uuid.New()
	begin := &agentv2.Connection{Id: id[:], Action: agentv2.Connection_CONNECT, Type: agentv2.Connection_SSH, Timestamp: second(1), Ip: "127.0.0.1"}
	end := &agentv2.Connection{Id: id[:], Action: agentv2.Connection_DISCONNECT, Type: agentv2.Connection_SSH, Timestamp: second(5), Ip: "127.0.0.1", StatusCode: 7}
	later := &agentv2.Connection{Id: id[:], Action: agentv2.Connection_DISCONNECT, Type: agentv2.Connection_SSH, Timestamp: second(9), StatusCode: 8}
	agent := r.report(alice)
	for i, connection := range []*agentv2.Connection{begin, begin, end, end, begin, later} {
		if i == 3 {
			agent = r.report(alice) // over the next connection
		}
		if _, err := agent.ReportConnection(t.Context(), &agentv2.ReportConnectionRequest{Connection: connection}); err != nil {
			t.Fatal(err)
		}
	}
	var body struct{ Connections []agentConnectionBody }
	r.get(alice, "/connections", &body)
	if len(body.Connections) != 1 || !body.Connections[0].ConnectedAt.Equal(second(1).AsTime()) || !body.Connections[0].DisconnectedAt.Equal(second(5).AsTime()) || *body.Connections[0].StatusCode != 7 {
		t.Errorf("%+v", body)
	}
}

var errLost = errors.New("the answer was lost")

// lossy is an agent's connection that ends with each second call: the call is
// lost, or its answer.
type lossy struct {
	api   agentv2.DRPCAgentClient
	calls *int
	end   context.CancelFunc
}

func (l *lossy) BatchCreateLogs(ctx context.Context, in *agentv2.BatchCreateLogsRequest) (*agentv2.BatchCreateLogsResponse, error) {
	*l.calls++
	if *l.calls%4 == 0 {
		l.end()
		return nil, errLost
	}
	answer, err := l.api.BatchCreateLogs(ctx, in)
	if *l.calls%4 == 2 {
		l.end()
		return nil, errLost
	}
	return answer, err
}

// TestLogsOfALossyConnection runs the agent's sender against the store: each line
// is there once and in the order of its source, also those that read the same.
func TestLogsOfALossyConnection(t *testing.T) {
	r := newRig(t)
	alice := r.person("alice")
	sender := agentlogs.New(slog.New(slog.DiscardHandler))
	agent := r.report(alice)
	ctx, stop := context.WithCancel(t.Context())
	calls := 0
	var running sync.WaitGroup
	running.Go(func() {
		for ctx.Err() == nil {
			connection, end := context.WithCancel(ctx)
			if err := sender.Run(connection, &lossy{agent, &calls, end}); err != nil {
				t.Error(err)
			}
			end()
		}
	})
	sources := []uuid.UUID{{1}, {2}, {3}}
	const each = 2000
	limited, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	for i := range each {
		for _, source := range sources {
			sender.Source(source).Add(agentv2.Log_INFO, fmt.Sprintf("line %d", i/2)) // each text twice
		}
		if i%100 == 0 {
			sender.Drain(limited)
		}
	}
	sender.Drain(limited)
	stop()
	running.Wait()
	status, raw := r.raw("GET", r.logPath(alice, ""), alice.token, "")
	var lines []logBody
	if err := json.Unmarshal(raw, &lines); err != nil || status != 200 {
		t.Fatalf("%d %v", status, err)
	}
	counts := map[uuid.UUID]int{}
	for _, line := range lines {
		if want := fmt.Sprintf("line %d", counts[line.SourceID]/2); line.Output != want {
			t.Fatalf("source %s: %q, want %q", line.SourceID, line.Output, want)
		}
		counts[line.SourceID]++
	}
	if len(lines) != each*len(sources) || calls < 40 {
		t.Errorf("%d lines, %v, by %d calls", len(lines), counts, calls)
	}
}

// TestListOfAllLogs is longer than a page, and than a few of them.
func TestListOfAllLogs(t *testing.T) {
	r := newRig(t)
	alice := r.person("alice")
	for _, count := range []int{store.LogPageMost, 1, 2*store.LogPageMost - 1} { // in all one page, one more, and three
		lines := make([]store.LogLine, 0, count)
		for i := range count {
			lines = append(lines, store.LogLine{CreatedAt: second(0).AsTime().Add(time.Duration(i) * time.Microsecond), Level: store.LogInfo, Output: "x"})
		}
		if _, _, err := r.store.AppendLogs(t.Context(), alice.agent.ID, uuid.New(), lines); err != nil {
			t.Fatal(err)
		}
		var all []logBody
		r.get(alice, "/logs", &all)
		report := must[store.AgentReport](t)(r.store.AgentReport(t.Context(), alice.agent.ID))
		if int64(len(all)) != report.LogsLines || all[len(all)-1].ID != report.LogsLines {
			t.Errorf("%d lines of %d", len(all), report.LogsLines)
		}
	}
	var none []logBody
	if r.get(alice, "/logs?after=99999", &none); none == nil || len(none) != 0 {
		t.Errorf("none is %v", none)
	}
	var some []logBody
	if r.get(alice, "/logs?after=7&before=12&limit=3", &some); len(some) != 3 || some[0].ID != 8 {
		t.Errorf("some are %+v", some)
	}
}

// TestAnAgentThatStartsWithoutEnd does not fill the server's log.
func TestAnAgentThatStartsWithoutEnd(t *testing.T) {
	r := newRig(t)
	alice := r.person("alice")
	agent := r.report(alice)
	for i := range 20 {
		must[*agentv2.Startup](t)(agent.UpdateStartup(t.Context(), &agentv2.UpdateStartupRequest{Startup: &agentv2.Startup{Version: fmt.Sprint(i)}}))
	}
	if count := strings.Count(r.logs.String(), "agent started"); count != 1 {
		t.Errorf("logged %d times", count)
	}
}
