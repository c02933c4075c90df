package agentclients

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/causewayhq/causeway/agent/rpty/vt"
	"github.com/causewayhq/causeway/internal/rig"
	"github.com/causewayhq/causeway/internal/testnet"
)

// window is causeway ssh --reconnect in a real terminal of the desktop.
type window struct {
	*testing.T
	keys    *os.File
	command *exec.Cmd
	ended   chan error

	mu     sync.Mutex
	screen *vt.Terminal
	raw    strings.Builder
}

const columns, rows = 100, 30

func (w *world) window(t *testing.T, args ...string) *window {
	t.Helper()
	v := &window{T: t, ended: make(chan error, 1), screen: vt.New(columns, rows)}
	v.command = w.On(t.Context(), w.Path("causeway"), append([]string{"ssh"}, args...)...)
	v.command.Env = append(os.Environ(), "TERM=xterm-256color", "HOME=/root")
	v.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var err error
	v.keys, err = pty.StartWithSize(v.command, &pty.Winsize{Cols: columns, Rows: rows})
	must(t, err)
	go func() {
		buffer := make([]byte, 32<<10)
		for {
			count, err := v.keys.Read(buffer)
			if err != nil {
				return
			}
			v.mu.Lock()
			v.screen.Feed(buffer[:count])
			v.raw.Write(buffer[:count])
			v.mu.Unlock()
		}
	}()
	go func() { v.ended <- v.command.Wait() }()
	t.Cleanup(func() { _ = v.command.Process.Kill(); v.keys.Close() })
	return v
}

func (v *window) press(keys string) { _, _ = io.WriteString(v.keys, keys) }

func (v *window) text() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.screen.Text()
}

// printed says whether this has come since the beginning, wherever it went.
func (v *window) printed(text string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return strings.Contains(v.raw.String(), text)
}

// titlePushed is a title that a program has put away, to come back to it.
const titlePushed = "\x1b]2;\x1b\\\x1b[22;2t"

// state is the whole of the screen: each cell with its style, cursor and modes.
// Titles that are put away are left out: a window that stays open has them twice
// after it attached again, as nobody can take them away.
func (v *window) state() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return strings.ReplaceAll(string(v.screen.Snapshot(0)), titlePushed, "")
}

func (v *window) waits(what string, holds func() bool) {
	v.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			v.Fatalf("no %s:\n%s", what, v.text())
		}
	}
}

func (v *window) sees(text string) {
	v.Helper()
	v.waits(text+" on the screen", func() bool { return strings.Contains(v.text(), text) })
}

// over waits for the end, with exit code 0 or one of these.
func (v *window) over(codes ...int) {
	v.Helper()
	select {
	case err := <-v.ended:
		if err != nil && !slices.Contains(codes, v.command.ProcessState.ExitCode()) {
			v.Errorf("%v\n%s", err, v.text())
		}
	case <-time.After(patience):
		v.Fatalf("it does not end:\n%s", v.text())
	}
}

// TestTerminals: causeway ssh --reconnect, with vim in it: the network goes and
// comes back, and so does the screen, cell by cell; a second viewer; the picker.
func TestTerminals(t *testing.T) {
	needRig(t, true)
	w := newWorld(t, plan{client: testnet.EasyNAT, agent: testnet.EasyNAT})
	w.workspace(t, `for i in $(seq 300); do echo "int f$i(void) { return $i; } /* 漢字 é ─ TODO */"; done > /tmp/clients/fixture.c`)
	first := w.window(t, "--reconnect=new", rig.Workspace)
	first.press("vim -N -u NONE -i NONE -n -c 'syntax on' -c 'set number ruler' -c split /tmp/clients/fixture.c\r")
	first.sees("int f1(void)")
	first.press("150GA added, still inserting")
	first.sees("still inserting")

	ids := w.terminals(t)
	if len(ids) != 1 {
		t.Fatalf("terminals: %v", ids)
	}
	second := w.window(t, "--reconnect", rig.Workspace)
	second.sees("Terminals of " + rig.Workspace)
	second.press("\r")
	second.sees("still inserting")
	second.waits("the same screen for both", func() bool { return second.state() == first.state() })
	second.press(" by another")
	first.sees("still inserting by another")
	second.waits("the same screen after what another typed", func() bool { return second.state() == first.state() })

	before := first.state()
	lasted := w.outage(t, first)
	for name, v := range map[string]*window{"first": first, "second": second} {
		v.waits("the same screen after the outage, for the "+name, func() bool { return v.state() == before })
	}
	figure(t, "vim's screen is the same, cell by cell, after %.0f s without a network, for two viewers", lasted.Seconds())
	first.press(", on")
	second.sees("by another, on")

	eventually(t, "two viewers at the control plane", func() bool {
		count := 0
		for _, each := range w.connections(t, "--open") {
			if each.Type == "reconnecting_pty" {
				count++
			}
		}
		return count == 2
	})
	// Enter is vim's too: the escape leaves, the terminal goes on.
	second.press("\r~.")
	second.sees("detached from terminal " + ids[0])
	second.over()
	first.press("\x1b:qa!\r")
	first.waits("the shell", func() bool { return !strings.Contains(first.text(), "TODO") })
	first.press("exit\r")
	first.sees("has ended")
	first.over()
	if left := w.terminals(t); len(left) != 0 {
		t.Errorf("left are %v", left)
	}
}

// outage drops every packet of the desktop until the command has said so; then it
// attaches again.
func (w *world) outage(t *testing.T, v *window) time.Duration {
	t.Helper()
	began := time.Now()
	must(t, w.Net.Client.Cut(t.Context(), testnet.ServerAddr, "192.0.2.40"))
	v.waits("word of the loss", func() bool { return v.printed("connection lost; attaching again") })
	figure(t, "the loss is said after %.1f s", time.Since(began).Seconds())
	must(t, w.Net.Client.Heal(t.Context()))
	return time.Since(began)
}

// terminals are the ids of those that causeway terminals lists.
func (w *world) terminals(t *testing.T) []string {
	t.Helper()
	var answer struct{ Terminals []struct{ ID string } }
	output, err := w.Causeway(within(t, patience), "terminals", rig.Workspace, "--json")
	must(t, err)
	must(t, json.Unmarshal([]byte(output), &answer))
	var ids []string
	for _, each := range answer.Terminals {
		ids = append(ids, each.ID)
	}
	return ids
}
