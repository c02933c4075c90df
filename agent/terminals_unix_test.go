//go:build unix

package agent

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"image/color"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	emulator "github.com/charmbracelet/x/vt"
	"github.com/google/uuid"

	"github.com/causewayhq/causeway/agent/rpty/vt"
)

// terminalStage is port 2 of an agent, on loopback, with real programs.
type terminalStage struct {
	*testing.T
	agent   *agent
	address string
}

func newTerminalStage(t *testing.T, idle time.Duration) *terminalStage {
	t.Helper()
	a := &agent{log: slog.New(slog.DiscardHandler), config: Config{TerminalIdle: idle}}
	a.reports = newReports(a)
	a.terminals = a.newTerminals()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() { _ = a.terminals.Serve(listener) })
	t.Cleanup(func() {
		listener.Close()
		served.Wait()
		a.endTerminals()
		a.work.Wait()
	})
	return &terminalStage{t, a, listener.Addr().String()}
}

// viewer is a window with two terminals in it: ours, and one by others.
type viewer struct {
	*testing.T
	conn net.Conn

	mu     sync.Mutex
	ours   *vt.Terminal
	theirs *emulator.Emulator
	raw    strings.Builder
	ended  chan struct{}
}

func (s *terminalStage) attach(id uuid.UUID, columns, rows int, command string) *viewer {
	s.Helper()
	conn, err := net.Dial("tcp", s.address)
	if err != nil {
		s.Fatal(err)
	}
	v := &viewer{T: s.T, conn: conn, ours: vt.New(columns, rows), theirs: emulator.NewEmulator(columns, rows), ended: make(chan struct{})}
	go io.Copy(io.Discard, v.theirs) // its replies: ours are those that count here
	request, _ := json.Marshal(map[string]any{"ID": id, "Width": columns, "Height": rows, "Command": command})
	if _, err := conn.Write(append(binary.LittleEndian.AppendUint16(nil, uint16(len(request))), request...)); err != nil {
		s.Fatal(err)
	}
	go func() {
		defer close(v.ended)
		buffer := make([]byte, 64<<10)
		for {
			count, err := conn.Read(buffer)
			v.mu.Lock()
			v.raw.Write(buffer[:count])
			v.ours.Feed(buffer[:count])
			_, _ = v.theirs.Write(buffer[:count])
			v.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	s.Cleanup(func() {
		conn.Close()
		<-v.ended
		// Not Close of the emulator itself, which races with who reads.
		v.theirs.InputPipe().(io.Closer).Close()
	})
	return v
}

func (v *viewer) press(keys string) {
	data, _ := json.Marshal(map[string]string{"data": keys})
	if _, err := v.conn.Write(data); err != nil {
		v.Error(err)
	}
}

func (v *viewer) text() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.ours.Text()
}

func (v *viewer) sees(text string) {
	v.Helper()
	v.waits(fmt.Sprintf("%q on the screen", text), func() bool { return strings.Contains(v.text(), text) })
}

func (v *viewer) waits(what string, done func() bool) {
	v.Helper()
	for end := time.Now().Add(20 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			v.Fatalf("no %s:\n%s", what, v.text())
		}
	}
}

// cells is the whole screen of the other emulator: each cell with its text and
// its style, and where the cursor is.
func (v *viewer) cells() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	var result strings.Builder
	hex := func(c color.Color) string {
		if c == nil {
			return "-"
		}
		r, g, b, _ := c.RGBA()
		return fmt.Sprintf("%02x%02x%02x", r>>8, g>>8, b>>8)
	}
	for y := range v.theirs.Height() {
		for x := range v.theirs.Width() {
			each := v.theirs.CellAt(x, y)
			if each == nil {
				continue
			}
			text := each.Content
			if text == "" {
				text = " "
			}
			fmt.Fprintf(&result, "%d,%d %q %s %s %d %d\n", x, y, text, hex(each.Style.Fg), hex(each.Style.Bg), each.Style.Attrs, each.Style.Underline)
		}
	}
	fmt.Fprintf(&result, "cursor %v\n", v.theirs.CursorPosition())
	return result.String()
}

// equal compares a viewer that stayed with one that came, cell by cell, in both
// emulators, once the screen is still.
func equal(t *testing.T, what string, stayed, came *viewer) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		one, two := stayed.cells(), came.cells()
		stayed.mu.Lock()
		state := string(stayed.ours.Snapshot(0))
		stayed.mu.Unlock()
		came.mu.Lock()
		again := string(came.ours.Snapshot(0))
		came.mu.Unlock()
		if one == two && state == again {
			return
		}
		if time.Now().After(end) {
			x, y := strings.Split(one, "\n"), strings.Split(two, "\n")
			for i := range min(len(x), len(y)) {
				if x[i] != y[i] {
					t.Errorf("%s: stayed %s, came %s", what, x[i], y[i])
					break
				}
			}
			t.Fatalf("%s: states equal %v\n%s\n%s", what, state == again, stayed.text(), came.text())
		}
	}
}

