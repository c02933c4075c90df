//go:build unix

package cli

import (
	"fmt"
	"io/fs"
	"os"
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
