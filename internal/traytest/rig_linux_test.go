package traytest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/causewayhq/causeway/proto/localv1"
)

// needRig skips what takes a desktop.
func needRig(t *testing.T) {
	t.Helper()
	if os.Getenv("CAUSEWAY_RIGS") != "all" {
		t.Skip("a rig: make e2e runs it")
	}
	if os.Geteuid() != 0 {
		t.Fatal("rigs need root")
	}
}

// onDesktop is a session whose tray sits on a real panel.
func onDesktop(t *testing.T, dark bool, status *localv1.Status) (*session, *Desktop) {
	t.Helper()
	d := StartDesktop(t, dark)
	s := newSession(t, status)
	// A path that looks on a picture as it does on a machine.
	s.daemon.Stop()
	dir := "/run/causeway-test"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s.daemon = NewDaemon(t, filepath.Join(dir, "causeway.sock"), status)
	s.daemon.SetProfiles(profiles()...)
	s.home, s.env = d.Home, append(d.Env, "CAUSEWAY_SOCKET="+s.daemon.Path)
	return s, d
}

// TestPointer clicks each item with the pointer.
func TestPointer(t *testing.T) {
	needRig(t)
	s, d := onDesktop(t, false, Connected())
	s.start()
	icon := d.Icon()
	icon.Want(t, "Connected to")

	d.Click(icon, "Disconnect")
	s.daemon.WantCall(t, "Down the tray")
	icon.Want(t, "Disconnected")
	d.Click(icon, "Connect")
	s.daemon.WantCall(t, "Up ")
	icon.Want(t, "Connected to")
	d.Click(icon, "web.coder", "Copy the name")
	Eventually(t, "the name on the clipboard", func() error {
		text, err := d.Run("xclip", "-selection", "clipboard", "-o")
		if err == nil && text != "web.coder" {
			err = errors.New(text)
		}
		return err
	})
	d.Click(icon, "Profile: work", "lab")
	s.daemon.WantCall(t, "UseProfile lab")
	for range 2 {
		d.Click(icon, "Settings", "Start this icon at login")
		d.Click(icon, "Settings", "Connect when this icon starts")
	}
	if _, err := os.Stat(filepath.Join(d.Home, ".config/causeway/tray.json")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(d.Home, ".config/autostart/causeway-tray.desktop")); err == nil {
		t.Error("the second click did not take the autostart away")
	}
	d.Click(icon, "About", "Causeway service")
	Eventually(t, "the version on the clipboard", func() error {
		text, err := d.Run("xclip", "-selection", "clipboard", "-o")
		if err == nil && text != "v1.2.3" {
			err = errors.New(text)
		}
		return err
	})
	d.Click(icon, "Sign out")
	s.daemon.WantCall(t, "Logout ")
	icon.Want(t, "Not signed in")
	d.Click(icon, "Quit")
	if code := s.tray.Wait(t); code != 0 {
		t.Errorf("Quit ended with code %d", code)
	}
	if calls := s.daemon.Calls(); len(calls) != 0 {
		t.Errorf("calls that nobody clicked: %q", calls)
	}
}

// TestOpenMenuStaysOpen: while a submenu is open its lines change, and its window
// stays.
func TestOpenMenuStaysOpen(t *testing.T) {
	needRig(t)
	s, d := onDesktop(t, false, Connected())
	s.start()
	icon := d.Icon()
	icon.Want(t, "Connected to")
	menus := d.Hover(icon, "web.coder", "Copy the name")
	for i := range 5 {
		s.daemon.Change(func(status *localv1.Status) {
			status.Agents[0].Latency = durationpb.New(time.Duration(5+i) * time.Millisecond)
			status.Agents[3].Latency = durationpb.New(time.Duration(50+10*i) * time.Millisecond)
		})
		icon.Want(t, fmt.Sprintf("web.coder — relayed by Frankfurt, %d ms", 50+10*i))
		now, err := d.windows()
		if err != nil || len(now) != len(menus) || now[0].id != menus[0].id && now[0].id != menus[1].id {
			t.Fatalf("update %d: windows %v, and they were %v (%v)", i, now, menus, err)
		}
	}
	// And what is below the pointer is still what it was.
	d.must("xdotool", "click", "1")
	Eventually(t, "the name on the clipboard", func() error {
		text, err := d.Run("xclip", "-selection", "clipboard", "-o")
		if err == nil && text != "web.coder" {
			err = errors.New(text)
		}
		return err
	})
}

// scene is a state to show.
type scene struct {
	name   string
	dark   bool
	change func(*localv1.Status)
	want   string
	hover  []string
}

