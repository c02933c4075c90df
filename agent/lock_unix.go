//go:build unix

package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

func lockFile(file *os.File) error {
	err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return errHeld
	}
	return err
}

// checkMode refuses a path that gives others a right among the unwanted.
func checkMode(path string, unwanted fs.FileMode) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if mode := info.Mode().Perm(); mode&unwanted != 0 {
		return fmt.Errorf("%s is open to other users (mode %04o); run: chmod go-rwx %s", path, mode, path)
	}
	return nil
}