// vim comes back undamaged: with syntax colours, two windows, a tab line, wide
// characters, and in the middle of an insertion.
func TestVimComesBack(t *testing.T) {
	if _, err := exec.LookPath("vim"); err != nil {
		t.Skip("vim is not installed: scripts/rigdeps.sh brings it")
	}
	s := newTerminalStage(t, time.Minute)
	path := filepath.Join(t.TempDir(), "fixture.c")
	var source strings.Builder
	for i := range 200 {
		fmt.Fprintf(&source, "int f%d(void) { return %d; } /* 漢字 é ─ TODO */\n", i, i)
	}
	if err := os.WriteFile(path, []byte(source.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	id := uuid.New()
	stayed := s.attach(id, 80, 24, "vim -u NONE -N -i NONE --cmd 'set nocp number cursorline ruler laststatus=2 title mouse=a encoding=utf-8' -c 'syntax on' "+path)
	stayed.sees("fixture.c")
	steps := []struct{ name, keys, sees string }{
		{"opened", "", "f0(void)"},
		{"split", ":split\r\x06", "fixture.c"},
		{"vertical", ":vsplit\r50G", "f49"},
		{"inserting", "ohello\u6f22 world", "hello漢 world"},
		{"searching", "\x1b:set hlsearch\r/return\r", "return"},
		{"visual", "gg0v5j", "VISUAL"},
		{"tabs", "\x1b:tabnew\rinew tab", "new tab"},
	}
	for _, step := range steps {
		stayed.press(step.keys)
		stayed.sees(step.sees)
		came := s.attach(id, 80, 24, "")
		equal(t, step.name, stayed, came)
		came.conn.Close()
	}
	stayed.press("\x1b:qa!\r")
	select {
	case <-stayed.ended:
	case <-time.After(20 * time.Second):
		t.Error("vim does not end")
	}
}

// fullScreen draws with everything that has a state, and goes on at each key.
const fullScreen = `stty raw -echo
printf 'before\r\n'
printf '\033[?1049h\033[2J\033[5;20r\033[?25l\033[5 q\033]0;fixture\007\033[?2004h\033[?1002h\033[?1006h\033[?1h\033='
printf '\033[1;1H\033[38;5;208mpalette \033[48;2;10;20;30mtrue colour\033[0m \033[1;4;7mbold\033[0m'
printf '\033[3;1H\033(0lqqqk\033(B \346\274\242\345\255\227 e\314\201'
printf '\033[24;80H#\033[23;79H\346\274\242'
i=0
while :; do
  i=$((i+1))
  printf '\033[20;1H\n\033[3%dmline %d\033[K' $((i%8)) $i
  printf '\033[?6h\033[2;2Horigin %d\033[?6l\033[7;9H\0337\033[2;40H%d\0338' $i $i
  dd bs=1 count=1 2>/dev/null >/dev/null
done`

// A full-screen program comes back undamaged after each of its steps, and goes
// on the same for both viewers.
func TestFullScreenComesBack(t *testing.T) {
	s := newTerminalStage(t, time.Minute)
	id := uuid.New()
	stayed := s.attach(id, 80, 24, fullScreen)
	var others []*viewer
	for i := 1; i <= 12; i++ {
		stayed.sees(fmt.Sprintf("origin %d", i))
		came := s.attach(id, 80, 24, "")
		equal(t, fmt.Sprintf("step %d", i), stayed, came)
		others = append(others, came)
		for _, each := range others {
			equal(t, fmt.Sprintf("viewer of before, step %d", i), stayed, each)
		}
		stayed.press("x")
	}
}

// Nobody watches, and after the time everything the terminal has started is
// gone: jobs in the background, those that ignore the hang-up, and those in
// another session.
func TestIdleEndsProcesses(t *testing.T) {
	s := newTerminalStage(t, 300*time.Millisecond)
	file := filepath.Join(t.TempDir(), "pids")
	v := s.attach(uuid.New(), 80, 24, `set -m; F=`+file+`
sleep 311 & echo $! >>$F
sh -c 'trap "" HUP TERM; echo $$ >>'$F'; while :; do sleep 0.1; done' &
sh -c 'setsid sh -c "echo \$\$ >>'$F'; sleep 312"; true' &
while [ $(wc -l <$F) -lt 3 ]; do sleep 0.05; done
echo $$ >>$F; echo ready; sleep 313`)
	v.sees("ready")
	time.Sleep(500 * time.Millisecond)
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pids := strings.Fields(string(data))
	if len(pids) != 4 {
		t.Fatalf("processes %v", pids)
	}
	for _, pid := range pids {
		if !lives(pid) {
			t.Errorf("%s has ended although watched", pid)
		}
	}
	v.conn.Close()
	for _, pid := range pids {
		v.waits("end of "+pid, func() bool { return !lives(pid) })
	}
	v.waits("end of the terminal", func() bool { return len(s.agent.terminals.List()) == 0 })
}

// lives says whether there is a process of this number that is no zombie.
func lives(pid string) bool {
	number, _ := strconv.Atoi(pid)
	if syscall.Kill(number, 0) != nil {
		return false
	}
	out, err := exec.Command("ps", "-o", "stat=", "-p", pid).Output()
	return err == nil && !strings.HasPrefix(string(out), "Z")
}

// The program's world: TERM, the environment of the workspace, its directory.
func TestTerminalEnvironment(t *testing.T) {
	s := newTerminalStage(t, time.Minute)
	v := s.attach(uuid.New(), 80, 24, "echo $TERM $CODER; tty; stty size")
	<-v.ended
	if text := v.text(); !strings.Contains(text, "xterm-256color true\n/dev/") || !strings.Contains(text, "24 80") {
		t.Errorf("got %q", text)
	}
}
