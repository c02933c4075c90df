//go:build unix

package terminal

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What the test binary is when it runs itself: a command that has become root's,
// as one that sudo runs; the test, as another user.
const (
	stubbornCommand = "CAUSEWAY_TEST_STUBBORN"
	stubbornUser    = "CAUSEWAY_TEST_STUBBORN_USER"
	otherUser       = 54321
)

func init() {
	if os.Getenv(stubbornCommand) == "" || os.Geteuid() != 0 {
		return
	}
	if err := syscall.Setuid(0); err != nil {
		os.Exit(3)
	}
	time.Sleep(time.Minute) // until it is hung up on
	os.Exit(0)
}

// TestCommandOfAnotherUser: one that cannot be killed is hung up on by the kernel.
func TestCommandOfAnotherUser(t *testing.T) {
	if os.Getenv(stubbornUser) != "" {
		hungUpOn(t)
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
		func() error { return os.Chmod(directory, 0o755) },
		func() error { return os.WriteFile(program, content, 0o755) },
		func() error { return os.Chmod(program, 0o755|os.ModeSetuid) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(program, "-test.run=^TestCommandOfAnotherUser$", "-test.v")
	cmd.Dir = directory
	cmd.Env = append(os.Environ(), stubbornUser+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: otherUser, Gid: otherUser}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS") {
		t.Errorf("%v\n%s", err, out)
	}
}

func hungUpOn(t *testing.T) {
	// The program is root's to begin with, for the sake of what it starts.
	if err := syscall.Setreuid(otherUser, otherUser); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), stubbornCommand+"=1")
	terminal, err := Start(cmd, Size{})
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	isRoots := func() bool { return syscall.Kill(cmd.Process.Pid, 0) == syscall.EPERM }
	for deadline := time.Now().Add(20 * time.Second); !isRoots(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the command has not become root's")
		}
	}
	terminal.End(0)
	select {
	case <-terminal.Done():
	case <-time.After(20 * time.Second):
		t.Fatal("the command goes on")
	}
	if code, signal := terminal.Exit(); code != -1 || signal != "HUP" {
		t.Errorf("code %d, signal %q", code, signal)
	}
}
