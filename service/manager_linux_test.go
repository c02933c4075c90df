package service

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fakeManager is a service manager's socket; it hands out what came.
type fakeManager struct {
	conn  *net.UnixConn
	told  chan string
	fds   chan int
	holds bool // keeps what a barrier gave it
}

func newFakeManager(t *testing.T, holds bool) (*fakeManager, *Manager) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeManager{conn: conn, told: make(chan string, 16), fds: make(chan int, 16), holds: holds}
	done := make(chan struct{})
	go func() { defer close(done); f.serve() }()
	t.Cleanup(func() {
		_ = conn.Close()
		<-done
		close(f.fds)
		for fd := range f.fds {
			_ = unix.Close(fd)
		}
	})
	manager := OpenManager(func(name string) (string, bool) { return path, name == "NOTIFY_SOCKET" })
	return f, manager
}

func (f *fakeManager) serve() {
	text, rights := make([]byte, 4096), make([]byte, 1024)
	for {
		n, m, _, _, err := f.conn.ReadMsgUnix(text, rights)
		if err != nil {
			return
		}
		said := string(text[:n])
		messages, _ := unix.ParseSocketControlMessage(rights[:m])
		for _, message := range messages {
			fds, _ := unix.ParseUnixRights(&message)
			for _, fd := range fds {
				if said == "BARRIER=1" && !f.holds {
					_ = unix.Close(fd)
					continue
				}
				f.fds <- fd
			}
		}
		f.told <- said
	}
}

func TestManagerKeepsADescriptor(t *testing.T) {
	f, manager := newFakeManager(t, false)
	file, err := os.CreateTemp(t.TempDir(), "x")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := manager.Keep(int(file.Fd())); err != nil {
		t.Fatal(err)
	}
	if got := <-f.told; got != "FDSTORE=1\nFDNAME=tun" {
		t.Errorf("told %q", got)
	}
	got := <-f.fds
	var a, b unix.Stat_t
	if unix.Fstat(got, &a) != nil || unix.Fstat(int(file.Fd()), &b) != nil || a.Ino != b.Ino {
		t.Error("another file arrived")
	}
	_ = unix.Close(got)
	if err := manager.Forget(); err != nil {
		t.Fatal(err)
	}
	if first, second := <-f.told, <-f.told; first != "FDSTOREREMOVE=1\nFDNAME=tun" || second != "BARRIER=1" {
		t.Errorf("told %q, %q", first, second)
	}
}

// Each way in which the store is not there is an error and never a wait.
func TestManagerRefuses(t *testing.T) {
	if OpenManager(func(string) (string, bool) { return "", false }) != nil {
		t.Error("a manager out of nowhere")
	}
	gone := &Manager{address: filepath.Join(t.TempDir(), "gone")}
	if err := gone.Keep(0); !errors.Is(err, unix.ENOENT) {
		t.Errorf("no socket: %v", err)
	}
	if err := gone.Forget(); !errors.Is(err, unix.ENOENT) {
		t.Errorf("no socket: %v", err)
	}
	f, manager := newFakeManager(t, true)
	if err := manager.Keep(1 << 20); !errors.Is(err, unix.EBADF) {
		t.Errorf("a descriptor that is not open: %v", err)
	}
	if err := manager.send(strings.Repeat("x", 8<<20), -1); !errors.Is(err, unix.EMSGSIZE) {
		t.Errorf("a message that is too long: %v", err)
	}
	began := time.Now()
	if err := manager.Forget(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a manager that never comes to it: %v", err)
	}
	if took := time.Since(began); took < managerTimeout || took > 5*managerTimeout {
		t.Errorf("waited %v", took)
	}
	_ = f
	// Nobody reads: the socket's queue is full, and the message is given up.
	path := filepath.Join(t.TempDir(), "deaf")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	deaf := &Manager{address: path}
	for range 1000 {
		if err = deaf.send("x", -1); err != nil {
			break
		}
	}
	if !errors.Is(err, unix.EAGAIN) {
		t.Errorf("a manager that does not read: %v", err)
	}
}

func TestInherited(t *testing.T) {
	// Far from the descriptors of the test itself.
	const first = 200
	open := func(n int) {
		for i := range n {
			if err := unix.Dup3(0, first+i, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	isOpen := func(fd int) bool { _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); return err == nil }
	for name, test := range map[string]struct {
		owner, count, names string
		open                int
		want                []int
		left                int // descriptors that are open afterwards
	}{
		"none":            {"", "", "", 0, nil, 0},
		"ours":            {"77", "1", "tun", 1, []int{first}, 1},
		"another's":       {"78", "1", "tun", 1, nil, 1},
		"two of ours":     {"77", "2", "tun:tun", 2, []int{first, first + 1}, 2},
		"one is not ours": {"77", "3", "tun:stored:tun", 3, []int{first, first + 2}, 2},
		"without a name":  {"77", "2", "tun", 2, []int{first}, 1},
		"not open":        {"77", "2", "tun:tun", 1, []int{first}, 1},
		"not a number":    {"77", "many", "tun", 1, nil, 1},
		"too many":        {"77", "65", strings.Repeat("tun:", 65), 1, nil, 1},
		"negative":        {"77", "-1", "tun", 1, nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			open(test.open)
			defer func() {
				for i := range test.open {
					_ = unix.Close(first + i)
				}
			}()
			got := inherited(test.owner, test.count, test.names, 77, first, slog.New(slog.DiscardHandler))
			if !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
			left := 0
			for i := range test.open {
				if isOpen(first + i) {
					left++
				}
			}
			if left != test.left {
				t.Errorf("%d are open, want %d", left, test.left)
			}
			for _, fd := range got {
				if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
					t.Errorf("children get descriptor %d", fd)
				}
			}
		})
	}
}
