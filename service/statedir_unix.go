//go:build unix

package service

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// noFollow refuses to open what a symbolic link points to.
const noFollow = unix.O_NOFOLLOW

func makeStateDir(path string) error { return os.MkdirAll(path, 0o700) }

func lock(file *os.File) error {
	err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return errLocked
	}
	return err
}

// checkOwner refuses a directory in which others could put files under our feet.
func checkOwner(path string, info fs.FileInfo) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if ok && int(stat.Uid) != os.Geteuid() {
		return fail(FailureState, fmt.Sprintf("run: chown %d %s", os.Geteuid(), path),
			"check state directory %s: it belongs to uid %d", path, stat.Uid)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fail(FailureState, "run: chmod 700 "+path,
			"check state directory %s: mode %#o lets others in", path, info.Mode().Perm())
	}
	return nil
}

func syncDirectory(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("sync state directory: %w", err)
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("sync state directory %s: %w", path, err)
	}
	return nil
}
