package service

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

const lockFile = "lock"

// A daemon that is killed while it starts a program leaves a child that has all
// its descriptors, and so the lock, until that program runs: at most 60 ms in 300
// kills on two busy cores. The child lets the socket and the TUN device go then too.
const (
	lockFirst    = 5 * time.Millisecond
	lockFactor   = 2
	lockCap      = 100 * time.Millisecond
	lockDeadline = time.Second
)

// errLocked means that another process holds the lock.
var errLocked = errors.New("another daemon uses it")

// StateDir is a state directory that this process alone uses.
type StateDir struct {
	Path string
	lock *os.File
}

// OpenStateDir makes the directory if it is missing (0700), checks that it is
// ours alone, and locks it. The lock ends with Close or with the process.
func OpenStateDir(path string) (*StateDir, error) {
	if err := makeStateDir(path); err != nil {
		return nil, fail(FailureState, "choose another with --state-dir, or make room there", "make state directory: %w", err)
	}
	if err := checkStateDir(path); err != nil {
		return nil, err
	}
	// The lock's file stays when the lock is given up: removing it would let
	// two processes lock two files of the same name.
	file, err := os.OpenFile(filepath.Join(path, lockFile), os.O_RDWR|os.O_CREATE|noFollow, 0o600)
	if err != nil {
		return nil, fail(FailureState, "make the directory writable for this user", "lock state directory: %w", err)
	}
	if err := lockSoon(file); err != nil {
		file.Close()
		if errors.Is(err, errLocked) {
			return nil, fail(FailureState, "stop the other daemon (Ctrl-C where it runs, or "+stopService+" where it is installed as a service), or give this one its own --state-dir and --socket",
				"lock state directory %s: %w", path, err)
		}
		return nil, fail(FailureState, "", "lock state directory %s: %w", path, err)
	}
	return &StateDir{Path: path, lock: file}, nil
}

// lockSoon waits for a lock whose holder is about to end.
func lockSoon(file *os.File) error {
	deadline := time.Now().Add(lockDeadline)
	for pause := lockFirst; ; pause = min(pause*lockFactor, lockCap) {
		err := lock(file)
		if !errors.Is(err, errLocked) || time.Now().Add(pause).After(deadline) {
			return err
		}
		time.Sleep(pause)
	}
}

func checkStateDir(path string) error {
	info, err := os.Lstat(path)
	switch {
	case err != nil:
		return fail(FailureState, "", "check state directory: %w", err)
	case info.Mode()&fs.ModeSymlink != 0:
		return fail(FailureState, "name the directory itself with --state-dir", "check state directory %s: it is a symbolic link", path)
	case !info.IsDir():
		return fail(FailureState, "choose another with --state-dir", "check state directory %s: it is not a directory", path)
	}
	return checkOwner(path, info)
}

// Close gives the lock up.
func (d *StateDir) Close() error { return d.lock.Close() }
