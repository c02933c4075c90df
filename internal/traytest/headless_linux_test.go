package traytest

import (
	"bytes"
	"errors"
	"fmt"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/packaging/icons"
	"github.com/causewayhq/causeway/proto/localv1"
)

// pixels is a file of the icons as hosts want it: ARGB, not multiplied.
func pixels(t *testing.T, name string) []byte {
	t.Helper()
	picture, err := png.Decode(bytes.NewReader(icons.File(name)))
	if err != nil {
		t.Fatal(err)
	}
	var out []byte
	for y := range picture.Bounds().Dy() {
		for x := range picture.Bounds().Dx() {
			c, _ := color.NRGBAModel.Convert(picture.At(x, y)).(color.NRGBA)
			out = append(out, c.A, c.R, c.G, c.B)
		}
	}
	return out
}

// TestEveryItemIsObeyed clicks each item as hosts do.
func TestEveryItemIsObeyed(t *testing.T) {
	t.Parallel()
	s := newSession(t, Connected())
	s.daemon.SetProfiles(profiles()...)
	s.watcher = StartWatcher(t, s.address)
	s.start()
	s.icon = NewIcon(t, s.address, s.watcher.Item(t))
	s.icon.Want(t, "Connected to coder.example.com")
	s.icon.Want(t, "Names answer, control plane connected, relay Frankfurt 12 ms")
	cli := "causeway --socket " + s.daemon.Path

	s.icon.Click(t, "Connected to")
	s.wantTool(cli + " status --watch ")
	s.icon.Click(t, "Disconnect")
	s.daemon.WantCall(t, "Down the tray")
	s.icon.Want(t, "Disconnected")
	s.wantPicture("off")
	s.icon.Click(t, "Connect")
	s.daemon.WantCall(t, "Up ")
	s.wantPicture("connected")

	s.icon.Click(t, "api.coder", "Copy the name")
	s.wantTool("xclip -selection clipboard api.coder")
	s.icon.Click(t, "web.coder — relayed by Frankfurt, 25 ms", "Open a terminal with ssh")
	s.wantTool(cli + " ssh web.coder ")
	s.icon.Click(t, "web.coder", "Open in the browser")
	s.wantTool("xdg-open https://coder.example.com/@alice/web ")

	if line := s.icon.Want(t, "Profile: work", "work"); !line.Checked {
		t.Error("the active profile has no tick")
	}
	s.icon.Click(t, "Profile: work", "lab — al")
	s.daemon.WantCall(t, "UseProfile lab")
	s.icon.Want(t, "Profile: lab")

	s.icon.Click(t, "Settings", "Start this icon at login")
	entry := filepath.Join(s.home, ".config/autostart/causeway-tray.desktop")
	Eventually(t, "the autostart entry", func() error {
		data, err := os.ReadFile(entry)
		if err == nil && !strings.Contains(string(data), "Exec=\""+trayProgram+"\"\n") {
			err = errors.New(string(data))
		}
		return err
	})
	Eventually(t, "the tick", func() error {
		if !s.icon.Want(t, "Settings", "Start this icon").Checked {
			return errors.New("no tick")
		}
		return nil
	})
	s.icon.Click(t, "Settings", "Start this icon at login")
	Eventually(t, "the end of the autostart entry", func() error {
		if _, err := os.Stat(entry); err == nil {
			return errors.New("it is there")
		}
		return nil
	})
	s.icon.Click(t, "Settings", "Connect when this icon starts")
	Eventually(t, "the setting", func() error {
		data, err := os.ReadFile(filepath.Join(s.home, ".config/causeway/tray.json"))
		if err == nil && !strings.Contains(string(data), `"connect_at_launch": true`) {
			err = errors.New(string(data))
		}
		return err
	})

	s.icon.Click(t, "About", "Causeway service v1.2.3")
	s.wantTool("xclip -selection clipboard v1.2.3")
	s.icon.Click(t, "Sign out alice")
	s.daemon.WantCall(t, "Logout ")
	s.icon.Want(t, "Not signed in")
	if line := s.icon.Want(t, "Connect (sign in first)"); line.Enabled {
		t.Error("who is not signed in can click Connect")
	}
	s.daemon.Change(func(status *localv1.Status) { status.Url = "https://coder.example.com" })
	Eventually(t, "the URL", func() error {
		tip, err := s.icon.Tooltip()
		if err == nil && tip != "Causeway: Not signed in" {
			err = errors.New(tip)
		}
		return err
	})
	s.icon.Click(t, "Sign in…")
	s.wantTool(cli + " login https://coder.example.com ")
	s.icon.Click(t, "Quit")
	if code := s.tray.Wait(t); code != 0 {
		t.Errorf("Quit ended with code %d", code)
	}
	if calls := s.daemon.Calls(); len(calls) != 0 {
		t.Errorf("calls that nobody clicked: %q", calls)
	}
}

