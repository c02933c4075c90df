package api

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/causewayhq/causeway/proto/agentv2"
	"github.com/causewayhq/causeway/server/store"
)

func TestStats(t *testing.T) {
	r := newRig(t)
	alice := r.person("alice")
	agent := r.report(alice)
	// An empty report asks for the interval, and is none.
	for _, empty := range []*agentv2.Stats{nil, {}} {
		answer := must[*agentv2.UpdateStatsResponse](t)(agent.UpdateStats(t.Context(), &agentv2.UpdateStatsRequest{Stats: empty}))
		if answer.GetReportInterval().AsDuration() != 5*time.Minute {
			t.Errorf("interval %v", answer)
		}
	}
	type answer struct {
		Latest   *statsBody
		Series   []statsLine
		Interval int `json:"report_interval"`
	}
	var body answer
	if r.get(alice, "/stats", &body); body.Latest != nil || len(body.Series) != 0 || body.Interval != 300 {
		t.Errorf("before: %+v", body)
	}
	must[*agentv2.UpdateStatsResponse](t)(agent.UpdateStats(t.Context(), &agentv2.UpdateStatsRequest{Stats: &agentv2.Stats{
		ConnectionsByProto: map[string]int64{"tcp": 3}, ConnectionCount: 3, ConnectionMedianLatencyMs: 1.5, RxPackets: 1, RxBytes: 2, TxPackets: 3, TxBytes: 4,
		SessionCountVscode: 5, SessionCountJetbrains: 6, SessionCountReconnectingPty: 7, SessionCountSsh: 8,
		Metrics: []*agentv2.Stats_Metric{
			{Name: "b", Type: agentv2.Stats_Metric_GAUGE, Value: 2, Labels: []*agentv2.Stats_Metric_Label{{Name: "l", Value: "v"}}}, {Name: "a", Type: agentv2.Stats_Metric_COUNTER, Value: 1},
			{Name: "nan", Type: agentv2.Stats_Metric_GAUGE, Value: math.NaN()}, {Name: "inf", Type: agentv2.Stats_Metric_GAUGE, Value: math.Inf(-1)}, {Name: "untyped"},
		},
	}}))
	r.api.reports.flush(t.Context(), false)
	r.get(alice, "/stats", &body)
	want := statsBody{CollectedAt: body.Latest.CollectedAt, ByProtocol: map[string]int64{"tcp": 3}, Connections: 3, Latency: 1.5, RxPackets: 1, RxBytes: 2, TxPackets: 3, TxBytes: 4, VSCode: 5, JetBrains: 6, PTY: 7, SSH: 8}
	metrics := body.Latest.Metrics
	body.Latest.Metrics = nil
	if fmt.Sprint(*body.Latest) != fmt.Sprint(want) || len(metrics) != 2 || metrics[0].Name != "a" || metrics[1].Labels["l"] != "v" {
		t.Errorf("latest %+v, want %+v, metrics %+v", *body.Latest, want, metrics)
	}
	if len(body.Series) != 1 || body.Series[0].Latency != 1.5 || body.Series[0].SSH != 8 || body.Series[0].TxBytes != 4 {
		t.Errorf("series %+v", body.Series)
	}
	if r.get(alice, "/stats?since=2099-01-01T00:00:00Z", &body); len(body.Series) != 0 {
		t.Errorf("series since later %+v", body.Series)
	}
	// Figures that no agent has.
	must[*agentv2.UpdateStatsResponse](t)(agent.UpdateStats(t.Context(), &agentv2.UpdateStatsRequest{Stats: &agentv2.Stats{
		ConnectionCount: -5, ConnectionMedianLatencyMs: math.NaN(), RxBytes: math.MinInt64, TxBytes: math.MaxInt64,
	}}))
	body = answer{}
	if r.get(alice, "/stats", &body); body.Latest.Connections != 0 || body.Latest.Latency != -1 || body.Latest.RxBytes != 0 || body.Latest.TxBytes <= 0 {
		t.Errorf("latest %+v", body.Latest)
	}
	if status, _ := r.raw("GET", "/api/v2/workspaceagents/"+alice.agent.ID.String()+"/stats?since=soon", alice.token, ""); status != http.StatusBadRequest {
		t.Errorf("bad since: %d", status)
	}
}

