package store

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

var reportEpoch = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

// step is a time so many seconds after the epoch of these tests.
func step(seconds int) time.Time { return reportEpoch.Add(time.Duration(seconds) * time.Second) }

func logLines(first, count int, output func(int) string) []LogLine {
	lines := make([]LogLine, 0, count)
	for i := first; i < first+count; i++ {
		lines = append(lines, LogLine{CreatedAt: reportEpoch.Add(time.Duration(i) * time.Microsecond), Level: LogInfo, Output: output(i)})
	}
	return lines
}

func numbered(i int) string { return fmt.Sprintf("line %d", i) }

func appendLogs(t *testing.T, s *Store, agent, source uuid.UUID, lines []LogLine) ([]LogLine, bool) {
	t.Helper()
	stored, exceeded, err := s.AppendLogs(t.Context(), agent, source, lines)
	if err != nil {
		t.Fatal(err)
	}
	return stored, exceeded
}

func outputs(lines []LogLine) string {
	var all []string
	for _, line := range lines {
		all = append(all, line.Output)
	}
	return strings.Join(all, " ")
}

func TestLifecycle(t *testing.T) {
	type add struct {
		state LifecycleState
		at    int
		back  bool // it goes back and is refused
	}
	tests := map[string]struct {
		adds    []add
		history string
		state   LifecycleState
		run     int64
		started int
		ready   int // -1: never
	}{
		"in order":         {[]add{{1, 1, false}, {2, 2, false}, {5, 3, false}, {6, 4, false}, {9, 5, false}}, "1created 1starting 1ready 1shutting_down 1off", LifecycleOff, 1, 2, 3},
		"repeated":         {[]add{{1, 1, false}, {2, 2, false}, {2, 2, false}, {1, 1, false}, {5, 3, false}, {5, 3, false}}, "1created 1starting 1ready", LifecycleReady, 1, 2, 3},
		"late":             {[]add{{2, 2, false}, {6, 9, false}, {5, 3, true}}, "1starting 1shutting_down", LifecycleShuttingDown, 1, 2, -1},
		"error, then late": {[]add{{2, 2, false}, {3, 3, false}, {4, 4, false}}, "1starting 1start_timeout 1start_error", LifecycleStartError, 1, 2, 3},
		"again":            {[]add{{1, 1, false}, {2, 2, false}, {5, 3, false}, {1, 11, false}, {2, 12, false}}, "1created 1starting 1ready 2created 2starting", LifecycleStarting, 2, 12, -1},
		"again, clock back": {[]add{{1, 11, false}, {2, 12, false}, {5, 13, false}, {1, 1, false}, {2, 2, false}, {5, 3, false}},
			"1created 1starting 1ready 2created 2starting 2ready", LifecycleReady, 2, 2, 3},
		"first is not the beginning": {[]add{{5, 1, false}}, "1ready", LifecycleReady, 1, 0, 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := open(t, t.TempDir())
			_, _, agent := sample(t, s, "alice")
			for _, add := range test.adds {
				if _, err := s.AddLifecycle(t.Context(), agent.ID, add.state, step(add.at)); errors.Is(err, ErrStepBack) != add.back || err != nil && !add.back {
					t.Fatalf("%s at %d: %v", add.state, add.at, err)
				}
			}
			steps, err := s.Lifecycle(t.Context(), agent.ID)
			var history []string
			for _, step := range steps {
				history = append(history, fmt.Sprint(step.Run)+step.State.String())
			}
			if got := strings.Join(history, " "); err != nil || got != test.history {
				t.Errorf("history %q, want %q, %v", got, test.history, err)
			}
			report, err := s.AgentReport(t.Context(), agent.ID)
			started, ready := step(test.started), step(test.ready)
			if test.started == 0 {
				started = time.Time{}
			}
			if test.ready < 0 {
				ready = time.Time{}
			}
			if err != nil || report.Lifecycle != test.state || report.Run != test.run || !report.StartedAt.Equal(started) || !report.ReadyAt.Equal(ready) {
				t.Errorf("report %+v, %v", report, err)
			}
		})
	}
}

