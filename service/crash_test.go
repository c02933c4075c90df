//go:build unix

package service

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// crashIn names the state directory of a process that is to crash.
const crashIn = "CAUSEWAY_TEST_CRASH_IN"

// TestCrashingProcess is what TestStacksOfACrash runs.
func TestCrashingProcess(t *testing.T) {
	dir := os.Getenv(crashIn)
	if dir == "" {
		t.Skip("run by TestStacksOfACrash")
	}
	if _, err := KeepCrash(dir); err != nil {
		t.Fatal(err)
	}
	// What systemd's watchdog sends.
	if err := syscall.Kill(os.Getpid(), syscall.SIGABRT); err != nil {
		t.Fatal(err)
	}
	select {}
}

// TestStacksOfACrash: a daemon that the watchdog ends leaves its stacks on
// standard error and in a file, of which there are never more than two.
func TestStacksOfACrash(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	var last string
	for n := range 3 {
		child := exec.Command(os.Args[0], "-test.run=^TestCrashingProcess$")
		child.Env = append(os.Environ(), crashIn+"="+dir)
		var stderr bytes.Buffer
		child.Stderr = &stderr
		if err := child.Run(); err == nil {
			t.Fatal("it has not crashed")
		}
		kept, err := os.ReadFile(filepath.Join(dir, crashFile))
		if err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{"file": string(kept), "standard error": stderr.String()} {
			if !strings.Contains(text, "SIGABRT") || !strings.Contains(text, "service.TestCrashingProcess") {
				t.Errorf("the %s has\n%s", name, text)
			}
		}
		if n > 0 {
			before, err := os.ReadFile(filepath.Join(dir, crashBefore))
			if err != nil || string(before) != last {
				t.Errorf("the crash before is not kept (%v)", err)
			}
		}
		last = string(kept)
	}
	if info, err := os.Stat(filepath.Join(dir, crashFile)); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", err, info.Mode())
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 3 { // and the lock
		t.Errorf("%v, %v", entries, err)
	}

	// A large one is cut; a hang's stacks are kept as well; a good end leaves none.
	if err := os.Truncate(filepath.Join(dir, crashFile), maxCrash+1); err != nil {
		t.Fatal(err)
	}
	crash, err := KeepCrash(dir)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(crash.Earlier); err != nil || info.Size() != maxCrash {
		t.Errorf("%v, kept %d bytes", err, info.Size())
	}
	if _, err := crash.Write([]byte("stacks of a hang")); err != nil {
		t.Error(err)
	}
	if err := crash.Close(); err != nil {
		t.Error(err)
	}
	if crash, err = KeepCrash(dir); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(crash.Earlier); err != nil || string(text) != "stacks of a hang" {
		t.Errorf("%v: %q", err, text)
	}
	if err := crash.Close(); err != nil {
		t.Error(err)
	}
	if crash, err = KeepCrash(dir); err != nil || crash.Earlier != "" {
		t.Errorf("after a good end: %v, %q", err, crash.Earlier)
	}
	if err := crash.Close(); err != nil {
		t.Error(err)
	}
}
