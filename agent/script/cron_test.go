package script

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/causewayhq/causeway/proto/agentv2"
)

func scheduled(cron, line string) Script {
	return Script{ID: uuid.New(), Source: uuid.New(), Line: line, Cron: cron}
}

// TestCron has real processes in a bubble: its clock stands while they run.
func TestCron(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // from midnight
		r, record, _ := newRunner(t)
		minutely := scheduled("* * * * *", "echo minute")
		r.Schedule([]Script{minutely, scheduled("*/20 * * * * *", "echo second; exit 1"), scheduled("@hourly", "echo hour"), scheduled("0 0 30 2 *", "echo never")})
		time.Sleep(60*time.Minute + time.Second)
		text := record.text(agentv2.Log_INFO)
		for line, want := range map[string]int{"minute": 60, "second": 180, "hour": 1, "never": 0} {
			if got := countLines(text, line); got != want {
				t.Errorf("%s ran %d times, want %d", line, got, want)
			}
		}
		for _, run := range record.runs() {
			if run.GetStage() != agentv2.Timing_CRON {
				t.Fatalf("reported %v", run)
			}
		}
		if got := len(record.runs()); got != 241 {
			t.Errorf("reported %d runs", got)
		}
		r.Halt(t.Context())
		time.Sleep(time.Hour)
		if got := len(record.runs()); got != 241 {
			t.Errorf("reported %d runs after the end", got)
		}
	})
}

// TestScheduleAgain keeps what is the same, replaces and removes.
func TestScheduleAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, record, _ := newRunner(t)
		same, changed, removed := scheduled("* * * * *", "echo same"), scheduled("* * * * *", "echo old"), scheduled("* * * * *", "echo removed")
		r.Schedule([]Script{same, changed, removed})
		time.Sleep(150 * time.Second) // two of each
		changed.Line = "echo new"
		r.Schedule([]Script{same, changed})
		for range 1000 { // a control plane that flaps
			r.Schedule([]Script{same, changed})
			time.Sleep(60 * time.Millisecond)
		}
		time.Sleep(31 * time.Second) // two more
		text := record.text(agentv2.Log_INFO)
		for line, want := range map[string]int{"same": 4, "old": 2, "new": 2, "removed": 2} {
			if got := strings.Count(text, line); got != want {
				t.Errorf("%s ran %d times, want %d", line, got, want)
			}
		}
		r.Halt(t.Context())
	})
}

// TestCronDoesNotOverlap: a run that lasts longer than its interval costs the
// times in between.
func TestCronDoesNotOverlap(t *testing.T) {
	r, record, _ := newRunner(t)
	r.Schedule([]Script{scheduled("* * * * * *", "echo begin; sleep 1.3; echo end")})
	eventually(t, "two runs", func() bool { return len(record.runs()) == 2 })
	r.Halt(t.Context())
	text := record.text(agentv2.Log_INFO)
	if !strings.HasPrefix(text, "begin\nend\nbegin\nend\n") {
		t.Errorf("printed %q", text)
	}
}

func TestRead(t *testing.T) {
	source, id := uuid.New(), uuid.New()
	good := func() *agentv2.WorkspaceAgentScript {
		return &agentv2.WorkspaceAgentScript{
			LogSourceId: source[:], Id: id[:], DisplayName: "name", Script: "line", LogPath: "path", Cron: " 5 4 * * * ",
			RunOnStart: true, RunOnStop: true, Timeout: durationpb.New(time.Minute),
		}
	}
	want := Script{ID: id, Source: source, Name: "name", Line: "line", LogPath: "path", Cron: "5 4 * * *", OnStart: true, OnStop: true, Timeout: time.Minute}
	tests := []struct {
		name   string
		change func(*agentv2.WorkspaceAgentScript)
		says   string
	}{
		{"good", func(*agentv2.WorkspaceAgentScript) {}, ""},
		{"no source", func(m *agentv2.WorkspaceAgentScript) { m.LogSourceId = nil }, "log source"},
		{"bad id", func(m *agentv2.WorkspaceAgentScript) { m.Id = []byte("x") }, "id"},
		{"binary", func(m *agentv2.WorkspaceAgentScript) { m.Script = "a\x00b" }, "no text"},
		{"bad schedule", func(m *agentv2.WorkspaceAgentScript) { m.Cron = "often" }, `schedule "often"`},
		{"time zone alone", func(m *agentv2.WorkspaceAgentScript) { m.Cron = "TZ=UTC" }, "time zone"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			broken := good()
			test.change(broken)
			got, err := Read([]*agentv2.WorkspaceAgentScript{broken, good()})
			if test.says == "" {
				if err != nil || len(got) != 2 || got[0] != want {
					t.Errorf("got %v, %v", got, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.says) || len(got) != 1 || got[0] != want {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
	many := make([]*agentv2.WorkspaceAgentScript, maxScripts+3)
	for i := range many {
		many[i] = good()
	}
	if got, err := Read(many); len(got) != maxScripts || err == nil || !strings.Contains(err.Error(), "3 more") {
		t.Errorf("took %d: %v", len(got), err)
	}
	// One of an older control plane has no id, and a negative limit is none.
	old := good()
	old.Id, old.Timeout = nil, durationpb.New(-time.Second)
	if got, err := Read([]*agentv2.WorkspaceAgentScript{old}); err != nil || got[0].key() != source || got[0].Timeout != 0 {
		t.Errorf("got %v, %v", got, err)
	}
}

func FuzzCron(f *testing.F) {
	for _, seed := range []string{"* * * * *", "*/5 1-4 * * * MON-FRI", "@daily", "@every 1h", "TZ=Europe/Berlin 0 6 * * ?", "CRON_TZ=", "", "TZ= "} {
		f.Add(seed)
	}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		schedule, err := parseCron(text)
		if err != nil {
			return
		}
		if next := schedule.Next(now); !next.IsZero() && !next.After(now) {
			t.Errorf("%q comes at %s, which has been", text, next)
		}
	})
}
