package script

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/causewayhq/causeway/agent/login"
)

// logFileLimit is where a log file ends and a new one begins, in bytes; the one
// before it is kept beside it, with oldSuffix.
const (
	logFileLimit = 32 << 20
	oldSuffix    = ".1"
)

// logPath is where a script's own log file is.
func (r *Runner) logPath(path string) string {
	path = os.ExpandEnv(path)
	if path == "~" || strings.HasPrefix(path, "~/") {
		return filepath.Join(login.Current().Home, path[1:])
	}
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(r.config.LogDirectory, path)
}

// logFile takes the output as it is, of all streams of a script.
type logFile struct {
	path string

	mu    sync.Mutex
	file  *os.File // nil: it failed
	size  int64
	users int
}

// openLog opens a log file for users who each close it once.
func openLog(path string, users int) (*logFile, error) {
	l := &logFile{path: path, users: users}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("open log file: %w", err)
	}
	if err := l.open(); err != nil {
		return nil, fmt.Errorf("open log file: %w", err)
	}
	return l, nil
}

// open refuses what is there and no file: a pipe that nobody reads would block.
func (l *logFile) open() error {
	if info, err := os.Stat(l.path); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no file", l.path)
	}
	file, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return err
	}
	l.file, l.size = file, info.Size()
	return nil
}

func (l *logFile) Write(data []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size > 0 && l.size+int64(len(data)) > logFileLimit {
		if err := l.turn(); err != nil {
			return 0, err
		}
	}
	if l.file == nil {
		return 0, os.ErrClosed
	}
	count, err := l.file.Write(data)
	l.size += int64(count)
	return count, err
}

// turn begins a new file. Where that cannot be done, the log ends.
func (l *logFile) turn() error {
	if l.file != nil {
		l.file.Close()
		l.file = nil
	}
	l.size = 0
	if info, err := os.Lstat(l.path); err != nil || !info.Mode().IsRegular() {
		return fmt.Errorf("turn log file %s: it is no file any more", l.path)
	}
	if err := os.Rename(l.path, l.path+oldSuffix); err != nil {
		return fmt.Errorf("turn log file: %w", err)
	}
	return l.open()
}

func (l *logFile) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.users--; l.users > 0 || l.file == nil {
		return nil
	}
	return l.file.Close()
}