// TestLifecycleIsBounded is an agent that starts over and over.
func TestLifecycleIsBounded(t *testing.T) {
	s := open(t, t.TempDir())
	_, _, agent := sample(t, s, "alice")
	for i := range 100 {
		if _, err := s.AddLifecycle(t.Context(), agent.ID, LifecycleCreated, step(i)); err != nil {
			t.Fatal(err)
		}
	}
	steps, err := s.Lifecycle(t.Context(), agent.ID)
	if err != nil || len(steps) != lifecycleMost || !steps[len(steps)-1].At.Equal(step(99)) {
		t.Errorf("%d steps, last %v, %v", len(steps), steps[len(steps)-1], err)
	}
}

func TestLogs(t *testing.T) {
	s := open(t, t.TempDir())
	_, _, agent := sample(t, s, "alice")
	_, _, other := sample(t, s, "bob")
	source, second := uuid.New(), uuid.New()
	appendLogs(t, s, agent.ID, source, logLines(0, 3, numbered))
	appendLogs(t, s, agent.ID, second, []LogLine{{CreatedAt: step(0), Level: LogError, Output: ""}})
	appendLogs(t, s, other.ID, source, logLines(0, 1, numbered))
	all, err := s.Logs(t.Context(), agent.ID, LogRange{})
	if err != nil || len(all) != 4 || all[3].Source != second || all[3].Level != LogError || all[3].Output != "" || all[0].Source != source ||
		!all[1].CreatedAt.Equal(reportEpoch.Add(time.Microsecond)) {
		t.Errorf("%+v, %v", all, err)
	}
	for i, line := range all {
		if line.ID != int64(i+1) {
			t.Errorf("line %d has the number %d", i, line.ID)
		}
	}
	for name, test := range map[string]struct {
		which LogRange
		want  string
	}{
		"after":   {LogRange{After: 2}, "line 2 "},
		"before":  {LogRange{Before: 3}, "line 0 line 1"},
		"between": {LogRange{After: 1, Before: 3}, "line 1"},
		"page":    {LogRange{Most: 2}, "line 0 line 1"},
		"newest":  {LogRange{Most: 2, Newest: true}, "line 2 "},
		"none":    {LogRange{After: 4}, ""},
	} {
		if got, err := s.Logs(t.Context(), agent.ID, test.which); err != nil || outputs(got) != test.want {
			t.Errorf("%s: %q, %v", name, outputs(got), err)
		}
	}
	report, err := s.AgentReport(t.Context(), agent.ID)
	if err != nil || report.LogsLength != 18 || report.LogsLines != 4 || report.LogsOverflowed {
		t.Errorf("report %+v, %v", report, err)
	}
}

// TestLogsOfABatchSentAgain holds the rule by which a repeat is known.
func TestLogsOfABatchSentAgain(t *testing.T) {
	same := func(int) string { return "the same" }
	at := func(lines []LogLine, when int) []LogLine {
		for i := range lines {
			lines[i].CreatedAt = step(when)
		}
		return lines
	}
	tests := map[string]struct {
		before, batch []LogLine
		fresh         int // how many of the batch are stored
	}{
		"new":                       {logLines(0, 3, numbered), logLines(3, 3, numbered), 3},
		"whole batch again":         {logLines(0, 6, numbered), logLines(3, 3, numbered), 0},
		"everything again":          {logLines(0, 3, numbered), logLines(0, 3, numbered), 0},
		"again with more":           {logLines(0, 4, numbered), logLines(2, 5, numbered), 3},
		"clock went back":           {logLines(100, 3, numbered), logLines(0, 3, numbered), 3},
		"same text, other time":     {logLines(0, 3, same), logLines(3, 3, same), 3},
		"same text and time, again": {at(logLines(0, 3, same), 1), at(logLines(0, 3, same), 1), 0},
		"same text and time, more":  {at(logLines(0, 3, same), 1), at(logLines(0, 5, same), 1), 2},
		"other level":               {logLines(0, 1, numbered), []LogLine{{CreatedAt: reportEpoch, Level: LogWarn, Output: "line 0"}}, 1},
		"older lines are no repeat": {logLines(0, 6, numbered), logLines(1, 3, numbered), 3},
		"first of them":             {nil, logLines(0, 2, numbered), 2},
		"nothing":                   {logLines(0, 2, numbered), nil, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := open(t, t.TempDir())
			_, _, agent := sample(t, s, "alice")
			source := uuid.New()
			appendLogs(t, s, agent.ID, source, test.before)
			// Another source between the two changes nothing.
			appendLogs(t, s, agent.ID, uuid.New(), logLines(0, 2, numbered))
			stored, exceeded := appendLogs(t, s, agent.ID, source, test.batch)
			if len(stored) != test.fresh || exceeded || outputs(stored) != outputs(test.batch[len(test.batch)-test.fresh:]) {
				t.Errorf("stored %q of %q, %v", outputs(stored), outputs(test.batch), exceeded)
			}
		})
	}
}

