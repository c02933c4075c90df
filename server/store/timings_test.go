package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

// TestLogsOfRuns holds that a run has its own limit, and that the logs of the run
// before stay.
func TestLogsOfRuns(t *testing.T) {
	s := open(t, t.TempDir())
	_, _, agent := sample(t, s, "alice")
	source := uuid.New()
	for run := range 3 {
		report, err := s.AddLifecycle(t.Context(), agent.ID, LifecycleCreated, step(run))
		if err != nil || report.LogsOverflowed || report.LogsLength != 0 {
			t.Fatalf("run %d begins with %+v, %v", run, report, err)
		}
		lines := append(logLines(run*10, 1, numbered), LogLine{CreatedAt: step(run), Output: strings.Repeat("x", LogsMost)})
		if stored, exceeded := appendLogs(t, s, agent.ID, source, lines); len(stored) != 1 || !exceeded {
			t.Fatalf("run %d: %d stored, %v", run, len(stored), exceeded)
		}
	}
	all, err := s.Logs(t.Context(), agent.ID, LogRange{})
	if err != nil || outputs(all) != "line 10 line 20" || all[1].ID != 3 {
		t.Errorf("%+v, %v", all, err)
	}
}

func TestAgentConnections(t *testing.T) {
	s := open(t, t.TempDir())
	_, _, agent := sample(t, s, "alice")
	begin := func(id uuid.UUID, at int) {
		t.Helper()
		if err := s.OpenConnection(t.Context(), agent.ID, AgentConnection{ID: id, Type: 1, IP: "127.0.0.1", ConnectedAt: step(at)}); err != nil {
			t.Fatal(err)
		}
	}
	end := func(id uuid.UUID, at int, code int32, reason string) {
		t.Helper()
		if err := s.CloseConnection(t.Context(), agent.ID, AgentConnection{ID: id, Type: 2, IP: "::1", DisconnectedAt: step(at), Code: code, Reason: reason}); err != nil {
			t.Fatal(err)
		}
	}
	whole, unmatched, left, turned := uuid.New(), uuid.New(), uuid.New(), uuid.New()
	begin(whole, 1)
	begin(whole, 2) // again
	end(whole, 3, 7, "exited")
	end(whole, 4, 0, "again")
	end(unmatched, 5, 255, "lost")
	end(turned, 7, 1, "quick")
	begin(turned, 6) // the end was reported first
	begin(left, 8)
	check := func(want map[uuid.UUID]string) {
		t.Helper()
		list, err := s.Connections(t.Context(), agent.ID, false, 0)
		if err != nil || len(list) != len(want) {
			t.Fatalf("%+v, %v", list, err)
		}
		for _, one := range list {
			seconds := func(at time.Time) int { return int(at.Sub(reportEpoch) / time.Second) }
			connected, disconnected := "-", "-"
			if !one.ConnectedAt.IsZero() {
				connected = fmt.Sprint(seconds(one.ConnectedAt))
			}
			if !one.DisconnectedAt.IsZero() {
				disconnected = fmt.Sprint(seconds(one.DisconnectedAt))
			}
			if got := fmt.Sprint(connected, disconnected, one.Type, one.Code, one.Reason); got != want[one.ID] {
				t.Errorf("%q, want %q", got, want[one.ID])
			}
		}
	}
	want := map[uuid.UUID]string{
		whole: "13ssh 7exited", unmatched: "-5vscode 255lost", turned: "67vscode 1quick", left: "8-ssh 0",
	}
	check(want)
	if list, err := s.Connections(t.Context(), agent.ID, true, 0); err != nil || len(list) != 1 || list[0].ID != left {
		t.Errorf("open ones %+v, %v", list, err)
	}
	// What the agent does not live to report the end of ends with its next start.
	if _, err := s.AddLifecycle(t.Context(), agent.ID, LifecycleCreated, step(20)); err != nil {
		t.Fatal(err)
	}
	want[left] = "820ssh 0the agent started anew"
	check(want)
}

