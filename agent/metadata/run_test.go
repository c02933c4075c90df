//go:build unix

package metadata

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/causewayhq/causeway/agent/login"
)

// patience is long because the machine may be busy.
const patience = 30 * time.Second

func shell(line string) (*exec.Cmd, func(), error) { return login.Login{}.Command(line) }

func TestScripts(t *testing.T) {
	tests := []struct {
		name, script, value, failure string
	}{
		{"output", "echo ' 42% '", "42%", ""},
		{"errors are output too", "echo a; echo b >&2", "a\nb", ""},
		{"exit code", "echo a; exit 7", "a", "run script: exit status 7"},
		{"kills itself", "echo a; kill -9 $$", "a", "run script: signal: killed"},
		{"not there", "/causeway/absent 2>/dev/null", "", "run script: exit status 127"},
		{"empty", " \n", "", "there is no script"},
		{"no interpreter", "#!\n", "", "the first line names no interpreter"},
		{"absent interpreter", "#!/causeway/absent\n", "", "/causeway/absent"},
		{"interpreter", "#!/bin/sh\necho $((6*7))", "42", ""},
		{"binary", `printf 'a\377\000b'`, "a\uFFFDb", ""},
		{"pipes left open", "sleep 1000 & echo a", "a", ""},
		{"input", "cat; echo end", "end", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := runner(shell).run(t.Context(), test.script, patience)
			if got.value != test.value || !strings.Contains(got.failure, test.failure) || (got.failure == "") != (test.failure == "") {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestOutputIsCut(t *testing.T) {
	tests := []struct {
		name, script string
		length       int
		failure      string
	}{
		{"as much as there may be", fmt.Sprintf("head -c %d /dev/zero | tr '\\0' x", maxOutput), maxOutput, ""},
		{"one byte more", fmt.Sprintf("head -c %d /dev/zero | tr '\\0' x", maxOutput+1), maxOutput, "output was cut to 10240 bytes of 10241"},
		{"a failure too", fmt.Sprintf("head -c %d /dev/zero | tr '\\0' x; exit 3", maxOutput+1), maxOutput, "run script: exit status 3; output was cut to 10240 bytes of 10241"},
		// Each such byte becomes three, which must not make more of it.
		{"not text", fmt.Sprintf("head -c %d /dev/zero | tr '\\0' '\\377'", maxOutput), 3, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := runner(shell).run(t.Context(), test.script, patience)
			if len(got.value) != test.length || got.failure != test.failure {
				t.Errorf("%d bytes, failure %q", len(got.value), got.failure)
			}
		})
	}
}

func TestEndlessOutput(t *testing.T) {
	got := runner(shell).run(t.Context(), "yes", 300*time.Millisecond)
	if len(got.value) > maxOutput || len(got.value) < maxOutput-1 || !strings.HasPrefix(got.failure, "timed out after 300ms; output was cut to") {
		t.Errorf("%d bytes, failure %q", len(got.value), got.failure)
	}
}

// TestHangingCommand wants its process tree ended with it.
func TestHangingCommand(t *testing.T) {
	tests := []struct{ name, script string }{
		{"hangs", "sleep 1000"},
		{"has children", "sleep 1000 & sleep 1000"},
		{"does not want to end", "trap '' TERM INT HUP; sleep 1000 & while :; do sleep 1000; done"},
		{"leaves children behind", "sleep 1000 & :"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			list := filepath.Join(t.TempDir(), "processes")
			script := fmt.Sprintf("echo $$ > %[1]s; ( sleep 1000 & echo $! >> %[1]s ); %[2]s", list, test.script)
			begin := time.Now()
			got := runner(shell).run(t.Context(), script, time.Second)
			if took := time.Since(begin); took > patience {
				t.Errorf("took %s", took)
			}
			if late := test.name != "leaves children behind"; (got.failure == "timed out after 1s") != late {
				t.Errorf("got %+v", got)
			}
			content, err := os.ReadFile(list)
			if err != nil {
				t.Fatal(err)
			}
			processes := strings.Fields(string(content))
			if len(processes) != 2 {
				t.Fatalf("processes %q", processes)
			}
			for _, text := range processes {
				number, _ := strconv.Atoi(text)
				waitGone(t, number)
			}
		})
	}
}

// waitGone waits for a process that was killed: the kernel takes a moment.
func waitGone(t *testing.T, number int) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", number))
		if errors.Is(syscall.Kill(number, 0), syscall.ESRCH) || err == nil && bytes.Contains(status, []byte(") Z ")) {
			return
		}
	}
	t.Errorf("process %d goes on", number)
}

func TestEndOfTheAgentEndsScripts(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	begin := time.Now()
	runner(shell).run(ctx, "sleep 1000", time.Hour)
	if took := time.Since(begin); took > patience {
		t.Errorf("took %s", took)
	}
}

func FuzzText(f *testing.F) {
	f.Add([]byte(" a\x00b\xff "), 3)
	f.Add([]byte(strings.Repeat("é", maxOutput)), 1)
	f.Fuzz(func(t *testing.T, output []byte, size int) {
		h := &head{}
		for len(output) > 0 {
			n := min(max(size, 1), len(output))
			if wrote, err := h.Write(output[:n]); wrote != n || err != nil {
				t.Fatal(wrote, err)
			}
			output = output[n:]
		}
		got := h.outcome(nil, false, time.Second)
		if len(got.value) > maxOutput || !utf8.ValidString(got.value) || strings.ContainsRune(got.value, 0) || (h.total > maxOutput) != (got.failure != "") {
			t.Errorf("%d bytes of %d, %q", len(got.value), h.total, got.failure)
		}
	})
}
