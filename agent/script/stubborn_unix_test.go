//go:build unix

package script

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/causewayhq/causeway/proto/agentv2"
)

// What the test binary is when it runs itself: a script that has become root's,
// as one that sudo runs, until the file is there; the test, as another user.
const (
	stubbornUntil = "CAUSEWAY_TEST_STUBBORN_UNTIL"
	stubbornUser  = "CAUSEWAY_TEST_STUBBORN_USER"
	nobody        = 54321 // has no entry, and so no shell that refuses
)

func init() {
	until := os.Getenv(stubbornUntil)
	if until == "" || os.Geteuid() != 0 {
		return
	}
	if err := syscall.Setuid(0); err != nil {
		os.Exit(3)
	}
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(until); err == nil {
			break
		}
	}
	os.Exit(0)
}

// TestScriptOfAnotherUser: a script that cannot be killed, because sudo runs it,
// costs its own outcome and nothing else: the limit is reported, Close returns,
// and there is no second run beside it.
func TestScriptOfAnotherUser(t *testing.T) {
	if os.Getenv(stubbornUser) != "" {
		cannotBeKilled(t, os.Getenv(stubbornUser))
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can make a program that is root's whoever starts it")
	}
	directory, err := os.MkdirTemp("/var/tmp", "causeway-stubborn-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(directory)
	program := filepath.Join(directory, "program")
	content, err := os.ReadFile(os.Args[0])
	for _, step := range []func() error{
		func() error { return err },
		func() error { return os.Chmod(directory, 0o777) },
		func() error { return os.WriteFile(program, content, 0o755) },
		func() error { return os.Chmod(program, 0o755|os.ModeSetuid) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(program, "-test.run=^TestScriptOfAnotherUser$", "-test.v")
	cmd.Dir = directory
	cmd.Env = append(os.Environ(), stubbornUser+"="+directory, "TMPDIR="+directory, "HOME="+directory, "SHELL=/bin/sh")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS") {
		t.Errorf("%v\n%s", err, out)
	}
}

func cannotBeKilled(t *testing.T, directory string) {
	// The program is root's to begin with, for the sake of what it starts.
	if err := syscall.Setreuid(nobody, nobody); err != nil {
		t.Fatal(err)
	}
	until := filepath.Join(directory, "until")
	t.Setenv(stubbornUntil, until)
	r, record, _ := newRunner(t)
	script := onStart("exec " + filepath.Join(directory, "program"))
	script.Timeout = 500 * time.Millisecond
	if got := r.Start([]Script{script}); got != TimedOut {
		t.Errorf("outcome %d", got)
	}
	if runs := record.runs(); len(runs) != 1 || runs[0].GetStatus() != agentv2.Timing_TIMED_OUT || runs[0].GetExitCode() != exitUnknown {
		t.Errorf("reported %v", runs)
	}
	if note := record.text(agentv2.Log_WARN); !strings.Contains(note, "goes on") {
		t.Errorf("noted %q", note)
	}
	if r.Start([]Script{script}); len(record.runs()) != 1 {
		t.Error("a second run began beside the first")
	}
	r.Close()
	if err := os.WriteFile(until, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of the script", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.running) == 0
	})
}
