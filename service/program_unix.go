//go:build unix

package service

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// checkProgram refuses to run what somebody else could have put there: the file
// and each directory above it belong to root or to this user, and nobody else
// can write them (but a sticky directory, where nobody removes another's file).
func checkProgram(path string) error {
	resolved, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	for at := resolved; ; at = filepath.Dir(at) {
		info, err := os.Lstat(at)
		if err != nil {
			return err
		}
		if at == resolved && !info.Mode().IsRegular() {
			return fmt.Errorf("%s is not a regular file", at)
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		if ok && stat.Uid != 0 && int(stat.Uid) != os.Geteuid() {
			return fmt.Errorf("%s belongs to uid %d", at, stat.Uid)
		}
		if mode := info.Mode(); mode.Perm()&0o022 != 0 && (at == resolved || mode&fs.ModeSticky == 0) {
			return fmt.Errorf("others can write %s (mode %#o)", at, mode.Perm())
		}
		if at == filepath.Dir(at) {
			return nil
		}
	}
}
