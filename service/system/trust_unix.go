//go:build unix

package system

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/causewayhq/causeway/service"
)

// trusted refuses a program that root would run and others could replace: each
// directory on its way, and itself, has to be root's, and nobody else's to write.
// It gives the path that was looked at, which has no links: one on the way could
// be turned elsewhere later.
func trusted(path string) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", fmt.Errorf("check program: %w", err)
	}
	if err := visible(real); err != nil {
		return "", err
	}
	for at := real; ; at = filepath.Dir(at) {
		info, err := os.Lstat(at)
		if err != nil {
			return "", fmt.Errorf("check program: %w", err)
		}
		if why := loose(info); why != "" {
			return "", &service.Error{
				Failure: service.FailureService, Remedy: "copy causewayd and causeway to /usr/local/bin as root, and run that one",
				Err: fmt.Errorf("install service: %s, which root would run: %s %s", path, at, why),
			}
		}
		if at == filepath.Dir(at) {
			return real, nil
		}
	}
}

// loose says why somebody besides root could change it. In a sticky directory
// only the owner of a file replaces it.
func loose(info fs.FileInfo) string {
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && owner.Uid != 0 {
		return fmt.Sprintf("belongs to the user %d", owner.Uid)
	}
	if info.Mode().Perm()&0o022 != 0 && (!info.IsDir() || info.Mode()&fs.ModeSticky == 0) {
		return "can be written by others than root"
	}
	return ""
}
