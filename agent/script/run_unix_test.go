//go:build unix

package script

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/proto/agentv2"
)

func TestRuns(t *testing.T) {
	tests := []struct {
		name    string
		line    string
		outcome Outcome
		status  agentv2.Timing_Status
		code    int32
		stdout  string
		stderr  string
		note    string
	}{
		{"success", "echo out; echo err >&2", Succeeded, agentv2.Timing_OK, 0, "out\n", "err\n", ""},
		{"failure", "echo before; exit 3", Failed, agentv2.Timing_EXIT_FAILURE, 3, "before\n", "", "exit code 3"},
		{"by signal", "kill -9 $$", Failed, agentv2.Timing_EXIT_FAILURE, 255, "", "", "exit code 255"},
		{"several lines", "a=1\nb=2\necho $a$b", Succeeded, agentv2.Timing_OK, 0, "12\n", "", ""},
		{"interpreter", "#!/bin/sh -e\nfalse\necho not reached", Failed, agentv2.Timing_EXIT_FAILURE, 1, "", "", "exit code 1"},
		{"no such interpreter", "#!/causeway/absent\n", Failed, agentv2.Timing_EXIT_FAILURE, 255, "", "", "/causeway/absent"},
		{"no input", "cat; echo end", Succeeded, agentv2.Timing_OK, 0, "end\n", "", ""},
		{"binary", `printf 'a\000\377\nb'`, Succeeded, agentv2.Timing_OK, 0, "a\x00\xff\nb", "", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r, record, _ := newRunner(t)
			script := onStart(test.line)
			before := time.Now()
			if got := r.Start([]Script{script}); got != test.outcome {
				t.Errorf("outcome %d, want %d", got, test.outcome)
			}
			runs := record.runs()
			if len(runs) != 1 {
				t.Fatalf("reported %v", runs)
			}
			run := runs[0]
			if run.GetStatus() != test.status || run.GetExitCode() != test.code || run.GetStage() != agentv2.Timing_START || !bytes.Equal(run.GetScriptId(), script.ID[:]) {
				t.Errorf("reported %v", run)
			}
			if start, end := run.GetStart().AsTime(), run.GetEnd().AsTime(); start.Before(before.Add(-time.Millisecond)) || end.Before(start) || end.After(time.Now()) {
				t.Errorf("from %s to %s", start, end)
			}
			if out, err := record.text(agentv2.Log_INFO), record.text(agentv2.Log_ERROR); out != test.stdout || err != test.stderr {
				t.Errorf("printed %q and %q", out, err)
			}
			if note := record.text(agentv2.Log_WARN); !strings.Contains(note, test.note) || test.note == "" && note != "" {
				t.Errorf("noted %q", note)
			}
		})
	}
}

func TestOutcomeIsTheWorst(t *testing.T) {
	r, _, _ := newRunner(t)
	good, late, bad := onStart("true"), onStart("sleep 100"), onStart("false")
	late.Timeout = 50 * time.Millisecond
	for _, test := range []struct {
		scripts []Script
		want    Outcome
	}{
		{nil, Succeeded}, {[]Script{good}, Succeeded}, {[]Script{late, good}, TimedOut}, {[]Script{good, bad, late}, Failed},
		{[]Script{{Line: "false", OnStop: true, Source: uuid.New()}}, Succeeded},
	} {
		if got := r.Start(test.scripts); got != test.want {
			t.Errorf("outcome %d, want %d", got, test.want)
		}
	}
}

// running says whether a process is there, from the file that it wrote its
// number to.
func running(t *testing.T, path string) bool {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	id, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	state, err := os.ReadFile("/proc/" + strconv.Itoa(id) + "/stat")
	if err == nil && strings.Contains(string(state), ") Z ") {
		return false // waits for a parent that does not care
	}
	return !errors.Is(syscall.Kill(id, 0), syscall.ESRCH)
}

// TestTimeoutKillsTheTree also when nobody in it listens.
func TestTimeoutKillsTheTree(t *testing.T) {
	for name, script := range map[string]string{
		"polite": "trap 'echo told; exit 0' TERM; sleep 1000 & echo $! >child; echo begun; wait",
		"deaf":   "trap '' TERM; (while :; do sleep 0.1; done) & echo $! >child; echo begun; while :; do sleep 0.1; done",
		"quiet":  "trap '' TERM; (while :; do sleep 0.1; done) >/dev/null 2>&1 & echo $! >child; trap - TERM; echo begun; sleep 1000",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, record, directory := newRunner(t)
			late := onStart(script)
			late.Timeout = 500 * time.Millisecond
			want := "begun\n"
			if name == "polite" {
				want = "begun\ntold\n"
			}
			started := time.Now()
			if got := r.Start([]Script{late}); got != TimedOut {
				t.Errorf("outcome %d", got)
			}
			if took := time.Since(started); took < late.Timeout || took > late.Timeout+killGrace+patience/2 {
				t.Errorf("took %s", took)
			}
			run := record.runs()[0]
			if run.GetStatus() != agentv2.Timing_TIMED_OUT || (run.GetExitCode() == 0) != (name == "polite") || record.text(agentv2.Log_INFO) != want || !strings.Contains(record.text(agentv2.Log_WARN), "limit of 500ms") {
				t.Errorf("reported %v, printed %q", run, record.text(agentv2.Log_INFO))
			}
			eventually(t, "the child's end", func() bool { return !running(t, filepath.Join(directory, "child")) })
		})
	}
}

