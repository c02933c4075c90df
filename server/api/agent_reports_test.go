package api

import (
	"context"
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
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/causewayhq/causeway/proto/agentv2"
	"github.com/causewayhq/causeway/server/store"
)

var (
	testScript, testSource = uuid.UUID{1}, uuid.UUID{2}
	testApp, testOther     = uuid.UUID{3}, uuid.UUID{4}
)

// withManifest makes every agent one that has a script, apps and metadata.
func (r *rig) withManifest() {
	r.api.reports.manifest = func(context.Context, store.Agent) (*agentv2.Manifest, error) {
		return &agentv2.Manifest{
			Directory: "~/project",
			Scripts: []*agentv2.WorkspaceAgentScript{{
				Id: testScript[:], LogSourceId: testSource[:], DisplayName: "Install", RunOnStart: true, Timeout: durationpb.New(time.Minute),
			}},
			Apps: []*agentv2.WorkspaceApp{
				{Id: testApp[:], Slug: "web", SharingLevel: agentv2.WorkspaceApp_OWNER, Healthcheck: &agentv2.WorkspaceApp_Healthcheck{Url: "http://127.0.0.1:1", Interval: durationpb.New(5 * time.Second), Threshold: 3}},
				{Id: testOther[:], Slug: "plain"},
			},
			Metadata: []*agentv2.WorkspaceAgentMetadata_Description{
				{Key: "cpu", DisplayName: "CPU", Script: "cat /proc/loadavg", Interval: durationpb.New(10 * time.Second)}, {Key: "disk"},
			},
		}, nil
	}
}

// report connects an agent and gives its API.
func (r *rig) report(p person) agentv2.DRPCAgentClient {
	r.t.Helper()
	_, client := r.open(agentPath, p.agentKey)
	return agentv2.NewDRPCAgentClient(client)
}

// get reads a path of an agent as its owner.
func (r *rig) get(p person, path string, into any) {
	r.t.Helper()
	status, raw := r.raw("GET", "/api/v2/workspaceagents/"+p.agent.ID.String()+path, p.token, "")
	if status != http.StatusOK {
		r.t.Fatalf("GET %s: %d %s", path, status, raw)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		r.t.Fatalf("GET %s: %v in %s", path, err, raw)
	}
}

