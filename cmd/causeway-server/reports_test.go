package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/server/define"
	"github.com/causewayhq/causeway/server/store"
)

// reporting is a database with an agent that has reported.
type reporting struct {
	t     *testing.T
	dir   string
	store *store.Store
	agent store.Agent
}

func newReporting(t *testing.T) *reporting {
	t.Helper()
	r := &reporting{t: t, dir: t.TempDir()}
	if got := cli(t, nil, "user", "create", "alice", "--create", "--data-dir", r.dir); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	ok(t, "agent", "create", "alice/myws/main", "--with-user", "--data-dir", r.dir, "--url", "http://127.0.0.1:1")
	var err error
	if r.store, err = store.OpenExisting(t.Context(), r.dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.store.Close() })
	agents, err := r.store.Agents(t.Context())
	if err != nil || len(agents) != 1 {
		t.Fatalf("%v, %v", agents, err)
	}
	r.agent = agents[0]
	document := []byte(`{"version":1,"scripts":[{"name":"install","run":"x","on_start":true},{"name":"tidy","run":"x","on_stop":true}],"apps":[{"slug":"web","url":"http://127.0.0.1:1","health":{"url":"http://127.0.0.1:1","interval":"5s","threshold":3}}],"metadata":[{"key":"cpu","run":"x"},{"key":"disk","run":"x"}]}`)
	if _, _, err := r.store.SetDefinition(t.Context(), r.agent.ID, store.DefinitionChange{Document: document, By: "test"}); err != nil {
		t.Fatal(err)
	}
	return r
}

var reportTime = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func (r *reporting) logs(first, count int) {
	r.t.Helper()
	var lines []store.LogLine
	for i := first; i < first+count; i++ {
		lines = append(lines, store.LogLine{CreatedAt: reportTime.Add(time.Duration(i) * time.Microsecond), Level: store.LogInfo, Output: fmt.Sprintf("line %d", i)})
	}
	if _, _, err := r.store.AppendLogs(r.t.Context(), r.agent.ID, define.LogSourceID(r.agent.ID, "install"), lines); err != nil {
		r.t.Fatal(err)
	}
}

func (r *reporting) args(words ...string) []string {
	return append([]string{"agent", words[0], "alice/myws/main", "--data-dir", r.dir}, words[1:]...)
}

func (r *reporting) json(into any, words ...string) {
	r.t.Helper()
	output := ok(r.t, append(r.args(words...), "--json")...)
	if err := json.Unmarshal([]byte(output), into); err != nil {
		r.t.Fatalf("%v in %s", err, output)
	}
	var version struct{ Version int }
	if err := json.Unmarshal([]byte(output), &version); err != nil || version.Version != outputVersion {
		r.t.Errorf("version of %s", output)
	}
}

