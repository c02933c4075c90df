//go:build unix

package cli

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/term"

	"github.com/causewayhq/causeway/proto/localv1"
)

// session is causeway status --watch on a terminal of its own.
type session struct {
	*testing.T
	vt      *vt
	raw     *output // everything that was written
	keys    *os.File
	slave   *os.File
	before  *term.State
	command *exec.Cmd
	ended   chan error
}

func watchOn(t *testing.T, socket string, width, height int, env ...string) *session {
	t.Helper()
	master, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close(); slave.Close() })
	s := &session{T: t, vt: newVT(width, height), raw: new(output), keys: master, slave: slave, ended: make(chan error, 1)}
	s.resize(width, height)
	if s.before, err = term.GetState(int(slave.Fd())); err != nil {
		t.Fatal(err)
	}
	s.command = exec.Command("causeway", "--socket", socket, "status", "--watch")
	s.command.Env = append(os.Environ(), append([]string{"TERM=xterm-256color", "NO_COLOR="}, env...)...)
	s.command.Stdin, s.command.Stdout, s.command.Stderr = slave, slave, slave
	s.command.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := s.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.MultiWriter(s.raw, s.vt), master) }()
	go func() { s.ended <- s.command.Wait() }()
	t.Cleanup(func() { _ = s.command.Process.Kill() })
	return s
}

func (s *session) resize(width, height int) {
	s.vt.resize(width, height)
	if err := pty.Setsize(s.keys, &pty.Winsize{Cols: uint16(width), Rows: uint16(height)}); err != nil {
		s.Fatal(err)
	}
}

func (s *session) press(keys string) {
	if _, err := io.WriteString(s.keys, keys); err != nil {
		s.Fatal(err)
	}
}

