package service

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/causewayhq/causeway/localapi"
)

// usersDir is where logind keeps a file for each user who has something to do
// with this machine; libsystemd's sd_uid_get_state(3) and sd_login_monitor_new(3)
// read and watch the same.
const usersDir = "/run/systemd/users"

// SystemSessions is Sessions by logind.
func SystemSessions(ctx context.Context, user localapi.User) (present bool, changed <-chan struct{}, err error) {
	return logindSessions(ctx, usersDir, user)
}

func logindSessions(ctx context.Context, dir string, user localapi.User) (bool, <-chan struct{}, error) {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return false, nil, fmt.Errorf("%w: logind does not run", errNoSessions)
	}
	name := strconv.FormatUint(uint64(user.UID), 10)
	// Watched before it is read, so that no change falls between.
	changed, stop, err := watchEntry(ctx, dir, name)
	if err != nil {
		return false, nil, err
	}
	present, err := loggedIn(filepath.Join(dir, name))
	if err != nil {
		stop()
		return false, nil, err
	}
	return present, changed, nil
}

// loggedIn reads the user's state: active and online are with a session,
// lingering is only with services, closing and offline are on the way out.
func loggedIn(path string) (bool, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read sessions: %w", err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if state, found := strings.CutPrefix(lines.Text(), "STATE="); found {
			return state == "active" || state == "online", nil
		}
	}
	if err := lines.Err(); err != nil {
		return false, fmt.Errorf("read sessions: %w", err)
	}
	return false, nil
}

// watchEntry closes changed at the first change of one entry of a directory:
// logind renames a new file into its place.
func watchEntry(ctx context.Context, dir, name string) (changed <-chan struct{}, stop func(), err error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, nil, fmt.Errorf("watch %s: %w", dir, err)
	}
	// Non-blocking, so that closing it ends a read.
	events := os.NewFile(uintptr(fd), "inotify")
	const mask = unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE | unix.IN_CLOSE_WRITE | unix.IN_DELETE_SELF | unix.IN_ONLYDIR
	if _, err := unix.InotifyAddWatch(fd, dir, mask); err != nil {
		events.Close()
		return nil, nil, fmt.Errorf("watch %s: %w", dir, err)
	}
	closing := context.AfterFunc(ctx, func() { events.Close() })
	stop = func() {
		if closing() {
			events.Close()
		}
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		defer stop()
		buffer := make([]byte, 4096)
		for {
			n, err := events.Read(buffer)
			if err != nil || mentions(buffer[:n], name) {
				return
			}
		}
	}()
	return closed, stop, nil
}

// mentions says whether one of the events (inotify(7)) is about the name, or
// about the directory itself.
func mentions(events []byte, name string) bool {
	for len(events) >= unix.SizeofInotifyEvent {
		length := int(binary.NativeEndian.Uint32(events[12:]))
		end := min(unix.SizeofInotifyEvent+length, len(events))
		about := strings.TrimRight(string(events[unix.SizeofInotifyEvent:end]), "\x00")
		if about == "" || about == name {
			return true
		}
		events = events[end:]
	}
	return false
}