// TestPipesLeftOpen by a child that goes on: it is told of, not waited for, and
// what it prints later is not lost.
func TestPipesLeftOpen(t *testing.T) {
	r, record, directory := newRunner(t)
	r.pipesWait = 50 * time.Millisecond
	started := time.Now()
	if got := r.Start([]Script{onStart("(while [ ! -e go ]; do sleep 0.05; done; echo late) & echo now")}); got != Succeeded {
		t.Errorf("outcome %d", got)
	}
	if took := time.Since(started); took > patience/2 {
		t.Errorf("took %s", took)
	}
	if run := record.runs()[0]; run.GetStatus() != agentv2.Timing_PIPES_LEFT_OPEN || run.GetExitCode() != 0 {
		t.Errorf("reported %v", run)
	}
	if text := record.text(agentv2.Log_INFO); text != "now\n" {
		t.Errorf("printed %q", text)
	}
	if err := os.WriteFile(filepath.Join(directory, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the child's line", func() bool { return record.text(agentv2.Log_INFO) == "now\nlate\n" })
	eventually(t, "nothing to be left", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.left) == 0
	})
	// A failure stays one.
	if got := r.Start([]Script{onStart("sleep 0.5 & exit 4")}); got != Failed {
		t.Errorf("outcome %d", got)
	}
	if run := record.runs()[1]; run.GetStatus() != agentv2.Timing_EXIT_FAILURE || run.GetExitCode() != 4 {
		t.Errorf("reported %v", run)
	}
}

// TestCloseDoesNotWaitForWhatIsLeft nor end it.
func TestCloseDoesNotWaitForWhatIsLeft(t *testing.T) {
	r, _, directory := newRunner(t)
	r.pipesWait = 50 * time.Millisecond
	r.Start([]Script{onStart("sleep 1000 & echo $! >child")})
	started := time.Now()
	r.Close()
	if took := time.Since(started); took > patience/2 {
		t.Errorf("took %s", took)
	}
	child := filepath.Join(directory, "child")
	if !running(t, child) {
		t.Error("the child was ended")
	}
	text, _ := os.ReadFile(child)
	id, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	_ = syscall.Kill(id, syscall.SIGKILL)
}