func must[T any](t *testing.T) func(T, error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func second(n int) *timestamppb.Timestamp {
	return timestamppb.New(time.Date(2026, 1, 2, 3, 4, n, 0, time.UTC))
}

func (r *rig) lifecycle(agent agentv2.DRPCAgentClient, state agentv2.Lifecycle_State, at int) {
	r.t.Helper()
	must[*agentv2.Lifecycle](r.t)(agent.UpdateLifecycle(r.t.Context(), &agentv2.UpdateLifecycleRequest{Lifecycle: &agentv2.Lifecycle{State: state, ChangedAt: second(at)}}))
}

func TestStartupAndLifecycle(t *testing.T) {
	r := newRig(t)
	r.withManifest()
	alice := r.person("alice")
	var before agentDetail
	r.get(alice, "", &before)
	if before.LifecycleState != "created" || before.StartedAt != nil || before.Version != "" {
		t.Errorf("before: %+v", before)
	}
	agent := r.report(alice)
	startup := must[*agentv2.Startup](t)(agent.UpdateStartup(t.Context(), &agentv2.UpdateStartupRequest{Startup: &agentv2.Startup{
		Version: "v1.2.3", ExpandedDirectory: "/home/alice/project", Subsystems: []agentv2.Startup_Subsystem{agentv2.Startup_ENVBOX, agentv2.Startup_EXECTRACE, agentv2.Startup_ENVBOX, 77, 0},
	}}))
	if startup.GetVersion() != "v1.2.3" {
		t.Errorf("answer %v", startup)
	}
	r.lifecycle(agent, agentv2.Lifecycle_CREATED, 1)
	r.lifecycle(agent, agentv2.Lifecycle_STARTING, 2)
	r.lifecycle(agent, agentv2.Lifecycle_STARTING, 2) // again
	r.lifecycle(agent, agentv2.Lifecycle_READY, 5)
	r.lifecycle(agent, agentv2.Lifecycle_START_TIMEOUT, 6) // late
	var body agentDetail
	r.get(alice, "", &body)
	if body.LifecycleState != "ready" || body.Version != "v1.2.3" || body.ExpandedDirectory != "/home/alice/project" || body.Directory != "~/project" ||
		!slices.Equal(body.Subsystems, []string{"envbox", "exectrace"}) || !body.StartedAt.Equal(second(2).AsTime()) || !body.ReadyAt.Equal(second(5).AsTime()) || body.Status != "connected" {
		t.Errorf("agent %+v", body)
	}
	if len(body.Apps) != 2 || body.Apps[0].ID != testApp || body.Apps[0].Health != "initializing" || body.Apps[1].Health != "disabled" || body.Apps[0].SharingLevel != "owner" ||
		len(body.Scripts) != 1 || body.Scripts[0].Last != nil || body.Scripts[0].Timeout != 60 || len(body.LogSources) != 1 || body.LogSources[0].ID != testSource {
		t.Errorf("agent %+v", body)
	}
	var history struct{ Steps []stepBody }
	r.get(alice, "/lifecycle", &history)
	var states []string
	for _, step := range history.Steps {
		states = append(states, step.State)
	}
	if strings.Join(states, " ") != "created starting ready" {
		t.Errorf("history %v", states)
	}
	for _, state := range []agentv2.Lifecycle_State{0, 10, -1} {
		if _, err := agent.UpdateLifecycle(t.Context(), &agentv2.UpdateLifecycleRequest{Lifecycle: &agentv2.Lifecycle{State: state}}); err == nil {
			t.Errorf("state %d was taken", state)
		}
	}
	if _, err := agent.UpdateLifecycle(t.Context(), &agentv2.UpdateLifecycleRequest{}); err == nil {
		t.Error("no state was taken")
	}
}

func TestScriptTimings(t *testing.T) {
	r := newRig(t)
	r.withManifest()
	alice := r.person("alice")
	agent := r.report(alice)
	complete := func(id uuid.UUID, start, end int, timing *agentv2.Timing) error {
		timing.ScriptId, timing.Start, timing.End = id[:], second(start), second(end)
		_, err := agent.ScriptCompleted(t.Context(), &agentv2.WorkspaceAgentScriptCompletedRequest{Timing: timing})
		return err
	}
	for name, err := range map[string]error{
		"first":     complete(testScript, 1, 3, &agentv2.Timing{ExitCode: 0}),
		"second":    complete(testScript, 10, 12, &agentv2.Timing{ExitCode: 7, Stage: agentv2.Timing_CRON, Status: agentv2.Timing_EXIT_FAILURE}),
		"again":     complete(testScript, 10, 12, &agentv2.Timing{ExitCode: 7, Stage: agentv2.Timing_CRON, Status: agentv2.Timing_EXIT_FAILURE}),
		"backwards": complete(testScript, 9, 2, &agentv2.Timing{Stage: agentv2.Timing_STOP, Status: agentv2.Timing_PIPES_LEFT_OPEN}),
		"unknown":   complete(uuid.New(), 1, 3, &agentv2.Timing{}),
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, timing := range map[string]*agentv2.Timing{"stage": {ScriptId: testScript[:], Stage: 9}, "status": {ScriptId: testScript[:], Status: -1}, "id": {ScriptId: []byte{1}}, "nothing": nil} {
		if _, err := agent.ScriptCompleted(t.Context(), &agentv2.WorkspaceAgentScriptCompletedRequest{Timing: timing}); err == nil {
			t.Errorf("bad %s was taken", name)
		}
	}
	var body struct{ Timings []timingBody }
	r.get(alice, "/timings", &body)
	if len(body.Timings) != 3 || body.Timings[0].DisplayName != "Install" || body.Timings[1].Stage != "stop" || !body.Timings[1].EndedAt.Equal(body.Timings[1].StartedAt) {
		t.Errorf("timings %+v", body.Timings)
	}
	var detail agentDetail
	r.get(alice, "", &detail)
	if last := detail.Scripts[0].Last; last == nil || last.ExitCode != 7 || last.Status != "exit_failure" || last.Stage != "cron" {
		t.Errorf("last %+v", last)
	}
}

func metadataUpdate(pairs ...string) *agentv2.BatchUpdateMetadataRequest {
	request := &agentv2.BatchUpdateMetadataRequest{}
	for i := 0; i+1 < len(pairs); i += 2 {
		request.Metadata = append(request.Metadata, &agentv2.Metadata{Key: pairs[i], Result: &agentv2.WorkspaceAgentMetadata_Result{CollectedAt: timestamppb.Now(), Value: pairs[i+1]}})
	}
	return request
}

func (r *rig) metadata(p person) map[string]metadataBody {
	r.t.Helper()
	var bodies []metadataBody
	r.get(p, "/metadata", &bodies)
	found := map[string]metadataBody{}
	for _, body := range bodies {
		found[body.Description.Key] = body
	}
	return found
}

func TestMetadata(t *testing.T) {
	r := newRig(t)
	r.withManifest()
	alice := r.person("alice")
	agent := r.report(alice)
	update := func(request *agentv2.BatchUpdateMetadataRequest) {
		t.Helper()
		must[*agentv2.BatchUpdateMetadataResponse](t)(agent.BatchUpdateMetadata(t.Context(), request))
	}
	if got := r.metadata(alice); len(got) != 2 || got["cpu"].Result.Value != "" || got["cpu"].Description.Interval != 10 || !got["cpu"].Result.CollectedAt.IsZero() {
		t.Errorf("before: %+v", got)
	}
	update(metadataUpdate("cpu", "1", "nobody's", "x", "cpu", "2"))
	failed := metadataUpdate("disk", "")
	failed.Metadata[0].Result.Error = "exit status 7"
	failed.Metadata[0].Result.CollectedAt = timestamppb.New(time.Now().Add(-time.Minute))
	update(failed)
	if got := r.metadata(alice); len(got) != 2 || got["cpu"].Result.Value != "2" || got["disk"].Result.Error != "exit status 7" || got["disk"].Result.Age < 59 || got["disk"].Result.Age > 70 {
		t.Errorf("%+v", got)
	}
	// A value that is too large is cut between characters, and says so.
	update(metadataUpdate("cpu", "x"+strings.Repeat("ü", 10<<10)))
	if got := r.metadata(alice)["cpu"].Result; len(got.Value) != metadataValueMost-1 || got.Error != metadataCut || strings.Contains(got.Value, "\uFFFD") {
		t.Errorf("%d bytes, %q", len(got.Value), got.Error)
	}
	// What no database takes.
	odd := metadataUpdate("cpu", "a\x00b", "disk", "future")
	odd.Metadata[1].Result.CollectedAt = &timestamppb.Timestamp{Seconds: math.MaxInt64}
	update(odd)
	if got := r.metadata(alice); got["cpu"].Result.Value != "a\uFFFDb" || got["disk"].Result.CollectedAt.Year() != time.Now().UTC().Year() {
		t.Errorf("%+v", got)
	}
	update(&agentv2.BatchUpdateMetadataRequest{Metadata: []*agentv2.Metadata{{Key: "cpu"}, {}}})
	state := r.api.reports.acquire(t.Context(), alice.agent.ID)
	defer r.api.reports.release(state)
	if state.mu.Lock(); len(state.metadata) != 2 {
		t.Errorf("kept what is not its own: %v", slices.Collect(maps.Keys(state.metadata)))
	}
	state.mu.Unlock()
}

// TestReportsOfAStorm holds that updates write nothing until the flush, which
// writes the last of each, and that a restart knows it.
func TestReportsOfAStorm(t *testing.T) {
	r := newRig(t)
	r.withManifest()
	alice := r.person("alice")
	agent := r.report(alice)
	for i := range 300 {
		must[*agentv2.BatchUpdateMetadataResponse](t)(agent.BatchUpdateMetadata(t.Context(), metadataUpdate("cpu", fmt.Sprint(i))))
		must[*agentv2.UpdateStatsResponse](t)(agent.UpdateStats(t.Context(), &agentv2.UpdateStatsRequest{Stats: &agentv2.Stats{RxBytes: 1, ConnectionCount: int64(i)}}))
	}
	if values, err := r.store.AgentValues(t.Context(), alice.agent.ID); err != nil || len(values) != 0 {
		t.Errorf("written before the flush: %v, %v", values, err)
	}
	r.api.reports.flush(t.Context(), false)
	values, err := r.store.AgentValues(t.Context(), alice.agent.ID)
	lines, failed := r.store.Stats(t.Context(), alice.agent.ID, time.Time{})
	if err != nil || failed != nil || len(values) != 2 || !strings.Contains(string(values[0].Value), `"value":"299"`) || len(lines) != 1 || lines[0].RxBytes != 300 || lines[0].Connections != 299 {
		t.Errorf("%s %+v, %v %v", values, lines, err, failed)
	}
	// The next line waits for its minute, unless the server ends.
	must[*agentv2.UpdateStatsResponse](t)(agent.UpdateStats(t.Context(), &agentv2.UpdateStatsRequest{Stats: &agentv2.Stats{RxBytes: 5}}))
	r.api.reports.flush(t.Context(), false)
	if lines, err := r.store.Stats(t.Context(), alice.agent.ID, time.Time{}); err != nil || len(lines) != 1 {
		t.Errorf("%+v, %v", lines, err)
	}
	r.api.reports.close(t.Context())
	if lines, err := r.store.Stats(t.Context(), alice.agent.ID, time.Time{}); err != nil || len(lines) != 2 || lines[1].RxBytes != 5 {
		t.Errorf("%+v, %v", lines, err)
	}
	// Another server on the same database, to which the agent has not come back.
	other := newReports(r.store, r.api.config.Logger)
	state := other.acquire(t.Context(), alice.agent.ID)
	defer other.release(state)
	if state.metadata["cpu"].Value != "299" || state.stats == nil || state.stats.RxBytes != 5 {
		t.Errorf("after a restart: %+v", state)
	}
}

// TestReportsThatCannotBeStored holds that a database in trouble loses nothing.
func TestReportsThatCannotBeStored(t *testing.T) {
	r := newRig(t)
	alice := r.person("alice")
	broken := newReports(r.store, r.api.config.Logger)
	state := broken.acquire(t.Context(), alice.agent.ID)
	set := func(rx int64) {
		state.mu.Lock()
		defer state.mu.Unlock()
		state.metadata["cpu"] = metadataResult{Value: fmt.Sprint(rx)}
		state.dirty[valueName{store.ValueMetadata, "cpu"}] = struct{}{}
		state.line = &store.AgentStats{Agent: alice.agent.ID, At: time.Now(), RxBytes: rx}
	}
	set(1)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if broken.flush(ended, false); len(state.dirty) != 1 || state.line == nil {
		t.Fatal("what was not stored is lost")
	}
	broken.flush(ended, false)
	if count := strings.Count(r.logs.String(), "reports of agents are not stored"); count != 1 {
		t.Errorf("logged %d times", count)
	}
	broken.release(state)
	if len(broken.agents) != 1 {
		t.Error("forgotten with what was not stored")
	}
	broken.flush(t.Context(), true)
	if values, err := r.store.AgentValues(t.Context(), alice.agent.ID); err != nil || len(values) != 1 {
		t.Errorf("%v, %v", values, err)
	}
	if len(broken.agents) != 0 {
		t.Error("kept for ever")
	}
}

// TestFlushIsBounded holds how many rows one flush writes, and that the rest follows.
func TestFlushIsBounded(t *testing.T) {
	r := newRig(t)
	alice := r.person("alice")
	many := newReports(r.store, r.api.config.Logger)
	state := many.acquire(t.Context(), alice.agent.ID)
	defer many.release(state)
	state.mu.Lock()
	for i := range flushMost + 10 {
		state.dirty[valueName{store.ValueMetadata, fmt.Sprint(i)}] = struct{}{}
	}
	state.mu.Unlock()
	if done := many.flush(t.Context(), false); done || len(state.dirty) != 10 {
		t.Errorf("done %v, %d are left", done, len(state.dirty))
	}
	if many.close(t.Context()); len(state.dirty) != 0 {
		t.Errorf("%d are left", len(state.dirty))
	}
}

func TestAppHealth(t *testing.T) {
	r := newRig(t)
	r.withManifest()
	alice := r.person("alice")
	agent := r.report(alice)
	update := func(id []byte, health agentv2.AppHealth) {
		t.Helper()
		must[*agentv2.BatchUpdateAppHealthResponse](t)(agent.BatchUpdateAppHealths(t.Context(), &agentv2.BatchUpdateAppHealthRequest{
			Updates: []*agentv2.BatchUpdateAppHealthRequest_HealthUpdate{{Id: id, Health: health}},
		}))
	}
	health := func() string {
		var body agentDetail
		r.get(alice, "", &body)
		return body.Apps[0].Health
	}
	for _, test := range []struct {
		health agentv2.AppHealth
		want   string
	}{{agentv2.AppHealth_HEALTHY, "healthy"}, {agentv2.AppHealth_UNHEALTHY, "unhealthy"}, {0, "unhealthy"}, {99, "unhealthy"}, {agentv2.AppHealth_INITIALIZING, "initializing"}, {agentv2.AppHealth_DISABLED, "disabled"}} {
		if update(testApp[:], test.health); health() != test.want {
			t.Errorf("after %s: %s", test.health, health())
		}
	}
	stranger := uuid.New()
	update(stranger[:], agentv2.AppHealth_HEALTHY)
	update([]byte("short"), agentv2.AppHealth_HEALTHY)
	update(nil, agentv2.AppHealth_HEALTHY)
	state := r.api.reports.acquire(t.Context(), alice.agent.ID)
	defer r.api.reports.release(state)
	if len(state.health) != 1 {
		t.Errorf("health of apps that are not its own: %v", state.health)
	}
}