func TestConnectionReports(t *testing.T) {
	r := newRig(t)
	alice := r.person("alice")
	agent := r.report(alice)
	send := func(connection *agentv2.Connection) error {
		_, err := agent.ReportConnection(t.Context(), &agentv2.ReportConnectionRequest{Connection: connection})
		return err
	}
	whole, end := uuid.New(), uuid.New()
	for _, connection := range []*agentv2.Connection{
		{Id: whole[:], Action: agentv2.Connection_CONNECT, Type: agentv2.Connection_VSCODE, Timestamp: second(1), Ip: "127.0.0.1"},
		{Id: whole[:], Action: agentv2.Connection_DISCONNECT, Type: agentv2.Connection_VSCODE, Timestamp: second(5), Ip: "127.0.0.1", StatusCode: -1, Reason: proto.String("process ended" + strings.Repeat("x", 2*reasonMost))},
		{Id: end[:], Action: agentv2.Connection_DISCONNECT, Type: 77, Timestamp: second(9), Ip: "not an address", StatusCode: 255},
	} {
		if err := send(connection); err != nil {
			t.Fatal(err)
		}
	}
	for name, connection := range map[string]*agentv2.Connection{"nothing": nil, "id": {Id: []byte{1}, Action: 1}, "action": {Id: whole[:], Action: 9}} {
		if err := send(connection); err == nil {
			t.Errorf("bad %s was taken", name)
		}
	}
	var body struct{ Connections []agentConnectionBody }
	r.get(alice, "/connections", &body)
	if len(body.Connections) != 2 {
		t.Fatalf("%+v", body)
	}
	last, first := body.Connections[0], body.Connections[1]
	if last.ID != end || last.ConnectedAt != nil || last.Type != "unspecified" || last.IP != "" || *last.StatusCode != 255 {
		t.Errorf("unmatched end %+v", last)
	}
	if first.Type != "vscode" || first.IP != "127.0.0.1" || !first.ConnectedAt.Equal(second(1).AsTime()) || !first.DisconnectedAt.Equal(second(5).AsTime()) || *first.StatusCode != -1 || len(first.Reason) != reasonMost {
		t.Errorf("whole %+v", first)
	}
	if r.get(alice, "/connections?open", &body); len(body.Connections) != 0 {
		t.Errorf("open %+v", body)
	}
	if r.get(alice, "/connections?limit=1", &body); len(body.Connections) != 1 {
		t.Errorf("one %+v", body)
	}
}

func TestResources(t *testing.T) {
	r := newRig(t)
	alice := r.person("alice")
	agent := r.report(alice)
	push := func(points ...*agentv2.PushResourcesMonitoringUsageRequest_Datapoint) {
		t.Helper()
		must[*agentv2.PushResourcesMonitoringUsageResponse](t)(agent.PushResourcesMonitoringUsage(t.Context(), &agentv2.PushResourcesMonitoringUsageRequest{Datapoints: points}))
	}
	point := func(at int) *agentv2.PushResourcesMonitoringUsageRequest_Datapoint {
		return &agentv2.PushResourcesMonitoringUsageRequest_Datapoint{
			CollectedAt: timestamppb.New(second(0).AsTime().Add(time.Duration(at) * time.Second)),
			Memory:      &agentv2.PushResourcesMonitoringUsageRequest_Datapoint_MemoryUsage{Used: int64(at), Total: -1},
			Volumes:     slices.Repeat([]*agentv2.PushResourcesMonitoringUsageRequest_Datapoint_VolumeUsage{{Volume: "/" + strings.Repeat("x", 2000), Used: 1, Total: 2}}, 30),
		}
	}
	var body struct{ Datapoints []resourcePoint }
	if r.get(alice, "/resources", &body); len(body.Datapoints) != 0 {
		t.Errorf("before: %+v", body)
	}
	push(point(1), point(2), point(3))
	push(point(2), point(3), point(4)) // the window moves on
	if r.get(alice, "/resources", &body); len(body.Datapoints) != 4 || body.Datapoints[3].Memory.Used != 4 || body.Datapoints[3].Memory.Total != 0 ||
		len(body.Datapoints[0].Volumes) != volumesMost || len(body.Datapoints[0].Volumes[0].Volume) != volumeMost {
		t.Errorf("%d points", len(body.Datapoints))
	}
	for i := range resourcesMost {
		push(point(10 + i))
	}
	if r.get(alice, "/resources", &body); len(body.Datapoints) != resourcesMost || body.Datapoints[0].Memory.Used != 10 {
		t.Errorf("%d points", len(body.Datapoints))
	}
}