// TestEndlessOutput is read, so that the script's limit ends it and not a full
// pipe, and costs two log files of bounded size.
func TestEndlessOutput(t *testing.T) {
	r, record, directory := newRunner(t)
	script := onStart("yes causeway")
	script.Timeout, script.LogPath = 2*time.Second, "endless.log"
	if got := r.Start([]Script{script}); got != TimedOut {
		t.Errorf("outcome %d", got)
	}
	size := int64(0)
	for _, name := range []string{"endless.log", "endless.log" + oldSuffix} {
		info, err := os.Stat(filepath.Join(directory, "logs", name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > logFileLimit {
			t.Errorf("%s has %d bytes", name, info.Size())
		}
		size += info.Size()
	}
	if record.bytes < logFileLimit || size < logFileLimit/2 {
		t.Errorf("read %d bytes, %d are in files", record.bytes, size)
	}
}

func TestLogFile(t *testing.T) {
	r, record, directory := newRunner(t)
	t.Setenv("CAUSEWAY_TEST_PLACE", "place")
	absolute := filepath.Join(directory, "absolute.log")
	for _, path := range []string{absolute, "relative.log", "deep/$CAUSEWAY_TEST_PLACE.log"} {
		script := onStart(`printf 'a\377\n'; echo b >&2`)
		script.LogPath = path
		for range 2 { // the second run adds to the first
			if got := r.Start([]Script{script}); got != Succeeded {
				t.Errorf("outcome %d", got)
			}
		}
	}
	for _, path := range []string{absolute, filepath.Join(directory, "logs", "relative.log"), filepath.Join(directory, "logs", "deep", "place.log")} {
		text, err := os.ReadFile(path)
		if err != nil || strings.Count(string(text), "a\xff\n") != 2 || strings.Count(string(text), "b\n") != 2 {
			t.Errorf("%s holds %q, %v", path, text, err)
		}
	}
	if note := record.text(agentv2.Log_WARN); note != "" {
		t.Errorf("noted %q", note)
	}
	// One that cannot be written costs a note, and not the script.
	pipe := filepath.Join(directory, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{pipe, "/dev/full", directory} {
		script := onStart("echo runs")
		script.LogPath = path
		if got := r.Start([]Script{script}); got != Succeeded {
			t.Errorf("%s: outcome %d", path, got)
		}
		if !strings.Contains(record.text(agentv2.Log_WARN), path+" is no file") {
			t.Errorf("%s: noted %q", path, record.text(agentv2.Log_WARN))
		}
	}
	if got := strings.Count(record.text(agentv2.Log_INFO), "runs\n"); got != 3 {
		t.Errorf("%d ran", got)
	}
}

func TestHome(t *testing.T) {
	r, _, _ := newRunner(t)
	home, err := os.UserHomeDir()
	if err != nil {
		t.Skip(err)
	}
	for path, want := range map[string]string{"~": home, "~/a/../b.log": filepath.Join(home, "b.log"), "/x//y": "/x/y"} {
		if got := r.logPath(path); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
}

// TestDirectories are there and named in the environment.
func TestDirectories(t *testing.T) {
	r, record, directory := newRunner(t)
	script := onStart(`cd "$CODER_SCRIPT_DATA_DIR" && echo kept >file && cd "$CODER_SCRIPT_BIN_DIR" && pwd`)
	if got := r.Start([]Script{script}); got != Succeeded {
		t.Errorf("outcome %d: %s", got, record.text(agentv2.Log_ERROR))
	}
	if got, want := record.text(agentv2.Log_INFO), filepath.Join(directory, "bin")+"\n"; got != want {
		t.Errorf("printed %q, want %q", got, want)
	}
	if _, err := os.Stat(filepath.Join(directory, "data", script.Source.String(), "file")); err != nil {
		t.Error(err)
	}
}

// TestOneRunAtATime of a script, while another one runs beside it.
func TestOneRunAtATime(t *testing.T) {
	r, record, directory := newRunner(t)
	script := onStart("echo begun; while [ ! -e go ]; do sleep 0.05; done")
	first := make(chan Outcome, 1)
	go func() { first <- r.Start([]Script{script}) }()
	eventually(t, "the first run", func() bool { return record.text(agentv2.Log_INFO) == "begun\n" })
	if got := r.Start([]Script{script, onStart("echo other")}); got != Succeeded {
		t.Errorf("outcome %d", got)
	}
	if got := record.text(agentv2.Log_INFO); got != "begun\nother\n" {
		t.Errorf("printed %q", got)
	}
	if err := os.WriteFile(filepath.Join(directory, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	<-first
	r.Start([]Script{script})
	if got := countLines(record.text(agentv2.Log_INFO), "begun"); got != 2 || len(record.runs()) != 3 {
		t.Errorf("%d runs, %d reports", got, len(record.runs()))
	}
}

// TestHalt kills what runs; scripts for the end still run, with a limit.
func TestHalt(t *testing.T) {
	r, record, _ := newRunner(t)
	r.stopLimit = 200 * time.Millisecond
	outcome := make(chan Outcome, 1)
	go func() { outcome <- r.Start([]Script{onStart("echo begun; sleep 1000")}) }()
	eventually(t, "the run", func() bool { return record.text(agentv2.Log_INFO) == "begun\n" })
	r.Halt(t.Context())
	if got := <-outcome; got != Failed {
		t.Errorf("outcome %d", got)
	}
	if got := r.Start([]Script{onStart("echo never")}); got != Succeeded {
		t.Errorf("outcome %d", got)
	}
	r.Schedule([]Script{{ID: uuid.New(), Source: uuid.New(), Line: "echo never", Cron: "* * * * * *"}})
	stop := func(line string) Outcome {
		return r.Stop(t.Context(), []Script{{ID: uuid.New(), Source: uuid.New(), Line: line, OnStop: true}})
	}
	for line, want := range map[string]Outcome{"echo bye": Succeeded, "exit 1": Failed, "sleep 1000": TimedOut} {
		if got := stop(line); got != want {
			t.Errorf("%s: outcome %d", line, got)
		}
	}
	if got := record.text(agentv2.Log_INFO); got != "begun\nbye\n" {
		t.Errorf("printed %q", got)
	}
	for _, run := range record.runs()[1:] {
		if run.GetStage() != agentv2.Timing_STOP {
			t.Errorf("reported %v", run)
		}
	}
}
