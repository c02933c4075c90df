package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const lockName = "server.lock"

// errHeld is what lockFile reports when somebody else holds the lock.
var errHeld = errors.New("lock is held")

// Lock marks a data directory as served. The operating system drops it when
// the process ends, however that happens.
type Lock struct{ file *os.File }

// LockDir takes the lock of a data directory without waiting. The error wraps
// ErrInUse, and names the process, when another server holds it.
func LockDir(dataDir string) (*Lock, error) {
	path := filepath.Join(dataDir, lockName)
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock data directory %s: %w", dataDir, pathCause(err))
	}
	if err := lockFile(file); err != nil {
		holder, _ := os.ReadFile(path)
		file.Close()
		if !errors.Is(err, errHeld) {
			return nil, fmt.Errorf("lock data directory %s: %w", dataDir, err)
		}
		return nil, fmt.Errorf("lock data directory %s: %w%s; stop it or choose another --data-dir", dataDir, ErrInUse, holderText(string(holder)))
	}
	// The number only serves the message of the next one who tries.
	if err := errors.Join(file.Truncate(0), writePID(file)); err != nil {
		file.Close()
		return nil, fmt.Errorf("lock data directory %s: %w", dataDir, pathCause(err))
	}
	return &Lock{file}, nil
}

func writePID(file *os.File) error {
	_, err := file.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

func holderText(content string) string {
	if pid, err := strconv.Atoi(strings.TrimSpace(content)); err == nil {
		return fmt.Sprintf(" (pid %d)", pid)
	}
	return ""
}

// Close gives the lock back.
func (l *Lock) Close() error { return l.file.Close() }
