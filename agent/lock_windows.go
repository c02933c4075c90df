package agent

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/windows"
)

func lockFile(file *os.File) error {
	err := windows.LockFileEx(windows.Handle(file.Fd()),
		windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &windows.Overlapped{})
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return errHeld
	}
	return err
}

// checkMode has nothing to look at: modes say nothing on Windows, where a
// user's profile is closed to others by inherited rules.
func checkMode(path string, _ fs.FileMode) error {
	_, err := os.Stat(path)
	return err
}