// TestConnectsAtLaunch starts the tray again with what it kept.
func TestConnectsAtLaunch(t *testing.T) {
	t.Parallel()
	down := Connected()
	down.State, down.WantedUp = localv1.State_DOWN, false
	s := newSession(t, down)
	if err := os.MkdirAll(filepath.Join(s.home, ".config/causeway"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.home, ".config/causeway/tray.json"), []byte(`{"version": 1, "connect_at_launch": true}`), 0o600); err != nil {
		t.Fatal(err)
	}
	s.watcher = StartWatcher(t, s.address)
	s.start()
	s.daemon.WantCall(t, "Up ")
}

// TestRefusalIsShown: what the daemon refuses stands in the menu, with the
// remedy, and is told, since the menu has closed by then.
func TestRefusalIsShown(t *testing.T) {
	t.Parallel()
	s := startSession(t, Connected())
	s.daemon.Refuse(&localapi.Error{Code: localapi.CodePermission, Cause: "connect: bob <has> it", Remedy: "ask bob to run: causeway down"})
	s.icon.Click(t, "Disconnect")
	s.icon.Want(t, "⚠ connect: bob <has> it")
	if note := s.wantNote("Causeway"); note.Text != "connect: bob &lt;has&gt; it\nask bob to run: causeway down" {
		t.Errorf("notification %q", note.Text)
	}
	s.icon.Click(t, "    → ask bob")
	s.wantTool("xclip -selection clipboard ask bob to run: causeway down")
	s.daemon.Refuse(nil)
	s.icon.Click(t, "Disconnect")
	s.icon.Want(t, "Disconnected")
	lines, err := s.icon.Menu()
	if _, there := Find(lines, "⚠"); there || err != nil {
		t.Errorf("the refusal is still there (%v):\n%s", err, Labels(lines))
	}
}

// TestFirstIconIsTheState: no icon of another state before the first.
func TestFirstIconIsTheState(t *testing.T) {
	t.Parallel()
	s := startSession(t, Connected())
	got, err := s.icon.Picture()
	if err != nil || !bytes.Equal(got, pixels(t, "connected-auto-44.png")) {
		t.Errorf("the first icon is not that of the state (%v)", err)
	}
	var id string
	if err := s.icon.property("Id", &id); err != nil || id != "Causeway" {
		t.Errorf("the id is %q, %v", id, err)
	}
	if tip, err := s.icon.Tooltip(); tip != "Causeway: Connected to coder.example.com" || err != nil {
		t.Errorf("the first tooltip is %q, %v", tip, err)
	}
}

func TestDaemonRestart(t *testing.T) {
	t.Parallel()
	s := startSession(t, Connected())
	s.icon.Want(t, "api.coder")
	s.daemon.Stop()
	s.wantPicture("connecting")
	s.icon.Want(t, "Looking for the Causeway service…")
	s.wantPicture("error")
	s.icon.Want(t, "The Causeway service does not answer")
	s.icon.Want(t, "⚠ connect to "+s.daemon.Path)
	s.icon.Want(t, "    → ")
	if line := s.icon.Want(t, "Connect"); line.Enabled {
		t.Error("Connect can be clicked without a daemon")
	}
	s.daemon.Start(t)
	s.wantPicture("connected")
	s.icon.Want(t, "api.coder — direct, 3 ms")
	s.icon.Click(t, "Disconnect")
	s.daemon.WantCall(t, "Down the tray")
}

func TestWatcherRestart(t *testing.T) {
	t.Parallel()
	s := startSession(t, Connected())
	for range 3 {
		s.watcher.Close()
		s.watcher = StartWatcher(t, s.address)
		s.icon = NewIcon(t, s.address, s.watcher.Item(t))
		s.wantPicture("connected")
		s.icon.Want(t, "Connected to")
	}
	s.icon.Click(t, "Disconnect")
	s.daemon.WantCall(t, "Down the tray")
}

