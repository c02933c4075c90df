package service

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// DeviceName is what the TUN device's descriptor is called in the store.
	DeviceName = "tun"
	// firstInherited is SD_LISTEN_FDS_START of sd_listen_fds(3).
	firstInherited = 3
	// maxInherited bounds the descriptors that are believed to be there;
	// systemd's own default for FileDescriptorStoreMax= is 0, ours is 4.
	maxInherited = 64
)

// Manager is the service manager's descriptor store (sd_pid_notify_with_fds(3)).
type Manager struct{ address string }

// OpenManager finds the manager that started this process; nil without one.
func OpenManager(lookupEnv func(string) (string, bool)) *Manager {
	if path, ok := lookupEnv("NOTIFY_SOCKET"); ok && path != "" {
		return &Manager{address: path}
	}
	return nil
}

// Keep hands a duplicate of the TUN device's descriptor over. A manager that
// has no store drops it without a word.
func (m *Manager) Keep(fd int) error {
	if err := m.send("FDSTORE=1\nFDNAME="+DeviceName, fd); err != nil {
		return fmt.Errorf("store descriptor %d: %w", fd, err)
	}
	return nil
}

// Forget has the stored descriptors dropped and waits until they are.
func (m *Manager) Forget() error {
	if err := m.send("FDSTOREREMOVE=1\nFDNAME="+DeviceName, -1); err != nil {
		return fmt.Errorf("remove stored descriptor: %w", err)
	}
	if err := m.barrier(); err != nil {
		return fmt.Errorf("wait for the service manager: %w", err)
	}
	return nil
}

// barrier waits until the manager has dealt with all that was sent before
// (sd_notify_barrier(3)): it closes the end of a pipe that it is given. So does
// one that is too old to know it.
func (m *Manager) barrier() error {
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		return err
	}
	defer unix.Close(ends[0])
	err := m.send("BARRIER=1", ends[1])
	_ = unix.Close(ends[1])
	if err != nil {
		return err
	}
	poll := []unix.PollFd{{Fd: int32(ends[0])}}
	for deadline := time.Now().Add(managerTimeout); ; {
		left := time.Until(deadline)
		if left <= 0 {
			return os.ErrDeadlineExceeded
		}
		n, err := unix.Poll(poll, int(left.Milliseconds())+1)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return err
		case n > 0:
			return nil
		}
	}
}

// send sends one message, with a descriptor unless it is -1. Not by package
// net, whose sockets refuse a descriptor once they are connected.
func (m *Manager) send(text string, fd int) error {
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	limit := unix.NsecToTimeval(managerTimeout.Nanoseconds())
	if err := unix.SetsockoptTimeval(socket, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit); err != nil {
		return err
	}
	var rights []byte
	if fd >= 0 {
		rights = unix.UnixRights(fd)
	}
	for {
		err := unix.Sendmsg(socket, []byte(text), rights, &unix.SockaddrUnix{Name: m.address}, unix.MSG_NOSIGNAL)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// Inherited takes the TUN device's descriptors of the environment (LISTEN_FDS,
// LISTEN_FDNAMES): those that the last process left in the store. Children do
// not get them, and descriptors of other names are closed. The environment
// stays for the caller to unset, with Inheritance.
func Inherited(lookupEnv func(string) (string, bool), pid int, log *slog.Logger) []int {
	owner, _ := lookupEnv("LISTEN_PID")
	count, _ := lookupEnv("LISTEN_FDS")
	names, _ := lookupEnv("LISTEN_FDNAMES")
	return inherited(owner, count, names, pid, firstInherited, log)
}

// Inheritance are the variables that Inherited reads.
var Inheritance = []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}

func inherited(owner, count, names string, pid, first int, log *slog.Logger) []int {
	if meant, err := strconv.Atoi(owner); err != nil || meant != pid {
		return nil // meant for another process, or for none
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 || n > maxInherited {
		log.Warn("inherited descriptors are ignored", slog.String("LISTEN_FDS", count))
		return nil
	}
	var devices []int
	called := strings.Split(names, ":")
	for i := range n {
		fd := first + i
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
			log.Warn("inherited descriptor is not open", slog.Int("descriptor", fd))
			continue
		}
		if i < len(called) && called[i] == DeviceName {
			devices = append(devices, fd)
			continue
		}
		log.Warn("inherited descriptor is not ours and is closed", slog.Int("descriptor", fd))
		_ = unix.Close(fd)
	}
	return devices
}