// sees waits for texts that are on the screen at the same time.
func (s *session) sees(texts ...string) {
	s.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		screen, all := s.vt.text(), true
		for _, text := range texts {
			all = all && strings.Contains(screen, text)
		}
		if all {
			return
		}
		if time.Now().After(deadline) {
			s.Fatalf("%q is not on the screen:\n%s", texts, screen)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// over waits for the end, after which the terminal is as it was.
func (s *session) over(code int) {
	s.Helper()
	select {
	case err := <-s.ended:
		var exit *exec.ExitError
		if got := s.command.ProcessState.ExitCode(); got != code || err != nil && !errors.As(err, &exit) {
			s.Errorf("exit code %d, %v, want %d", got, err, code)
		}
	case <-time.After(10 * time.Second):
		s.Fatalf("it does not end:\n%s", s.vt.text())
	}
	waitFor(s.T, "the old screen", func() bool {
		alternate, hidden, _, _ := s.vt.state()
		return !alternate && !hidden
	})
	after, err := term.GetState(int(s.slave.Fd()))
	if err != nil || *after != *s.before {
		s.Errorf("the terminal is not as it was: %v", err)
	}
	if _, _, _, unknown := s.vt.state(); len(unknown) > 0 {
		s.Errorf("the terminal did not understand %v", unknown)
	}
	if text := s.raw.String(); !strings.HasPrefix(text, enterScreen) || strings.Count(text, enterScreen) != strings.Count(text, leaveScreen) {
		s.Errorf("the screen was not entered and left in turn: %q", text[:min(len(text), 40)])
	}
}

func TestScreen(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	daemon := &fakeDaemon{status: fakeStatus("connected")}
	stop := serve(t, path, daemon)
	s := watchOn(t, path, 80, 24)
	s.sees("connected  https://coder.example.com as alice", "> ● myws.coder", "arrows select")
	if alternate, hidden, _, _ := s.vt.state(); !alternate || !hidden {
		t.Error("not on a screen of its own, or with a cursor")
	}
	if !strings.Contains(s.raw.String(), "\x1b[32m") {
		t.Error("no colour")
	}
	s.press("\x1b[B\x1bOB")
	s.sees("> ● main.web.me.coder")
	s.press("kc")
	s.sees("> ○ gpu.web.me.coder", "copied gpu.web.me.coder")
	if _, _, clipboard, _ := s.vt.state(); clipboard != "52;c;Z3B1LndlYi5tZS5jb2Rlcg==" {
		t.Errorf("clipboard %q", clipboard)
	}
	s.press("r")
	s.sees("names answer on this machine")
	daemon.set(fakeStatus("degraded")) // nobody presses anything
	s.sees("degraded  https://coder.example.com", "problem control-unreachable: ", "  remedy: check the network", "✗ main.web")
	s.resize(40, 10)
	s.sees("u/d up/down c copy s ssh r fix q quit", "> ○ gpu.web.me.coder")
	s.resize(80, 24)
	s.press("d")
	s.sees("down  https://coder.example.com as alice", "next: causeway up --wait")
	s.press("u")
	s.sees("connected  https://coder", "control plane  connected")
	stop()
	s.sees("daemon is away, waiting", "control plane  connected")
	stop = serve(t, path, &fakeDaemon{status: fakeStatus("summary")})
	s.sees("the tunnel belongs to the user bob")
	stop()
	s.press("q")
	s.over(0)
}

// TestScreenIsLeft: however it ends, the terminal is as it was.
func TestScreenIsLeft(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	serveFake(t, path, "connected")
	t.Run("Ctrl-C", func(t *testing.T) {
		s := watchOn(t, path, 80, 24, "NO_COLOR=1")
		s.sees("> ● myws.coder")
		if strings.Contains(s.raw.String(), "\x1b[3") {
			t.Error("colour in spite of NO_COLOR")
		}
		s.press("\x03")
		s.over(0)
	})
	t.Run("SIGTERM", func(t *testing.T) {
		s := watchOn(t, path, 80, 24)
		s.sees("> ● myws.coder")
		if err := s.command.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		s.over(0)
	})
	t.Run("ssh", func(t *testing.T) {
		s := watchOn(t, path, 80, 24)
		s.sees("> ● myws.coder")
		s.press("s") // the stand-in shows what it was run with, and ends
		s.sees("ssh to myws.coder has ended", "> ● myws.coder")
		if text := s.raw.String(); !strings.Contains(text, leaveScreen+"-o StrictHostKeyChecking=accept-new") {
			t.Errorf("ssh did not have the terminal: %q", text)
		}
		s.press("\x1b[B")
		s.sees("> ○ gpu.web.me.coder")
		s.press("q")
		s.over(0)
	})
	t.Run("refused", func(t *testing.T) {
		s := watchOn(t, filepath.Join(t.TempDir(), strings.Repeat("x", 200)), 80, 24)
		waitFor(t, "the error", func() bool { return strings.Contains(s.raw.String(), leaveScreen+"\x1b[31mcauseway:") })
		s.over(1)
	})
}

// fakeTTY is a terminal that counts writes and fails or panics on demand.
type fakeTTY struct {
	data     bytes.Buffer
	cooked   int
	writes   int
	panicsAt int
	keys     chan []byte
}

func (f *fakeTTY) Read(data []byte) (int, error) { return copy(data, <-f.keys), nil }
func (f *fakeTTY) raw() (func() error, error) {
	return func() error { f.cooked++; return nil }, nil
}
func (f *fakeTTY) size() (int, int)                   { return 80, 24 }
func (f *fakeTTY) resized() (<-chan struct{}, func()) { return nil, func() {} }
func (f *fakeTTY) Write(data []byte) (int, error) {
	f.writes++
	if f.writes == f.panicsAt {
		panic("for the test")
	}
	return f.data.Write(data)
}

func TestScreenIsLeftByPanic(t *testing.T) {
	terminal := &fakeTTY{panicsAt: 2, keys: make(chan []byte, 1)}
	terminal.keys <- []byte("q") // so that the reader ends as well
	a := &app{now: time.Now, socket: filepath.Join(t.TempDir(), "s"), env: Env{LookupEnv: noEnv, Stdout: io.Discard, Stderr: io.Discard}}
	func() {
		defer func() {
			if got := recover(); got != "for the test" {
				t.Errorf("recover() = %v", got)
			}
		}()
		_ = a.watchScreen(t.Context(), statusFlags{}, terminal)
	}()
	if terminal.cooked != 1 || terminal.data.String() != enterScreen+leaveScreen {
		t.Errorf("restored %d times, %q", terminal.cooked, terminal.data.String())
	}
}

// TestFrameIsOneWrite: what is shown already is not written again.
func TestFrameIsOneWrite(t *testing.T) {
	terminal := &fakeTTY{}
	s := &screen{tty: terminal}
	if err := s.enter(); err != nil {
		t.Fatal(err)
	}
	b := board{app: &app{now: time.Now, env: Env{LookupEnv: noEnv}}, status: &localv1.Status{}}
	for range 3 {
		if err := s.draw(b.render(80, 24)); err != nil {
			t.Fatal(err)
		}
	}
	if terminal.writes != 2 {
		t.Errorf("%d writes, want 2: the screen's and the frame's", terminal.writes)
	}
	frame := strings.TrimPrefix(terminal.data.String(), enterScreen)
	if !strings.HasPrefix(frame, beginFrame) || !strings.HasSuffix(frame, endFrame) || strings.Contains(frame, "\x1b[2J") {
		t.Errorf("frame %q", frame)
	}
}
