//go:build unix

package cli

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/google/uuid"
	"golang.org/x/term"

	"github.com/causewayhq/causeway/agent/rpty"
	screens "github.com/causewayhq/causeway/agent/rpty/vt"
	terminals "github.com/causewayhq/causeway/agent/terminal"
	"github.com/causewayhq/causeway/localapi"
)

// terminalHost is an agent with ports 2 and 4, which can be cut off.
type terminalHost struct {
	*testing.T
	dir    string
	server *rpty.Server

	mu    sync.Mutex
	conns []net.Conn
	cut   bool
}

type hostedProgram struct{ *terminals.Terminal }

func (p hostedProgram) Resize(columns, rows int) error {
	return p.Terminal.Resize(terminals.Size{Columns: uint16(columns), Rows: uint16(rows)})
}

// hostTerminals serves an agent's ports, and the daemon that knows it.
func hostTerminals(t *testing.T) *terminalHost {
	t.Helper()
	dir, err := os.MkdirTemp("", "cw")
	if err != nil {
		t.Fatal(err)
	}
	h := &terminalHost{T: t, dir: dir}
	h.server = rpty.New(rpty.Config{Logger: slog.New(slog.DiscardHandler), Start: func(command string, columns, rows int) (rpty.Program, error) {
		cmd := exec.Command("/bin/sh", "-c", command)
		if command == "" {
			cmd = exec.Command("/bin/sh")
		}
		cmd.Env = append(os.Environ(), "PS1=$ ", "TERM=xterm-256color")
		started, err := terminals.Start(cmd, terminals.Size{Columns: uint16(columns), Rows: uint16(rows)})
		return hostedProgram{started}, err
	}})
	stop := serve(t, filepath.Join(dir, "s"), &fakeDaemon{status: fakeStatus("connected")})
	var served sync.WaitGroup
	var listeners []net.Listener
	for port, serve := range map[string]func(net.Listener){"2": func(l net.Listener) { _ = h.server.Serve(l) }, "4": func(l net.Listener) { _ = http.Serve(l, h) }} {
		listener, err := net.Listen("unix", filepath.Join(dir, port))
		if err != nil {
			t.Fatal(err)
		}
		listeners = append(listeners, listener)
		served.Go(func() { serve(&cuttable{listener, h}) })
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := h.server.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		for _, listener := range listeners {
			listener.Close()
		}
		served.Wait()
		stop()
		os.RemoveAll(dir)
	})
	return h
}

func (h *terminalHost) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodDelete {
		id, _ := uuid.Parse(filepath.Base(r.URL.Path))
		_ = h.server.Kill(id)
		w.WriteHeader(http.StatusNoContent)
		return
	}
	list := []terminalJSON{}
	for _, each := range h.server.List() {
		list = append(list, terminalJSON{ID: each.ID, Command: each.Command, Started: each.Started, Viewers: each.Viewers, Columns: each.Columns, Rows: each.Rows})
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"version": 1, "terminals": list})
}

// cuttable accepts nobody while the host is cut off.
type cuttable struct {
	net.Listener
	host *terminalHost
}

func (c *cuttable) Accept() (net.Conn, error) {
	for {
		conn, err := c.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c.host.mu.Lock()
		cut := c.host.cut
		c.host.conns = append(c.host.conns, conn)
		c.host.mu.Unlock()
		if !cut {
			return conn, nil
		}
		conn.Close()
	}
}

// setCut ends all connections and refuses others, or accepts them again.
func (h *terminalHost) setCut(cut bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cut = cut
	for _, conn := range h.conns {
		conn.Close()
	}
	h.conns = nil
}

// window is causeway ssh --reconnect in a terminal of its own.
type window struct {
	*testing.T
	keys, slave *os.File
	before      *term.State
	command     *exec.Cmd
	ended       chan error

	mu     sync.Mutex
	screen *screens.Terminal
}

func (h *terminalHost) window(args ...string) *window {
	h.Helper()
	master, slave, err := pty.Open()
	if err != nil {
		h.Fatal(err)
	}
	w := &window{T: h.T, keys: master, slave: slave, ended: make(chan error, 1), screen: screens.New(60, 12)}
	h.Cleanup(func() { master.Close(); slave.Close() })
	w.resize(60, 12)
	if w.before, err = term.GetState(int(slave.Fd())); err != nil {
		h.Fatal(err)
	}
	w.command = exec.Command("causeway", append([]string{"--socket", filepath.Join(h.dir, "s"), "ssh"}, args...)...)
	w.command.Env = append(os.Environ(), "TERM=xterm-256color", "SHORT="+h.dir)
	w.command.Stdin, w.command.Stdout, w.command.Stderr = slave, slave, slave
	w.command.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := w.command.Start(); err != nil {
		h.Fatal(err)
	}
	go func() {
		buffer := make([]byte, 4096)
		for {
			count, err := master.Read(buffer)
			if err != nil {
				return
			}
			w.mu.Lock()
			w.screen.Feed(buffer[:count])
			w.mu.Unlock()
		}
	}()
	go func() { w.ended <- w.command.Wait() }()
	h.Cleanup(func() { _ = w.command.Process.Kill() })
	return w
}

func (w *window) resize(columns, rows int) {
	w.mu.Lock()
	w.screen.Resize(columns, rows)
	w.mu.Unlock()
	if err := pty.Setsize(w.keys, &pty.Winsize{Cols: uint16(columns), Rows: uint16(rows)}); err != nil {
		w.Fatal(err)
	}
}

func (w *window) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.screen.Text()
}

func (w *window) press(keys string) { _, _ = io.WriteString(w.keys, keys) }

func (w *window) sees(text string) {
	w.Helper()
	for end := time.Now().Add(20 * time.Second); !strings.Contains(w.text(), text); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			w.Fatalf("%q is not on the screen:\n%s", text, w.text())
		}
	}
}