// TestAgentsAreApart holds that an agent writes only its own reports, and that
// nobody but the owner reads them.
func TestAgentsAreApart(t *testing.T) {
	r := newRig(t)
	r.withManifest()
	alice, mallory := r.person("alice"), r.person("mallory")
	hers, his := r.report(alice), r.report(mallory)
	r.lifecycle(hers, agentv2.Lifecycle_READY, 1)
	must[*agentv2.BatchUpdateMetadataResponse](t)(hers.BatchUpdateMetadata(t.Context(), metadataUpdate("cpu", "alice's")))
	must[*agentv2.BatchUpdateMetadataResponse](t)(his.BatchUpdateMetadata(t.Context(), metadataUpdate("cpu", "mallory's")))
	must[*agentv2.BatchCreateLogsResponse](t)(hers.BatchCreateLogs(t.Context(), logBatch(testSource, 0, 1)))
	if got := r.metadata(alice)["cpu"].Result.Value; got != "alice's" {
		t.Errorf("alice reads %q", got)
	}
	if got := r.metadata(mallory)["cpu"].Result.Value; got != "mallory's" {
		t.Errorf("mallory reads %q", got)
	}
	var logs []logBody
	if r.get(mallory, "/logs", &logs); len(logs) != 0 {
		t.Errorf("mallory has alice's logs: %+v", logs)
	}
	// The first user is an administrator, which changes nothing.
	for reader, of := range map[string]person{mallory.token: alice, alice.token: mallory} {
		for _, path := range []string{"", "/logs", "/logs?follow", "/metadata", "/watch-metadata", "/stats", "/connections", "/timings", "/resources", "/lifecycle"} {
			full := "/api/v2/workspaceagents/" + of.agent.ID.String() + path
			if status, raw := r.raw("GET", full, reader, ""); status != http.StatusNotFound {
				t.Errorf("%s of another user: %d %s", path, status, raw)
			}
			if status, _ := r.raw("GET", full, "", ""); status != http.StatusUnauthorized {
				t.Errorf("%s of nobody: %d", path, status)
			}
			if status, _ := r.raw("GET", full, of.agentKey, ""); status != http.StatusUnauthorized {
				t.Errorf("%s by the agent's token: %d", path, status)
			}
		}
	}
}

// TestWatchMetadata reads the events of a browser's EventSource.
func TestWatchMetadata(t *testing.T) {
	r := newRig(t)
	r.withManifest()
	alice := r.person("alice")
	agent := r.report(alice)
	request, err := http.NewRequestWithContext(t.Context(), "GET", r.url+"/api/v2/workspaceagents/"+alice.agent.ID.String()+"/watch-metadata", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set(tokenHeader, alice.token)
	response, err := http.DefaultClient.Do(request)
	if err != nil || response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%v, %v", response, err)
	}
	defer response.Body.Close()
	events := bufio.NewScanner(response.Body)
	next := func() string {
		t.Helper()
		for events.Scan() {
			if data, found := strings.CutPrefix(events.Text(), "data: "); found {
				var bodies []metadataBody
				if err := json.Unmarshal([]byte(data), &bodies); err != nil {
					t.Fatal(err)
				}
				return bodies[0].Result.Value
			}
		}
		return "ended"
	}
	if got := next(); got != "" {
		t.Errorf("first event %q", got)
	}
	for i := range 50 {
		must[*agentv2.BatchUpdateMetadataResponse](t)(agent.BatchUpdateMetadata(t.Context(), metadataUpdate("cpu", fmt.Sprint(i))))
	}
	started := time.Now()
	var seen []string
	for len(seen) == 0 || seen[len(seen)-1] != "49" {
		seen = append(seen, next())
	}
	if len(seen) > 3 {
		t.Errorf("%d events for one burst: %v after %s", len(seen), seen, time.Since(started))
	}
	if status, _ := r.call("DELETE", "/api/v2/workspaceagents/"+alice.agent.ID.String(), alice.token, ""); status != http.StatusNoContent {
		t.Errorf("delete: %d", status)
	}
	if got := next(); got != "ended" {
		t.Errorf("after the agent was deleted: %q", got)
	}
}

