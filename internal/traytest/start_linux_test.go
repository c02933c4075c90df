package traytest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/causewayhq/causeway/proto/localv1"
)

// trayProgram is causeway-tray, alone in its directory.
var trayProgram string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "causeway-tray-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	built, err := Build(dir, "causeway-tray")
	if err == nil && filepath.Dir(built) != dir {
		var data []byte
		if data, err = os.ReadFile(built); err == nil {
			err = os.WriteFile(filepath.Join(dir, "causeway-tray"), data, 0o755)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.RemoveAll(dir)
		os.Exit(1)
	}
	trayProgram = filepath.Join(dir, "causeway-tray")
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// output is what a program wrote so far.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(data []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(data)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// session is a desktop session with a tray in it.
type session struct {
	t       *testing.T
	address string
	home    string
	env     []string
	daemon  *Daemon
	watcher *Watcher
	notes   *Notifications
	tray    *Process
	output  *output
	icon    *Icon
}

// tool is a program that writes its name and arguments, and what it reads if it is
// a clipboard, into a file.
const tool = `#!/bin/sh
name=${0##*/}
text=
case $name in xclip) read -r text ;; esac
echo "$name $* $text" >>"$HOME/calls"
case $name in x-terminal-emulator) shift; exec "$@" ;; esac
`

// newSession is a session without a host of icons or a tray yet.
func newSession(t *testing.T, status *localv1.Status) *session {
	t.Helper()
	s := &session{t: t, address: StartBus(t), home: t.TempDir(), output: &output{}}
	bin := filepath.Join(s.home, "bin")
	if err := os.Mkdir(bin, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"xclip", "xdg-open", "x-terminal-emulator", "causeway"} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte(tool), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	s.daemon = NewDaemon(t, filepath.Join(s.home, "s"), status)
	s.env = []string{
		"HOME=" + s.home, "XDG_CONFIG_HOME=" + filepath.Join(s.home, ".config"), "PATH=" + bin, "DISPLAY=:none",
		"DBUS_SESSION_BUS_ADDRESS=" + s.address, "CAUSEWAY_SOCKET=" + s.daemon.Path,
	}
	s.notes = StartNotifications(t, s.address)
	return s
}

// startSession is a session with all of it.
func startSession(t *testing.T, status *localv1.Status) *session {
	t.Helper()
	s := newSession(t, status)
	s.watcher = StartWatcher(t, s.address)
	s.start()
	s.icon = NewIcon(t, s.address, s.watcher.Item(t))
	return s
}

func (s *session) start(args ...string) {
	command := exec.CommandContext(s.t.Context(), trayProgram, append([]string{"-v"}, args...)...)
	command.Env, command.Stdout, command.Stderr = s.env, s.output, s.output
	s.tray = Launch(s.t, command)
	s.t.Cleanup(func() {
		if s.t.Failed() {
			s.t.Logf("the tray wrote:\n%s", s.output)
		}
	})
}

// wantTool waits for the call of a program of the desktop.
func (s *session) wantTool(want string) {
	s.t.Helper()
	Eventually(s.t, "the call "+want, func() error {
		calls, err := os.ReadFile(filepath.Join(s.home, "calls"))
		if err != nil {
			return err
		}
		if !strings.Contains(string(calls), want+"\n") {
			return fmt.Errorf("calls:\n%s", calls)
		}
		return nil
	})
}

func (s *session) wantNote(title string) Note {
	s.t.Helper()
	var found Note
	Eventually(s.t, "the notification "+title, func() error {
		for _, note := range s.notes.All() {
			if strings.HasPrefix(note.Title, title) {
				found = note
				return nil
			}
		}
		return fmt.Errorf("notifications: %+v", s.notes.All())
	})
	return found
}

// wantPicture waits until the icon is that of a state.
func (s *session) wantPicture(state string) {
	s.t.Helper()
	want := pixels(s.t, state+"-auto-44.png")
	Eventually(s.t, "the icon "+state, func() error {
		got, err := s.icon.Picture()
		if err == nil && !bytes.Equal(got, want) {
			err = fmt.Errorf("another icon")
		}
		return err
	})
}

func profiles() []*localv1.Profile {
	return []*localv1.Profile{
		{Name: "work", Url: "https://coder.example.com", User: "alice", Active: true, SignedIn: true, OwnerUid: proto.Uint32(1000)},
		{Name: "lab", Url: "https://lab.example.com", User: "al", SignedIn: true, OwnerUid: proto.Uint32(1000)},
	}
}
