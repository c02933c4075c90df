package service

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
)

const (
	crashFile   = "crash.log"
	crashBefore = "crash.1.log"
	// maxCrash is what is kept of an older crash, in bytes.
	maxCrash = maxStacks
)

// Crash is the file that takes the stacks of a daemon that crashes: by a panic,
// by the service manager's watchdog (SIGABRT), or by SIGQUIT. Go writes them to
// standard error too.
type Crash struct {
	// Earlier is the file with what the last daemon that crashed left; "": none
	// has since it was looked for.
	Earlier string
	file    *os.File
}

// KeepCrash makes the state directory if need be and has stacks written into
// it. The stacks of the last crash are kept beside, and no more.
func KeepCrash(stateDir string) (*Crash, error) {
	dir, err := OpenStateDir(stateDir)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	crash := &Crash{}
	path, before := filepath.Join(stateDir, crashFile), filepath.Join(stateDir, crashBefore)
	if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() && info.Size() > 0 {
		if err := errors.Join(os.Rename(path, before), cut(before)); err != nil {
			return nil, fail(FailureState, "", "keep stacks of the last crash: %w", err)
		}
		crash.Earlier = before
	}
	crash.file, err = os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND|os.O_TRUNC|noFollow, 0o600)
	if err != nil {
		return nil, fail(FailureState, "make the directory writable for this user", "open file for stacks: %w", err)
	}
	if err := debug.SetCrashOutput(crash.file, debug.CrashOptions{}); err != nil {
		return nil, errors.Join(fail(FailureState, "", "have stacks written to %s: %w", path, err), crash.file.Close())
	}
	return crash, nil
}

// cut bounds a file.
func cut(path string) error {
	info, err := os.Lstat(path)
	if err != nil || info.Size() <= maxCrash {
		return err
	}
	return os.Truncate(path, maxCrash)
}

// Write adds stacks that the daemon wrote itself, of a shutdown that hangs.
func (c *Crash) Write(stacks []byte) (int, error) {
	n, err := c.file.Write(stacks)
	if err != nil {
		return n, fmt.Errorf("keep stacks: %w", err)
	}
	return n, c.file.Sync()
}

// Close ends it: this daemon has not crashed.
func (c *Crash) Close() error {
	return errors.Join(debug.SetCrashOutput(nil, debug.CrashOptions{}), c.file.Close())
}