// TestStatesAreForgotten holds that nothing is kept of who has gone.
func TestStatesAreForgotten(t *testing.T) {
	r := newRig(t)
	alice := r.person("alice")
	conn, client := r.open(agentPath, alice.agentKey)
	agent := agentv2.NewDRPCAgentClient(client)
	must[*agentv2.UpdateStatsResponse](t)(agent.UpdateStats(t.Context(), &agentv2.UpdateStatsRequest{Stats: &agentv2.Stats{RxBytes: 1}}))
	count := func() int {
		r.api.reports.mu.Lock()
		defer r.api.reports.mu.Unlock()
		return len(slices.Collect(maps.Keys(r.api.reports.agents)))
	}
	conn.CloseNow()
	eventually(t, "no connection", func() bool { return r.api.live.count() == 0 })
	if count() != 1 {
		t.Errorf("%d states before the flush", count())
	}
	eventually(t, "no state", func() bool { r.api.reports.flush(t.Context(), false); return count() == 0 })
}

// TestReportsFollowTheDefinition goes by what the owner has defined: what is not
// in it is not taken, and what was in it goes.
func TestReportsFollowTheDefinition(t *testing.T) {
	r := newRig(t)
	alice := r.person("alice")
	define := func(document string) {
		t.Helper()
		if status, body := r.call("PUT", "/api/v2/workspaceagents/"+alice.agent.ID.String()+"/definition", alice.token, document); status != http.StatusOK {
			t.Fatalf("%d %v", status, body)
		}
	}
	report := func() {
		t.Helper()
		agent := r.report(alice)
		manifest := must[*agentv2.Manifest](t)(agent.GetManifest(t.Context(), &agentv2.GetManifestRequest{}))
		must[*agentv2.BatchUpdateMetadataResponse](t)(agent.BatchUpdateMetadata(t.Context(), metadataUpdate("cpu", "1", "disk", "2")))
		for _, script := range manifest.GetScripts() {
			must[*agentv2.WorkspaceAgentScriptCompletedResponse](t)(agent.ScriptCompleted(t.Context(), &agentv2.WorkspaceAgentScriptCompletedRequest{
				Timing: &agentv2.Timing{ScriptId: script.GetId(), Start: second(1), End: second(2)},
			}))
		}
		r.api.reports.flush(t.Context(), false)
	}
	values := func() string {
		t.Helper()
		var names []string
		for _, value := range must[[]store.AgentValue](t)(r.store.AgentValues(t.Context(), alice.agent.ID)) {
			names = append(names, value.Name)
		}
		return strings.Join(names, " ")
	}
	define(`{"version":1,"metadata":[{"key":"cpu","run":"x"},{"key":"disk","run":"x"}],"scripts":[{"name":"install","run":"x","on_start":true}]}`)
	report()
	if got := values(); got != "cpu disk" {
		t.Errorf("values %q", got)
	}
	var detail agentDetail
	if r.get(alice, "", &detail); len(detail.Scripts) != 1 || detail.Scripts[0].Last == nil || detail.Scripts[0].Last.DisplayName != "install" {
		t.Errorf("%+v", detail.Scripts)
	}
	define(`{"version":1,"metadata":[{"key":"cpu","run":"x"}]}`)
	report()
	if got := values(); got != "cpu" {
		t.Errorf("values %q", got)
	}
	if got := r.metadata(alice); len(got) != 1 || got["cpu"].Result.Value != "1" {
		t.Errorf("%+v", got)
	}
}
