package system

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

const (
	// logSize is when a log is put aside, in bytes; with the two that are kept,
	// three times as much is the most that logs take.
	logSize = 5 << 20
	logKept = 2
)

// LogFile is a log that is bounded: when it is full it becomes NAME.1, and that
// NAME.2. It is for systems whose service manager keeps no log.
type LogFile struct {
	mu   sync.Mutex
	path string
	file *os.File
	size int64
	full int64
}

// OpenLog goes on with the log in that directory, which is made if it is missing.
func OpenLog(dir, name string) (*LogFile, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	log := &LogFile{path: filepath.Join(dir, name), full: logSize}
	if err := log.open(); err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	return log, nil
}

func (l *LogFile) open() error {
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

// Write adds an entry. One that the disk does not take is lost, and the next is
// tried again.
func (l *LogFile) Write(entry []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil || l.size+int64(len(entry)) > l.full && l.size > 0 {
		if err := l.turn(); err != nil {
			return 0, err
		}
	}
	n, err := l.file.Write(entry)
	l.size += int64(n)
	return n, err
}

// turn puts the log aside and begins another. A log that something holds open
// is gone on with: too long is better than lost.
func (l *LogFile) turn() error {
	if l.file != nil {
		l.file.Close()
		l.file = nil
	}
	for n := logKept; n > 0; n-- {
		from := l.path
		if n > 1 {
			from = fmt.Sprintf("%s.%d", l.path, n-1)
		}
		_ = os.Rename(from, fmt.Sprintf("%s.%d", l.path, n)) // there may be none
	}
	return l.open()
}

// Close ends the log.
func (l *LogFile) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}
