//go:build unix

package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// trustLink refuses a link that somebody else has laid: with sudo it could lead
// to a file that is none of theirs.
func trustLink(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Uid != 0 && int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("follow %s: the link belongs to another user (uid %d)", path, stat.Uid)
	}
	return nil
}

// keepOwner gives the file that takes the place of another the same owner.
func keepOwner(next *os.File, before fs.FileInfo) error {
	stat, ok := before.Sys().(*syscall.Stat_t)
	if !ok || int(stat.Uid) == os.Geteuid() && int(stat.Gid) == os.Getegid() {
		return nil
	}
	return next.Chown(int(stat.Uid), int(stat.Gid))
}

// makeDir makes a directory for its owner alone, and those above it that are
// not there. New ones belong to whom the one above belongs to: with sudo the
// user could not write into them otherwise.
func makeDir(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrNotExist) && filepath.Dir(dir) != dir {
		if err := makeDir(filepath.Dir(dir)); err != nil {
			return err
		}
		err = os.Mkdir(dir, 0o700)
	}
	if errors.Is(err, fs.ErrExist) {
		return os.MkdirAll(dir, 0o700) // which complains of what is none
	}
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return nil
	}
	return adopt(dir)
}

// adopt gives a directory that root has just made to whom the one above belongs
// to, but for /tmp and its like.
func adopt(dir string) error {
	above, err := os.Stat(filepath.Dir(dir))
	if err != nil {
		return err
	}
	stat, ok := above.Sys().(*syscall.Stat_t)
	if !ok || above.Mode()&fs.ModeSticky != 0 {
		return nil
	}
	// Nothing but a directory, whatever that user puts in its place meanwhile.
	made, err := os.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer made.Close()
	return made.Chown(int(stat.Uid), int(stat.Gid))
}

// knownHostsCommandWorks says that the system's ssh can ask a program for keys.
const knownHostsCommandWorks = true