func TestAgentStatus(t *testing.T) {
	r := newReporting(t)
	if out := ok(t, r.args("status")...); !strings.Contains(out, "created") || !strings.Contains(out, "initializing") ||
		!strings.Contains(out, "no report yet; one comes every five minutes") || !strings.Contains(out, "install  start  -        -     no run reported") {
		t.Errorf("an agent that has said nothing:\n%s", out)
	}
	ctx, id := t.Context(), r.agent.ID
	_, first := r.store.AddLifecycle(ctx, id, store.LifecycleStarting, reportTime)
	_, second := r.store.AddLifecycle(ctx, id, store.LifecycleStartError, reportTime.Add(time.Minute))
	for _, err := range []error{
		first, second, r.store.SetStartup(ctx, id, "v9\x1b[31m", "/home/alice", []string{"envbox"}),
		r.store.AddTiming(ctx, id, store.ScriptTiming{Script: define.ScriptID(id, "install"), Start: reportTime, End: reportTime.Add(time.Second), ExitCode: 7, Status: 1}),
		r.store.OpenConnection(ctx, id, store.AgentConnection{ID: uuid.New(), Type: 1, IP: "127.0.0.1", ConnectedAt: reportTime.Add(time.Hour)}),
		r.store.SaveReports(ctx, []store.AgentValue{
			{Agent: id, Kind: store.ValueMetadata, Name: "cpu", Value: json.RawMessage(`{"value":"12 %\nmore\u001b]0;x\u0007","collected_at":"2026-01-02T03:04:05Z"}`)},
			{Agent: id, Kind: store.ValueApp, Name: define.AppID(id, "web").String(), Value: json.RawMessage(`"unhealthy"`)},
		}, []store.AgentStats{{Agent: id, At: time.Now(), RxBytes: 3 << 20, SessionsSSH: 2, Latency: 1500 * time.Microsecond, Connections: 4}}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	r.logs(0, 2)
	out := ok(t, r.args("status")...)
	for _, part := range []string{
		"alice/myws/main", "start_error", "v9", "/home/alice", "2 lines, 12 B", "3.0 MiB in, 0 B out, 4 connections since the report before\n", "terminals 0 at that moment; latency 1.5 ms\n", "Last report:  20", "; one comes every five minutes while", "ssh 2",
		"install  start", "exit_failure     7", "tidy     stop   -                    -     no run reported  -", "unhealthy", "12 %...", "127.0.0.1",
	} {
		if !strings.Contains(out, part) {
			t.Errorf("status does not have %q:\n%s", part, out)
		}
	}
	if strings.ContainsAny(out, "\x1b\x07") {
		t.Errorf("status steers the terminal: %q", out)
	}
	var state agentState
	r.json(&state, "status")
	if state.Lifecycle != "start_error" || !state.StartedAt.Equal(reportTime) || len(state.Steps) != 2 || state.Scripts[0].ExitCode != 7 || state.Apps[0].Health != "unhealthy" ||
		len(state.Metadata) != 2 || state.Metadata[0].Value != "12 %\nmore\x1b]0;x\x07" || state.Metadata[1].CollectedAt != nil || len(state.Open) != 1 || state.Open[0].StatusCode != nil ||
		state.Stats.SSH != 2 || len(state.Scripts) != 1 || len(state.Unreported) != 1 || state.Unreported[0].Script != "tidy" || state.Agent.Name != "main" || state.LogsLines != 2 || state.Subsystems[0] != "envbox" {
		t.Errorf("%+v", state)
	}
}

func TestAgentConnectionsAndStats(t *testing.T) {
	r := newReporting(t)
	ctx, id := t.Context(), r.agent.ID
	ended := uuid.New()
	for _, err := range []error{
		r.store.OpenConnection(ctx, id, store.AgentConnection{ID: ended, Type: 2, IP: "::1", ConnectedAt: reportTime}),
		r.store.CloseConnection(ctx, id, store.AgentConnection{ID: ended, DisconnectedAt: reportTime.Add(time.Minute), Code: 229, Reason: "no shell"}),
		r.store.OpenConnection(ctx, id, store.AgentConnection{ID: uuid.New(), Type: 4, ConnectedAt: reportTime.Add(time.Hour)}),
		r.store.SaveReports(ctx, nil, []store.AgentStats{
			{Agent: id, At: time.Now().Add(-3 * time.Hour), Latency: -1}, {Agent: id, At: time.Now(), TxBytes: 2048, SessionsVSCode: 1, Latency: time.Millisecond},
		}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if out := ok(t, r.args("stats", "--since", "1ns")...); out != "No report in that time; one comes every five minutes while the agent is connected.\n" {
		t.Errorf("no stats:\n%s", out)
	}
	if out := ok(t, r.args("connections")...); !strings.Contains(out, "reconnecting_pty") || !strings.Contains(out, "229") || !strings.Contains(out, "no shell") {
		t.Errorf("connections:\n%s", out)
	}
	var list struct{ Connections []connectionOutput }
	if r.json(&list, "connections"); len(list.Connections) != 2 || *list.Connections[1].StatusCode != 229 || list.Connections[0].DisconnectedAt != nil {
		t.Errorf("%+v", list)
	}
	if r.json(&list, "connections", "--open"); len(list.Connections) != 1 || list.Connections[0].Type != "reconnecting_pty" {
		t.Errorf("%+v", list)
	}
	if r.json(&list, "connections", "--last", "1"); len(list.Connections) != 1 {
		t.Errorf("%+v", list)
	}
	if got := cli(t, nil, r.args("stats")...); got.code != 0 || strings.Count(got.stdout, "\n") != 3 || !strings.Contains(got.stdout, "2.0 KiB") ||
		!strings.Contains(got.stdout, "1.0 ms") || !strings.Contains(got.stderr, "one comes every five minutes") || !strings.Contains(got.stderr, "since the report before") {
		t.Errorf("stats: %+v", got)
	}
	var stats struct{ Stats []statsOutput }
	if r.json(&stats, "stats"); len(stats.Stats) != 2 || stats.Stats[0].Latency != -1 || stats.Stats[1].VSCode != 1 {
		t.Errorf("%+v", stats)
	}
	if r.json(&stats, "stats", "--since", "1h"); len(stats.Stats) != 1 {
		t.Errorf("%+v", stats)
	}
}

func TestAgentLogs(t *testing.T) {
	r := newReporting(t)
	if out := ok(t, r.args("logs")...); out != "" {
		t.Errorf("logs of nobody: %q", out)
	}
	r.logs(0, 3)
	odd := []store.LogLine{{CreatedAt: reportTime, Level: store.LogError, Output: "\x1b[31mred\x1b[0m\ttab \x07\u202e bell\x1b]0;title\x07"}}
	if _, _, err := r.store.AppendLogs(t.Context(), r.agent.ID, uuid.UUID{0xab}, odd); err != nil {
		t.Fatal(err)
	}
	out := strings.Split(ok(t, r.args("logs")...), "\n")
	if len(out) != 5 || !strings.HasSuffix(out[2], "[install] line 2") || !strings.HasSuffix(out[3], "[ab000000] ERROR red\ttab \uFFFD\uFFFD bell") {
		t.Errorf("%q", out)
	}
	var body struct {
		Logs       []logOutput
		LastID     int64 `json:"last_id"`
		Overflowed bool
	}
	if r.json(&body, "logs"); len(body.Logs) != 4 || body.LastID != 4 || body.Overflowed || body.Logs[0].Source != "install" || body.Logs[3].Output != odd[0].Output {
		t.Errorf("%+v", body)
	}
	if r.json(&body, "logs", "--after", "3"); len(body.Logs) != 1 || body.Logs[0].ID != 4 {
		t.Errorf("%+v", body)
	}
	if r.json(&body, "logs", "--last", "2"); len(body.Logs) != 2 || body.Logs[0].ID != 3 {
		t.Errorf("%+v", body)
	}
	huge := []store.LogLine{{CreatedAt: reportTime, Output: strings.Repeat("x", store.LogsMost)}}
	if _, exceeded, err := r.store.AppendLogs(t.Context(), r.agent.ID, uuid.UUID{0xab}, huge); err != nil || !exceeded {
		t.Fatal(exceeded, err)
	}
	if got := cli(t, nil, r.args("logs")...); got.code != 0 || !strings.Contains(got.stderr, "limit of 1 MiB") {
		t.Errorf("overflowed: %d %q", got.code, got.stderr)
	}
}

// following is a command that follows logs.
type following struct {
	t      *testing.T
	cmd    *exec.Cmd
	lines  *bufio.Scanner
	stderr bytes.Buffer
}

func (r *reporting) follow(words ...string) *following {
	r.t.Helper()
	f := &following{t: r.t, cmd: command(r.t, nil, r.args(append([]string{"logs", "-f"}, words...)...)...)}
	stdout, err := f.cmd.StdoutPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	f.cmd.Stderr = &f.stderr
	f.lines = bufio.NewScanner(stdout)
	if err := f.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { f.cmd.Process.Kill(); io.Copy(io.Discard, stdout); f.cmd.Wait() })
	return f
}

func (f *following) until(first, count int) {
	f.t.Helper()
	for i := first; i < first+count; i++ {
		if !f.lines.Scan() || !strings.HasSuffix(f.lines.Text(), fmt.Sprintf("line %d", i)) {
			f.t.Fatalf("line %d is %q; %s", i, f.lines.Text(), f.stderr.String())
		}
	}
}

// TestAgentLogsFollow follows what another process stores: whole, in order, and
// to an orderly end.
func TestAgentLogsFollow(t *testing.T) {
	r := newReporting(t)
	r.logs(0, 10)
	whole, late := r.follow(), r.follow("--last", "2")
	whole.until(0, 10)
	late.until(8, 2)
	const count = 12_000 // more than two pages
	go func() {
		for first := 10; first < count; first += 1199 {
			r.logs(first, min(1199, count-first))
		}
	}()
	whole.until(10, count-10)
	late.until(10, count-10)
	_ = whole.cmd.Process.Signal(syscall.SIGINT)
	if whole.lines.Scan() {
		t.Errorf("more: %q", whole.lines.Text())
	}
	if err := whole.cmd.Wait(); err != nil || whole.stderr.Len() != 0 {
		t.Errorf("ended with %v, %q", err, whole.stderr.String())
	}
	ok(t, "agent", "delete", "alice/myws/main", "--data-dir", r.dir)
	if late.lines.Scan() {
		t.Errorf("more: %q", late.lines.Text())
	}
	if _ = late.cmd.Wait(); late.cmd.ProcessState.ExitCode() != exitNotFound || !strings.Contains(late.stderr.String(), "it was deleted") {
		t.Errorf("ended with %d, %q", late.cmd.ProcessState.ExitCode(), late.stderr.String())
	}
}

func TestAgentLogsFollowJSON(t *testing.T) {
	r := newReporting(t)
	r.logs(0, 2)
	follower := r.follow("--json", "--after", "1")
	var line followedOutput
	if !follower.lines.Scan() {
		t.Fatal(follower.stderr.String())
	}
	if err := json.Unmarshal(follower.lines.Bytes(), &line); err != nil || line.Version != outputVersion || line.ID != 2 || line.Output != "line 1" || line.Source != "install" || line.Level != "info" {
		t.Errorf("%s, %v", follower.lines.Bytes(), err)
	}
}

func TestReportFailures(t *testing.T) {
	r := newReporting(t)
	for _, test := range []struct {
		args string
		code int
		text string
	}{
		{"agent logs alice/myws", exitUsage, "USER/WORKSPACE/AGENT"},
		{"agent logs alice/myws/none", exitNotFound, "; the agents that there are: causeway-server --data-dir " + r.dir + " agent list alice"},
		{"agent status alice/myws/mian", exitNotFound, "not found; did you mean alice/myws/main? The agents that there are: "},
		{"agent status alice/none/main", exitNotFound, "workspace list alice"},
		{"agent stats alice/myws/main --since -1h", exitUsage, "--since"},
		{"agent logs alice/myws/main --after -1", exitUsage, "cannot be negative"},
		{"agent logs alice/myws/main --last many", exitUsage, "--last"},
		{"agent connections alice/myws/main --last -1", exitUsage, "cannot be negative"},
		{"agent connections", exitUsage, "agent connections: the argument USER/WORKSPACE/AGENT is missing"},
	} {
		got := cli(t, nil, append(strings.Fields(test.args), "--data-dir", r.dir)...)
		if got.code != test.code || !strings.Contains(got.stderr, test.text) || got.stdout != "" {
			t.Errorf("%s: %+v", test.args, got)
		}
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add("\x1b[31mred\x1b[0m")
	f.Add("\x1b]0;title\x07\u009b31m\u202e\xff\x00")
	f.Add("over\rwritten\v\f\u0085\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, char := range printable(text) {
			if char < ' ' && char != '\t' || char >= 0x7f && char < 0xa0 {
				t.Errorf("%q leaves %q", text, char)
			}
		}
	})
}