var scenes = []scene{
	{"connected", false, func(*localv1.Status) {}, "Connected to", []string{"web.coder", "Copy the name"}},
	{"connecting", false, func(s *localv1.Status) {
		s.State, s.CanaryOk, s.ControlConnected, s.HomeRelay, s.Agents = localv1.State_STARTING, false, false, nil, nil
	}, "Connecting to", []string{"Disconnect"}},
	{"degraded", false, func(s *localv1.Status) {
		s.State, s.ControlConnected = localv1.State_DEGRADED, false
		s.Agents[3].Reachable = false
		s.Agents[2].WorkspaceStatus = "stopped"
		s.Problems = []*localv1.Problem{{
			Code: "control-unreachable", Cause: "dial coder.example.com: connection refused, for 4 minutes", Remedy: "check the network; known names and open sessions go on",
		}}
	}, "Degraded", []string{"    →"}},
	{"off", false, func(s *localv1.Status) {
		s.State, s.WantedUp, s.Interface, s.Agents = localv1.State_DOWN, false, "", nil
	}, "Disconnected", []string{"Connect"}},
	{"signed-out", false, func(s *localv1.Status) {
		*s = localv1.Status{State: localv1.State_SIGNED_OUT, View: localv1.View_FULL}
	}, "Not signed in", []string{"Sign in"}},
	{"failed", false, func(s *localv1.Status) {
		s.State, s.Interface, s.Agents = localv1.State_FAILED, "", nil
		s.Problems = []*localv1.Problem{{Code: "tun-failed", Cause: "open TUN device causeway0: the name is taken", Remedy: "choose another with --interface"}}
	}, "Failed", []string{"⚠"}},
	{"other-user", true, func(s *localv1.Status) {
		*s = localv1.Status{State: localv1.State_CONNECTED, View: localv1.View_SUMMARY, WantedUp: true, Owner: "bob", Profile: ""}
	}, "Connected by bob", []string{"Profile", "lab"}},
	{"connected-dark", true, func(*localv1.Status) {}, "Connected to", []string{"api.coder", "Open a terminal"}},
}

// TestScreenshots shows each state on a real panel.
func TestScreenshots(t *testing.T) {
	needRig(t)
	dir := os.Getenv("CAUSEWAY_SCREENSHOTS")
	if dir == "" {
		dir = t.TempDir()
	}
	for _, dark := range []bool{false, true} {
		s, d := onDesktop(t, dark, &localv1.Status{State: localv1.State_DOWN})
		s.start()
		icon := d.Icon()
		for _, scene := range scenes {
			if scene.dark != dark {
				continue
			}
			s.daemon.Change(func(status *localv1.Status) {
				*status = *Connected() //nolint:govet // nobody holds the lock of a message that is made here
				scene.change(status)
			})
			icon.Want(t, scene.want)
			d.shoot(icon, filepath.Join(dir, "tray-"+scene.name+".png"), scene.hover...)
		}
		if !dark {
			s.daemon.Change(func(status *localv1.Status) { *status = *Connected() }) //nolint:govet // as above
			icon.Want(t, "Connected to")
			s.daemon.Stop()
			icon.Want(t, "The Causeway service does not answer")
			d.shoot(icon, filepath.Join(dir, "tray-no-service.png"), "⚠")
			d.notification(filepath.Join(dir, "tray-notification.png"))
		}
		s.tray.Kill()
		d.KillPanel()
	}
}

// shoot writes the part of the screen that the menu takes.
func (d *Desktop) shoot(icon *Icon, path string, hover ...string) {
	d.t.Helper()
	menus := d.Hover(icon, hover...)
	left, bottom := screenWidth, 0
	for _, menu := range menus {
		left, bottom = min(left, menu.x), max(bottom, menu.y+menu.height)
	}
	left, bottom = max(0, left-30), min(screenHeight, bottom+20)
	d.settled(path)
	d.must("convert", path, "-crop", fmt.Sprintf("%dx%d+%d+0", screenWidth-left, bottom, left), "+repage", "-strip", "+dither", "-colors", "250", "PNG8:"+path)
	d.CloseMenu()
}

// settled writes the screen when it has stopped changing.
func (d *Desktop) settled(path string) {
	d.t.Helper()
	before := ""
	Eventually(d.t, "a screen that stays", func() error {
		d.Screenshot(path)
		sum := strings.Fields(d.must("sha256sum", path))[0]
		if same := before == sum; same {
			return nil
		}
		before = sum
		time.Sleep(150 * time.Millisecond)
		return errors.New("it changes")
	})
}

// notification waits for the one about the lost daemon.
func (d *Desktop) notification(path string) {
	d.t.Helper()
	w := d.opened(nil, "the notification")
	d.settled(path)
	left := max(0, w.x-30)
	d.must("convert", path, "-crop", fmt.Sprintf("%dx%d+%d+0", screenWidth-left, w.y+w.height+20, left), "+repage", "-strip", "+dither", "-colors", "250", "PNG8:"+path)
}
