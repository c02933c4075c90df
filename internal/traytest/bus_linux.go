package traytest

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/godbus/dbus/v5/prop"
)

// waitLimit is for what takes well under a second on an idle machine.
const waitLimit = 20 * time.Second

// Eventually waits until the check passes.
func Eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	for deadline := time.Now().Add(waitLimit); ; {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s did not come: %v", what, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// busConfig is a session bus that starts nothing by itself.
const busConfig = `<busconfig><type>session</type><listen>unix:dir=%s</listen>
<policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy></busconfig>
`

// StartBus runs a session bus of the test's own and gives its address. Without
// a configuration it starts nothing by itself; "session" is the system's.
func StartBus(t *testing.T, env ...string) string {
	t.Helper()
	program, err := exec.LookPath("dbus-daemon")
	if err != nil {
		t.Skip("dbus-daemon is not installed: apt install dbus")
	}
	dir := t.TempDir()
	args := []string{"--nofork", "--nopidfile", "--print-address=1"}
	if len(env) > 0 {
		args = append(args, "--session")
	} else {
		config := filepath.Join(dir, "bus.conf")
		if err := os.WriteFile(config, fmt.Appendf(nil, busConfig, dir), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--config-file="+config)
	}
	command := exec.CommandContext(t.Context(), program, args...)
	command.Env = append(os.Environ(), env...)
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	Launch(t, command)
	address, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		t.Fatalf("read the address of the bus: %v", err)
	}
	return strings.TrimSpace(address)
}

// Launch starts a program in a process group of its own, which ends with the
// test. Its end can be waited for.
func Launch(t *testing.T, command *exec.Cmd) *Process {
	t.Helper()
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGKILL) }
	if err := command.Start(); err != nil {
		t.Fatalf("start %s: %v", command.Path, err)
	}
	p := &Process{command: command, ended: make(chan struct{})}
	go func() {
		p.err = command.Wait()
		close(p.ended)
	}()
	t.Cleanup(p.Kill)
	return p
}

// Process is a program that was launched.
type Process struct {
	command *exec.Cmd
	ended   chan struct{}
	err     error
}

// Kill ends it and all that it started.
func (p *Process) Kill() {
	_ = syscall.Kill(-p.command.Process.Pid, syscall.SIGKILL)
	<-p.ended
}

// Wait gives the exit code.
func (p *Process) Wait(t *testing.T) int {
	t.Helper()
	select {
	case <-p.ended:
		return p.command.ProcessState.ExitCode()
	case <-time.After(waitLimit):
		t.Fatalf("%s did not end", p.command.Path)
		return 0
	}
}

// Running says that it has not ended.
func (p *Process) Running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// Pid is its process.
func (p *Process) Pid() int { return p.command.Process.Pid }

// Connect is a connection of the test's own to the bus.
func Connect(t *testing.T, address string) *dbus.Conn {
	t.Helper()
	conn, err := dbus.Connect(address)
	if err != nil {
		t.Fatalf("connect to the bus: %v", err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

const (
	watcherName = "org.kde.StatusNotifierWatcher"
	watcherPath = "/StatusNotifierWatcher"
)

// Watcher is a host of status icons that only keeps a list of them.
type Watcher struct {
	conn  *dbus.Conn
	props *prop.Properties

	mu    sync.Mutex
	items []string // unique name + path
}

// StartWatcher takes the name that items look for.
func StartWatcher(t *testing.T, address string) *Watcher {
	t.Helper()
	w := &Watcher{conn: Connect(t, address)}
	if err := w.conn.Export(w, watcherPath, watcherName); err != nil {
		t.Fatal(err)
	}
	var err error
	w.props, err = prop.Export(w.conn, watcherPath, prop.Map{watcherName: {
		"RegisteredStatusNotifierItems":  {Value: []string{}, Emit: prop.EmitTrue},
		"IsStatusNotifierHostRegistered": {Value: true, Emit: prop.EmitTrue},
	}})
	if err != nil {
		t.Fatal(err)
	}
	reply, err := w.conn.RequestName(watcherName, dbus.NameFlagDoNotQueue)
	if err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		t.Fatalf("take the name %s: %v, %v", watcherName, reply, err)
	}
	return w
}

// RegisterStatusNotifierItem is called by items.
func (w *Watcher) RegisterStatusNotifierItem(sender dbus.Sender, service string) *dbus.Error {
	w.mu.Lock()
	defer w.mu.Unlock()
	name := string(sender) + service
	if !slices.Contains(w.items, name) {
		w.items = append(w.items, name)
	}
	w.props.SetMust(watcherName, "RegisteredStatusNotifierItems", slices.Clone(w.items))
	return nil
}

// Close is the end of the panel.
func (w *Watcher) Close() { w.conn.Close() }

// Items are the registered ones.
func (w *Watcher) Items() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.items)
}

// Item waits for the one item and gives its bus name.
func (w *Watcher) Item(t *testing.T) string {
	t.Helper()
	name := ""
	Eventually(t, "an item", func() error {
		items := w.Items()
		if len(items) != 1 {
			return fmt.Errorf("items: %q", items)
		}
		name, _, _ = strings.Cut(items[0], "/")
		return nil
	})
	return name
}

// Note is a notification that was shown.
type Note struct {
	Replaces    uint32
	Title, Text string
}

// Notifications remember what they were told to show.
type Notifications struct {
	mu    sync.Mutex
	notes []Note
}

// StartNotifications takes the name of the service.
func StartNotifications(t *testing.T, address string) *Notifications {
	t.Helper()
	n := &Notifications{}
	conn := Connect(t, address)
	if err := conn.Export(n, "/org/freedesktop/Notifications", "org.freedesktop.Notifications"); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.RequestName("org.freedesktop.Notifications", dbus.NameFlagDoNotQueue); err != nil {
		t.Fatal(err)
	}
	return n
}

// GetCapabilities and Notify are of the Desktop Notifications Specification.
func (n *Notifications) GetCapabilities() ([]string, *dbus.Error) {
	return []string{"body", "body-markup"}, nil
}

func (n *Notifications) Notify(_ string, replaces uint32, _, title, text string, _ []string, _ map[string]dbus.Variant, _ int32) (uint32, *dbus.Error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.notes = append(n.notes, Note{replaces, title, text})
	return uint32(len(n.notes)), nil
}

// All are the notifications so far.
func (n *Notifications) All() []Note {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.notes)
}