func TestReportsAreBounded(t *testing.T) {
	s := open(t, t.TempDir())
	_, _, agent := sample(t, s, "alice")
	script := uuid.New()
	for i := range connectionsMost + 20 {
		if err := s.OpenConnection(t.Context(), agent.ID, AgentConnection{ID: uuid.New(), Type: 1, ConnectedAt: step(i)}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range timingsEach + 20 {
		for range 2 {
			if err := s.AddTiming(t.Context(), agent.ID, ScriptTiming{Script: script, Stage: 2, Start: step(i), End: step(i + 1), ExitCode: int32(i), Status: 1}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.AddTiming(t.Context(), agent.ID, ScriptTiming{Script: script, Start: step(0), End: step(1)}); err != nil {
		t.Fatal(err)
	}
	var count int
	if err := s.db.QueryRow("SELECT COUNT(*) FROM agent_connections").Scan(&count); err != nil || count < connectionsMost || count > connectionsMost+50 {
		t.Errorf("%d connections, %v", count, err)
	}
	timings, err := s.Timings(t.Context(), agent.ID)
	if err != nil || len(timings) != timingsEach+1 || timings[0].Stage.String() != "start" || timings[len(timings)-1].ExitCode != timingsEach+19 ||
		timings[1].Status.String() != "exit_failure" || !timings[1].End.Equal(timings[1].Start.Add(time.Second)) {
		t.Errorf("%d timings %+v, %v", len(timings), timings, err)
	}
}

// TestConnectionsOfAClockThatIsWrong: however an agent dates what it reports, the
// newest reports are kept, and no more than there may be.
func TestConnectionsOfAClockThatIsWrong(t *testing.T) {
	for name, at := range map[string]func(i int) time.Time{
		"stands still": func(int) time.Time { return step(0) },
		"far ahead":    func(i int) time.Time { return time.Date(2099, 1, 1, 0, 0, i, 0, time.UTC) },
		"goes back":    func(i int) time.Time { return step(-i) },
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, t.TempDir())
			_, _, agent := sample(t, s, "alice")
			note := func(i int) uuid.UUID {
				id := uuid.New()
				if err := s.OpenConnection(t.Context(), agent.ID, AgentConnection{ID: id, Type: 1, ConnectedAt: at(i)}); err != nil {
					t.Fatal(err)
				}
				return id
			}
			for i := range connectionsMost + 20 {
				note(i)
			}
			time.Sleep(2 * time.Millisecond) // of what was noted at once the order is not known
			last := note(connectionsMost + 20)
			list, err := s.Connections(t.Context(), agent.ID, false, 0)
			if err != nil || len(list) != connectionsMost || list[0].ID != last {
				t.Errorf("%d connections, %v; the last is the first: %t", len(list), err, len(list) > 0 && list[0].ID == last)
			}
			var count int
			if err := s.db.QueryRow("SELECT COUNT(*) FROM agent_connections").Scan(&count); err != nil || count < connectionsMost || count > connectionsMost+50 { // some of one millisecond
				t.Errorf("%d rows, %v", count, err)
			}
		})
	}
}

// TestConnectionsOfTheFuture: rows of a server that went by the agent's clock do
// not push out what is reported now.
func TestConnectionsOfTheFuture(t *testing.T) {
	s := open(t, t.TempDir())
	_, _, agent := sample(t, s, "alice")
	for i := range connectionsMost {
		_, err := s.db.Exec(`INSERT INTO agent_connections (agent_id, connection_id, type, ip, connected_at, disconnected_at, status_code, reason, noted_at)
			VALUES ($1, $2, 1, '', 1, 0, 0, '', $3)`, idText(agent.ID), idText(uuid.New()), millis(now().Add(time.Hour))+int64(i))
		if err != nil {
			t.Fatal(err)
		}
	}
	last := uuid.New()
	for range 2 { // the first gives the old ones its own time
		last = uuid.New()
		if err := s.OpenConnection(t.Context(), agent.ID, AgentConnection{ID: last, Type: 1, ConnectedAt: step(0)}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Millisecond) // the next is a later one
	}
	list, err := s.Connections(t.Context(), agent.ID, false, 0)
	if err != nil || len(list) != connectionsMost || list[0].ID != last {
		t.Errorf("%d connections, %v; want all that may be kept, and the last first", len(list), err)
	}
}

func TestStatsAndValues(t *testing.T) {
	s := open(t, t.TempDir())
	_, _, agent := sample(t, s, "alice")
	line := AgentStats{Agent: agent.ID, At: now(), Connections: 3, Latency: 1500 * time.Microsecond, RxPackets: 1, RxBytes: 2, TxPackets: 3, TxBytes: 4,
		SessionsVSCode: 5, SessionsJetBrains: 6, SessionsPTY: 7, SessionsSSH: 8}
	old := AgentStats{Agent: agent.ID, At: now().Add(-StatsMemory - time.Hour), Latency: -time.Millisecond}
	gone := AgentStats{Agent: uuid.New(), At: now()}
	values := []AgentValue{
		{agent.ID, ValueMetadata, "cpu", json.RawMessage(`"1"`)}, {agent.ID, ValueMetadata, "cpu", json.RawMessage(`"2"`)},
		{agent.ID, ValueApp, "x", json.RawMessage(`{}`)}, {uuid.New(), ValueApp, "x", json.RawMessage(`{}`)},
	}
	if err := s.SaveReports(t.Context(), values, []AgentStats{old, line, gone}); err != nil {
		t.Fatal(err)
	}
	list, err := s.Stats(t.Context(), agent.ID, time.Time{})
	if err != nil || len(list) != 2 || list[1] != line || list[0].Latency >= 0 {
		t.Errorf("%+v, %v", list, err)
	}
	if err := s.PruneReports(t.Context()); err != nil {
		t.Fatal(err)
	}
	if list, err := s.Stats(t.Context(), agent.ID, time.Time{}); err != nil || len(list) != 1 || list[0] != line {
		t.Errorf("pruned %+v, %v", list, err)
	}
	if found, err := s.AgentValues(t.Context(), agent.ID); err != nil || len(found) != 2 || found[0].Name != "x" || string(found[1].Value) != `"2"` {
		t.Errorf("values %+v, %v", found, err)
	}
	if err := s.DeleteAgentValues(t.Context(), agent.ID, ValueMetadata, []string{"cpu"}); err != nil {
		t.Fatal(err)
	}
	if found, err := s.AgentValues(t.Context(), agent.ID); err != nil || len(found) != 1 {
		t.Errorf("values %+v, %v", found, err)
	}
}

var reportTables = []string{"agent_reports", "agent_lifecycle", "agent_logs", "agent_timings", "agent_connections", "agent_stats", "agent_values"}

// fill writes one report of each kind.
func fill(t *testing.T, s *Store, agent uuid.UUID) {
	t.Helper()
	_, err := s.AddLifecycle(t.Context(), agent, LifecycleReady, step(1))
	_, _, logs := s.AppendLogs(t.Context(), agent, uuid.New(), logLines(0, 1, numbered))
	for _, err := range []error{
		err, logs, s.SetStartup(t.Context(), agent, "v1", "/home/alice", []string{"envbox", "exectrace"}),
		s.AddTiming(t.Context(), agent, ScriptTiming{Script: uuid.New(), Start: step(1), End: step(2)}),
		s.OpenConnection(t.Context(), agent, AgentConnection{ID: uuid.New(), Type: 1, ConnectedAt: now()}),
		s.SaveReports(t.Context(), []AgentValue{{agent, ValueApp, "x", json.RawMessage(`{}`)}}, []AgentStats{{Agent: agent, At: now()}}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestReportsLastAsLongAsTheirAgent deletes an agent, and restores it from a backup.
func TestReportsLastAsLongAsTheirAgent(t *testing.T) {
	dir, backup := t.TempDir(), filepath.Join(t.TempDir(), "backup.db")
	s, err := Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	_, _, agent := sample(t, s, "alice")
	fill(t, s, agent.ID)
	if err := s.Backup(t.Context(), backup); err != nil {
		t.Fatal(err)
	}
	count := func(s *Store) (counts []int) {
		t.Helper()
		for _, table := range reportTables {
			var count int
			if err := s.db.QueryRow("SELECT COUNT(*) FROM " + table).Scan(&count); err != nil {
				t.Fatal(err)
			}
			counts = append(counts, count)
		}
		return counts
	}
	if got := count(s); slices.Contains(got, 0) {
		t.Errorf("before: %v", got)
	}
	if err := s.DeleteAgent(t.Context(), agent.ID); err != nil {
		t.Fatal(err)
	}
	if got := count(s); slices.Max(got) != 0 {
		t.Errorf("of a deleted agent is left: %v", got)
	}
	// An agent that is still connected while it is deleted.
	_, lifecycle := s.AddLifecycle(t.Context(), agent.ID, LifecycleReady, step(1))
	_, _, logs := s.AppendLogs(t.Context(), agent.ID, uuid.New(), logLines(0, 1, numbered))
	for name, err := range map[string]error{
		"lifecycle": lifecycle, "logs": logs, "startup": s.SetStartup(t.Context(), agent.ID, "v1", "", nil),
		"timing":     s.AddTiming(t.Context(), agent.ID, ScriptTiming{}),
		"connection": s.OpenConnection(t.Context(), agent.ID, AgentConnection{ID: uuid.New()}),
	} {
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("%s of a deleted agent: %v", name, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(t.Context(), dir, backup); err != nil {
		t.Fatal(err)
	}
	restored := open(t, dir)
	if got := count(restored); slices.Contains(got, 0) {
		t.Errorf("restored: %v", got)
	}
	report, err := restored.AgentReport(t.Context(), agent.ID)
	if err != nil || report.Version != "v1" || report.Directory != "/home/alice" || strings.Join(report.Subsystems, " ") != "envbox exectrace" {
		t.Errorf("report %+v, %v", report, err)
	}
}

// TestReportsWakeNobody holds that what agents report does not make the server
// read everything again, and that it is noticed by another process.
func TestReportsWakeNobody(t *testing.T) {
	dir := t.TempDir()
	server, command := open(t, dir), open(t, dir)
	_, _, agent := sample(t, server, "alice")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	mine, others := make(chan struct{}, 100), make(chan struct{}, 100)
	for store, changes := range map[*Store]chan struct{}{server: mine, command: others} {
		ended := make(chan error, 1)
		go func() { ended <- store.Watch(ctx, 5*time.Millisecond, func() { changes <- struct{}{} }) }()
		defer func() { cancel(); <-ended }()
	}
	time.Sleep(100 * time.Millisecond) // both have looked once
	for len(mine) > 0 {
		<-mine
	}
	fill(t, server, agent.ID)
	select {
	case <-others:
	case <-time.After(10 * time.Second):
		t.Fatal("another process did not notice")
	}
	time.Sleep(100 * time.Millisecond) // 20 looks
	if len(mine) > 0 {
		t.Error("the server was woken by its own reports")
	}
	if _, err := server.CreateUser(t.Context(), "bob", ""); err != nil {
		t.Fatal(err)
	}
	select {
	case <-mine:
	case <-time.After(10 * time.Second):
		t.Fatal("any other change is not noticed any more")
	}
}