// TestNoHost: it says so once, and shows the icon when a host comes.
func TestNoHost(t *testing.T) {
	t.Parallel()
	s := newSession(t, Connected())
	s.start()
	note := s.wantNote("Causeway has no place for its icon")
	if !strings.Contains(note.Text, "causeway status --watch") {
		t.Errorf("notification %q", note.Text)
	}
	s.watcher = StartWatcher(t, s.address)
	s.icon = NewIcon(t, s.address, s.watcher.Item(t))
	s.wantPicture("connected")
	if said := strings.Count(s.output.String(), "Causeway has no place"); said != 1 {
		t.Errorf("said %d times on standard error", said)
	}
}

func TestSecondInstance(t *testing.T) {
	t.Parallel()
	s := startSession(t, Connected())
	first, said := s.tray, s.output
	s.output = &output{}
	s.start()
	if code := s.tray.Wait(t); code != 0 || !strings.Contains(s.output.String(), "causeway-tray runs in this session already") {
		t.Errorf("the second start ended with %d and said %q", code, s.output)
	}
	if !first.Running() || len(s.watcher.Items()) != 1 {
		t.Errorf("the first tray ended, or the second showed an icon: %q, %s", s.watcher.Items(), said)
	}
}

// TestNoSession: without a session bus there is nothing to show on.
func TestNoSession(t *testing.T) {
	t.Parallel()
	s := newSession(t, Connected())
	s.env[4] = "DBUS_SESSION_BUS_ADDRESS=unix:path=/nonexistent"
	s.start()
	if code := s.tray.Wait(t); code != 1 || !strings.Contains(s.output.String(), "remedy: start it inside a desktop session; without one: causeway status --watch") {
		t.Errorf("ended with %d and said %q", code, s.output)
	}
}

// ids are the ids of all lines by label, with the path.
func ids(lines []Line, above string, into map[string]int32) map[string]int32 {
	for i, line := range lines {
		key := fmt.Sprintf("%s/%d", above, i)
		into[key] = line.ID
		ids(line.Lines, key, into)
	}
	return into
}

// TestItemsChangeInPlace: whatever happens, each line keeps its id and its place,
// so that hosts change an open menu instead of building another.
func TestItemsChangeInPlace(t *testing.T) {
	t.Parallel()
	s := startSession(t, Connected())
	s.icon.Want(t, "web.coder")
	lines, err := s.icon.Menu()
	if err != nil {
		t.Fatal(err)
	}
	before := ids(lines, "", map[string]int32{})
	open := s.icon.Want(t, "api.coder", "Copy the name").ID
	changes := []func(*localv1.Status){
		func(status *localv1.Status) { status.Agents[0].Reachable = false },
		func(status *localv1.Status) { status.Agents = status.Agents[:2] },
		func(status *localv1.Status) { status.State, status.WantedUp = localv1.State_DOWN, false },
		func(status *localv1.Status) {
			status.State, status.Problems = localv1.State_FAILED, []*localv1.Problem{{Code: "x", Cause: "c", Remedy: "r"}}
		},
		func(status *localv1.Status) { *status = localv1.Status{State: localv1.State_SIGNED_OUT} },
		func(status *localv1.Status) {
			*status = localv1.Status{State: localv1.State_CONNECTED, View: localv1.View_SUMMARY, Owner: "bob", WantedUp: true}
		},
	}
	for i, change := range changes {
		s.daemon.Change(change)
		s.daemon.Change(func(status *localv1.Status) { status.Url = fmt.Sprintf("https://host-%d", i) })
		time.Sleep(50 * time.Millisecond) // gathering is what is tested, whatever it is of
	}
	s.icon.Want(t, "The tunnel of this machine belongs to bob")
	if line := s.icon.Want(t, "Connect (not while bob is connected)"); line.Enabled {
		t.Error("Connect can be clicked while bob is connected")
	}
	s.daemon.Change(func(status *localv1.Status) {
		*status = localv1.Status{State: localv1.State_CONNECTED, WantedUp: true, Url: "https://x", Agents: Connected().GetAgents()}
	})
	if again := s.icon.Want(t, "api.coder", "Copy the name").ID; again != open {
		t.Errorf("the line has the id %d, and had %d", again, open)
	}
	if lines, err = s.icon.Menu(); err != nil {
		t.Fatal(err)
	}
	after := ids(lines, "", map[string]int32{})
	for key, id := range before {
		if after[key] != id {
			t.Errorf("line %s has the id %d, and had %d", key, after[key], id)
		}
	}
	if len(after) != len(before) {
		t.Errorf("%d lines, and there were %d", len(after), len(before))
	}
}

