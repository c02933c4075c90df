package traytest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/causewayhq/causeway/internal/rig"
	"github.com/causewayhq/causeway/internal/testnet"
	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

// realDaemon is a whole Causeway whose daemon serves a socket that this side of
// the network namespaces sees too.
func realDaemon(t *testing.T) (stack *rig.Stack, socket string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	bin := os.Getenv("CAUSEWAY_BIN")
	dir, err := os.MkdirTemp("/var/tmp", "causeway-tray-") // hosts have a /tmp of their own
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if bin == "" {
		bin = dir
		if err := rig.Build(ctx, bin); err != nil {
			t.Fatal(err)
		}
	}
	socket = filepath.Join(dir, "causeway.sock")
	t.Setenv("CAUSEWAY_SOCKET", socket)
	net, err := testnet.New(ctx, testnet.EasyNAT, testnet.EasyNAT)
	if err != nil {
		t.Fatal(err)
	}
	stack = rig.New(net, bin, t.TempDir())
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(stack.Logs())
		}
		if err := errors.Join(stack.Close(), net.Close()); err != nil {
			t.Error(err)
		}
	})
	if err := stack.StartAll(ctx); err != nil {
		t.Fatal(err)
	}
	return stack, socket
}

// wantState waits for a state as the daemon itself tells it.
func wantState(t *testing.T, socket string, wantedUp bool, states ...localv1.State) {
	t.Helper()
	Eventually(t, fmt.Sprintf("the state %v", states), func() error {
		client, err := localapi.Dial(t.Context(), socket)
		if err != nil {
			return err
		}
		defer client.Close()
		status, err := client.GetStatus(t.Context(), &localv1.GetStatusRequest{})
		if err != nil {
			return err
		}
		for _, state := range states {
			if status.GetState() == state && status.GetWantedUp() == wantedUp {
				return nil
			}
		}
		return fmt.Errorf("state %v, wanted up %v, %v", status.GetState(), status.GetWantedUp(), status.GetProblems())
	})
}

// TestRealDaemonObeys: a real causewayd, with a server and an agent behind it, does
// what is clicked over D-Bus and with the pointer, through restarts of the panel
// and of itself.
func TestRealDaemonObeys(t *testing.T) {
	needRig(t)
	stack, socket := realDaemon(t)
	d := StartDesktop(t, false)
	s := &session{t: t, home: d.Home, output: &output{}, env: append(d.Env, "CAUSEWAY_SOCKET="+socket, "TERMINAL=xterm", "PATH="+filepath.Dir(stack.Path("causeway"))+":"+os.Getenv("PATH"))}
	s.start()
	s.icon = d.Icon()
	s.icon.Want(t, "Disconnected")
	up := []localv1.State{localv1.State_CONNECTED}

	d.Click(s.icon, "Connect")
	wantState(t, socket, true, up...)
	s.icon.Want(t, "Connected to "+strings.TrimPrefix(stack.URL, "http://"))
	s.wantPicture("connected")
	if _, err := stack.Causeway(t.Context(), "ping", rig.Name, "-c", "1", "--timeout", "20s"); err != nil {
		t.Fatal(err)
	}
	s.icon.Want(t, strings.Split(rig.Name, ".")[1])
	d.Click(s.icon, "Connected to")
	// Its end by the user is no failure, so that the window closes.
	if err := syscall.Kill(wantProgram(t, "causeway", "--socket", socket, "status", "--watch"), syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	Eventually(t, "the end of the terminal", func() error {
		now, err := d.windows()
		if err == nil && len(now) > 0 {
			err = fmt.Errorf("windows: %v", now)
		}
		return err
	})
	d.Click(s.icon, "Disconnect")
	wantState(t, socket, false, localv1.State_DOWN)
	s.icon.Want(t, "Disconnected")
	s.icon.Click(t, "Connect")
	wantState(t, socket, true, up...)
	s.wantPicture("connected")

	d.KillPanel()
	d.StartPanel()
	s.icon = d.Icon()
	s.wantPicture("connected")
	d.Click(s.icon, "Disconnect")
	wantState(t, socket, false, localv1.State_DOWN)
	s.icon.Want(t, "Disconnected")
	s.icon.Click(t, "Connect")
	wantState(t, socket, true, up...)

	if err := stack.Daemon.Stop(); err != nil {
		t.Fatal(err)
	}
	s.icon.Want(t, "The Causeway service does not answer")
	s.wantPicture("error")
	if err := stack.StartDaemon(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantState(t, socket, true, up...)
	s.icon.Want(t, "Connected to")
	s.wantPicture("connected")
	d.Click(s.icon, "Sign out")
	wantState(t, socket, false, localv1.State_SIGNED_OUT)
	s.icon.Want(t, "Not signed in")
	s.wantPicture("off")
	d.Click(s.icon, "Quit")
	if code := s.tray.Wait(t); code != 0 {
		t.Errorf("Quit ended with code %d", code)
	}
}

// wantProgram waits for a process with this command line, in a terminal window.
func wantProgram(t *testing.T, words ...string) (pid int) {
	t.Helper()
	want := strings.Join(words, "\x00") + "\x00"
	Eventually(t, fmt.Sprintf("the program %q", words), func() error {
		found, err := filepath.Glob("/proc/[0-9]*/cmdline")
		if err != nil {
			return err
		}
		for _, path := range found {
			if line, err := os.ReadFile(path); err == nil && string(line) == want {
				terminal, err := os.Readlink(filepath.Join(filepath.Dir(path), "fd/1"))
				if err != nil || !strings.HasPrefix(terminal, "/dev/pts/") {
					return fmt.Errorf("it writes to %s: %w", terminal, err)
				}
				pid, err = strconv.Atoi(filepath.Base(filepath.Dir(path)))
				return err
			}
		}
		return errors.New("no such process")
	})
	return pid
}