// TestOverlapIsLinear would take minutes by comparing everything with everything.
func TestOverlapIsLinear(t *testing.T) {
	const count = 50_000
	batch := make([]LogLine, count)
	stored := make([]identity, count)
	for i := range stored {
		stored[i] = batch[i].identity()
	}
	batch[count-1].Output = "other"
	started := time.Now()
	if got := overlap(stored, batch); got != count-1 {
		t.Errorf("overlap %d", got)
	}
	if took := time.Since(started); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
}

// FuzzOverlap compares with the definition.
func FuzzOverlap(f *testing.F) {
	f.Add("aabaab", "aabab")
	f.Add("", "a")
	f.Add("aaaa", "aaaaaa")
	f.Fuzz(func(t *testing.T, before, text string) {
		stored, batch := []identity{}, []LogLine{}
		for _, char := range before {
			stored = append(stored, LogLine{Output: string(char)}.identity())
		}
		for _, char := range text {
			batch = append(batch, LogLine{Output: string(char)})
		}
		want := min(len(stored), len(batch))
		for ; want > 0; want-- {
			match := true
			for i, line := range batch[:want] {
				match = match && line.identity() == stored[len(stored)-want+i]
			}
			if match {
				break
			}
		}
		if got := overlap(stored, batch); got != want {
			t.Errorf("overlap of %q and %q is %d, want %d", before, text, got, want)
		}
	})
}

func TestLogLimits(t *testing.T) {
	s := open(t, t.TempDir())
	_, _, agent := sample(t, s, "alice")
	half := func(int) string { return strings.Repeat("x", LogsMost/2) }
	if stored, exceeded := appendLogs(t, s, agent.ID, uuid.New(), logLines(0, 2, half)); len(stored) != 2 || exceeded {
		t.Errorf("exactly the limit: %d stored, %v", len(stored), exceeded)
	}
	if stored, exceeded := appendLogs(t, s, agent.ID, uuid.New(), logLines(2, 2, numbered)); len(stored) != 0 || !exceeded {
		t.Errorf("above the limit: %d stored, %v", len(stored), exceeded)
	}
	// What would fit by itself does not come after what did not.
	if stored, exceeded := appendLogs(t, s, agent.ID, uuid.New(), logLines(4, 1, func(int) string { return "" })); len(stored) != 0 || !exceeded {
		t.Errorf("after the limit: %d stored, %v", len(stored), exceeded)
	}
	if report, err := s.AgentReport(t.Context(), agent.ID); err != nil || !report.LogsOverflowed || report.LogsLength != LogsMost {
		t.Errorf("report %+v, %v", report, err)
	}

	// A repeat of the batch that was cut is known, and answered as it was.
	_, _, cut := sample(t, s, "bob")
	source, batch := uuid.New(), logLines(0, 3, half)
	for range 2 {
		if _, exceeded := appendLogs(t, s, cut.ID, source, batch); !exceeded {
			t.Error("not exceeded")
		}
	}
	if all, err := s.Logs(t.Context(), cut.ID, LogRange{}); err != nil || len(all) != 2 {
		t.Errorf("%d lines, %v", len(all), err)
	}

	_, _, empty := sample(t, s, "carol")
	stored, exceeded := appendLogs(t, s, empty.ID, source, logLines(0, LogLinesMost+1, func(int) string { return "" }))
	if len(stored) != LogLinesMost || !exceeded {
		t.Errorf("%d empty lines stored, %v", len(stored), exceeded)
	}
}