// TestManyWorkspaces: 500 of them neither fill the screen nor take the tray down.
func TestManyWorkspaces(t *testing.T) {
	t.Parallel()
	many := Connected()
	many.Agents = nil
	for i := range 500 {
		many.Agents = append(many.Agents, Agent(fmt.Sprintf("ws-%03d", i), 3*time.Millisecond, localv1.AgentStatus_DIRECT))
	}
	s := startSession(t, many)
	s.icon.Want(t, "ws-009.coder")
	s.icon.Want(t, "490 more workspaces", "ws-099.coder", "Copy the name")
	s.icon.Want(t, "500 workspaces in all: run causeway list")
	lines, err := s.icon.Menu()
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(Labels(lines), "\n"); n > 460 {
		t.Errorf("%d lines", n)
	}
	if len(lines) > 40 {
		t.Errorf("%d lines in the menu itself", len(lines))
	}
	s.icon.Click(t, "490 more workspaces", "ws-057.coder", "Copy the name")
	s.wantTool("xclip -selection clipboard ws-057.coder")
	s.daemon.Change(func(status *localv1.Status) { status.Agents = status.Agents[:3] })
	Eventually(t, "the end of the others", func() error {
		lines, err := s.icon.Menu()
		if _, there := Find(lines, "490 more"); there {
			return errors.New(Labels(lines))
		}
		return err
	})
	s.icon.Want(t, "ws-002.coder")
}

// TestHostileNames: names come from the control plane, and some lead to command
// lines.
func TestHostileNames(t *testing.T) {
	t.Parallel()
	bad := Connected()
	names := []string{"-oProxyCommand=id", "a\x1b[2J\x07b", "evil\u202egpj.exe", strings.Repeat("x", 10<<10), "my_ws", "\u05e9\u05dc\u05d5\u05dd", "b; reboot", "\xff\xfe"}
	bad.Agents = nil
	for i, name := range names {
		agent := Agent(fmt.Sprintf("w%d", i), time.Millisecond, localv1.AgentStatus_DIRECT)
		agent.Names = []string{strings.ToValidUTF8(name, "?")}
		bad.Agents = append(bad.Agents, agent)
	}
	bad.Problems = []*localv1.Problem{{Code: "c", Cause: "line one\nline two \x00 end", Remedy: strings.Repeat("do it ", 5000)}}
	s := startSession(t, bad)
	lines, err := s.icon.Menu()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(Labels(lines)) {
		line = strings.TrimSuffix(line, "\n")
		if len([]rune(line)) > 110 || strings.ContainsAny(line, "\x1b\x07\x00\u202e") {
			t.Errorf("line %q", line)
		}
	}
	s.icon.Want(t, "my__ws — direct, 1 ms")
	s.icon.Want(t, "⚠ line one line two   end")
	s.icon.Want(t, "\u2068\u05e9\u05dc\u05d5\u05dd\u2069 — direct")
	for _, label := range []string{"-oProxyCommand", "b; reboot", "my__ws"} {
		if ssh := s.icon.Want(t, label, "Open a terminal with ssh"); ssh.Enabled {
			t.Errorf("%s leads to a command line", label)
		}
	}
	s.icon.Click(t, "my__ws", "Copy the name")
	s.wantTool("xclip -selection clipboard my_ws")
}

// TestMemory prints what an idle tray takes, and bounds it.
func TestMemory(t *testing.T) {
	t.Parallel()
	s := startSession(t, Connected())
	s.icon.Want(t, "web.coder")
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.tray.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	var kilobytes int
	for line := range strings.Lines(string(data)) {
		if rest, found := strings.CutPrefix(line, "VmRSS:"); found {
			if _, err := fmt.Sscan(rest, &kilobytes); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Logf("figure: %d kB resident", kilobytes)
	// 10.5 MB when this was written.
	if kilobytes == 0 || kilobytes > 40<<10 {
		t.Errorf("%d kB resident, allowed are 40 MB", kilobytes)
	}
}
