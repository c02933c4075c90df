//go:build unix

package config

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// checkWriters refuses a file that group or world can write, or that belongs to
// somebody whom this process does not trust: root's daemon trusts root alone.
func checkWriters(path string, info fs.FileInfo) error {
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return fmt.Errorf("mode %#o lets others write it; run: chmod go-w %s", mode, path)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if ok && stat.Uid != 0 && int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("it belongs to uid %d; run: chown root %s", stat.Uid, path)
	}
	return nil
}