// over waits for the end, after which the terminal is as it was.
func (w *window) over() {
	w.Helper()
	w.overWith(0)
}

func (w *window) overWith(code int) {
	w.Helper()
	select {
	case err := <-w.ended:
		if w.command.ProcessState.ExitCode() != code {
			w.Errorf("%v, want exit code %d\n%s", err, code, w.text())
		}
	case <-time.After(20 * time.Second):
		w.Fatalf("it does not end:\n%s", w.text())
	}
	if after, err := term.GetState(int(w.slave.Fd())); err != nil || *after != *w.before {
		w.Errorf("the terminal is not as it was: %v", err)
	}
}

// A terminal outlives an outage and a detach; the window's size is passed on;
// the end of the shell is the end of the command.
func TestReconnect(t *testing.T) {
	t.Parallel()
	h := hostTerminals(t)
	w := h.window("--reconnect", "myws")
	w.press("stty size; V=kept\r")
	w.sees("12 60")
	w.resize(50, 10)
	w.press("clear; stty size\r")
	w.sees("10 50")
	h.setCut(true)
	w.sees("connection lost; attaching again")
	w.press("lost")
	h.setCut(false)
	for end := time.Now().Add(20 * time.Second); strings.Contains(w.text(), "connection lost") && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	w.press("echo $V-over\r")
	w.sees("kept-over")
	if text := w.text(); strings.Contains(text, "lost") || !strings.Contains(text, "10 50") {
		t.Errorf("after the outage:\n%s", text)
	}
	w.press("~.")
	w.sees("detached from terminal")
	w.over()
	list := h.server.List()
	if len(list) != 1 {
		t.Fatalf("terminals %v", list)
	}
	again := h.window("--reconnect="+list[0].ID.String()[:6], "myws")
	again.sees("kept-over")
	again.press("exit\r")
	again.sees("has ended")
	again.over()
}

// The picker attaches, ends and makes terminals.
func TestPickTerminal(t *testing.T) {
	t.Parallel()
	h := hostTerminals(t)
	first := h.window("--reconnect=new", "myws", "--", "echo one; exec cat")
	first.sees("one")
	second := h.window("--reconnect=new", "main.myws", "--", "echo two; exec cat")
	second.sees("two")
	w := h.window("--reconnect", "myws")
	w.sees("Terminals of myws.coder")
	w.sees("echo two; exec cat")
	w.sees("  1 viewer   ")
	w.press("\x1b[B")
	w.press("x")
	w.sees("ended ")
	second.sees("has ended")
	second.over()
	w.press("\r")
	waitFor(t, "the picker to go", func() bool { return !strings.Contains(w.text(), "Terminals of") })
	w.sees("one")
	w.press("typed by another\r")
	first.sees("typed by another")
	w.press("~.")
	w.over()
	first.press("\r~.")
	first.over()
	q := h.window("--reconnect", "myws")
	q.sees("Terminals of")
	q.press("q")
	q.over()
	n := h.window("--reconnect", "myws")
	n.sees("Terminals of")
	n.press("n")
	waitFor(t, "the picker to go", func() bool { return !strings.Contains(n.text(), "Terminals of") })
	n.press("echo a$((1))b\r")
	n.sees("a1b")
	n.press("exit\r")
	n.over()
}

// An outage that does not end can be left.
func TestLeaveOutage(t *testing.T) {
	t.Parallel()
	h := hostTerminals(t)
	w := h.window("--reconnect=new", "myws", "--", "echo here; exec cat")
	w.sees("here")
	h.setCut(true)
	w.sees("connection lost")
	w.press("\r~.")
	w.over()
	h.setCut(false)
}

// A terminal that is not there after an outage: whether its program has ended,
// nobody knows.
func TestTerminalGone(t *testing.T) {
	t.Parallel()
	h := hostTerminals(t)
	w := h.window("--reconnect=new", "myws", "--", "echo here; exec cat")
	w.sees("here")
	h.setCut(true)
	w.sees("connection lost")
	list := h.server.List()
	if len(list) != 1 {
		t.Fatalf("terminals %v", list)
	}
	if err := h.server.Kill(list[0].ID); err != nil {
		t.Fatal(err)
	}
	h.setCut(false)
	w.overWith(int(localapi.CodeNotFound))
	for _, want := range []string{"it has ended, or", "agent was started anew", "remedy: for another one: causeway ssh --reconnect=new myws.coder"} {
		waitFor(t, want, func() bool { // lines are broken anywhere
			return strings.Contains(strings.Join(strings.Fields(w.text()), ""), strings.ReplaceAll(want, " ", ""))
		})
	}
}

func TestEscapeKeys(t *testing.T) {
	for typed, want := range map[string]string{
		"a~.b": "a~.b", "~.": "|", "a\r~.b": "a\r|", "~~.": "~.", "~a": "~a", "\n~~~.": "\n~~.", "é~.": "é~.", "\xc3": "", "x\xf0\x9f": "x",
	} {
		for _, whole := range []bool{true, false} {
			var e escapeKeys
			var got string
			pieces := strings.Split(typed, "")
			if whole {
				pieces = []string{typed}
			}
			for _, piece := range pieces {
				data, leave := e.filter([]byte(piece))
				got += data
				if leave {
					got += "|"
					break
				}
			}
			if got != want {
				t.Errorf("%q whole %v: %q, want %q", typed, whole, got, want)
			}
		}
	}
	var e escapeKeys
	one, _ := e.filter([]byte("a\xe6\xbc"))
	two, _ := e.filter([]byte("\xa2b"))
	if one != "a" || two != "漢b" {
		t.Errorf("%q %q", one, two)
	}
}
