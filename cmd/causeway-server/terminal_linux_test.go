package main

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// terminal is a program on a terminal of its own.
type terminal struct {
	t    *testing.T
	cmd  *exec.Cmd
	file *os.File
	seen bytes.Buffer
}

func onTerminal(t *testing.T, args ...string) *terminal {
	t.Helper()
	cmd := command(t, nil, args...)
	file, err := pty.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return &terminal{t: t, cmd: cmd, file: file}
}

// until reads what the program prints until it has a text in it.
func (term *terminal) until(text string) {
	term.t.Helper()
	stop := time.AfterFunc(20*time.Second, func() { term.cmd.Process.Kill() })
	defer stop.Stop()
	buffer := make([]byte, 256)
	for !strings.Contains(term.seen.String(), text) {
		n, err := term.file.Read(buffer)
		term.seen.Write(buffer[:n])
		if err != nil {
			term.t.Fatalf("%v after %q", err, term.seen.String())
		}
	}
}

// answer types a line once the program has turned the echo off.
func (term *terminal) answer(line string) {
	term.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); term.echoes(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			term.t.Fatal("the terminal echoes")
		}
	}
	if _, err := term.file.WriteString(line + "\n"); err != nil {
		term.t.Fatal(err)
	}
}

func (term *terminal) echoes() bool {
	term.t.Helper()
	state, err := unix.IoctlGetTermios(int(term.file.Fd()), unix.TCGETS)
	if err != nil {
		term.t.Fatal(err)
	}
	return state.Lflag&unix.ECHO != 0
}

// TestPasswordOnTerminal: it is asked for twice and never shown, two that differ
// change nothing, and an interrupt leaves a terminal that echoes.
func TestPasswordOnTerminal(t *testing.T) {
	dir := t.TempDir()
	if got := cli(t, nil, "user", "create", "alice", "--create", "--data-dir", dir); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	works := func() bool {
		_, err := opened(t, dir).AuthenticatePassword(t.Context(), "alice", goodPassword)
		return err == nil
	}
	args := []string{"user", "password", "alice", "--data-dir", dir}

	differ := onTerminal(t, args...)
	differ.until("Password for alice: ")
	differ.answer(goodPassword)
	differ.until("Again: ")
	differ.answer(goodPassword + "!")
	differ.until("not the same; nothing was changed")
	if err := differ.cmd.Wait(); err == nil || works() {
		t.Errorf("two that differ: %v", err)
	}

	interrupted := onTerminal(t, args...)
	interrupted.until("Password for alice: ")
	for interrupted.echoes() {
		time.Sleep(time.Millisecond)
	}
	if err := interrupted.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	interrupted.until("causeway-server: ")
	if err := interrupted.cmd.Wait(); err == nil || !interrupted.echoes() {
		t.Errorf("interrupted: %v, echo %v", err, interrupted.echoes())
	}

	same := onTerminal(t, args...)
	same.until("Password for alice: ")
	same.answer(goodPassword)
	same.until("Again: ")
	same.answer(goodPassword)
	same.until("Set the password of user alice.")
	if err := same.cmd.Wait(); err != nil || !works() {
		t.Errorf("%v", err)
	}
	for _, one := range []*terminal{differ, interrupted, same} {
		if strings.Contains(one.seen.String(), goodPassword) {
			t.Errorf("the password is shown: %q", one.seen.String())
		}
	}
}
