//go:build unix

package hosts

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// systemEOL ends the lines of a file that has none yet.
const systemEOL = LF

// newMode is that of a hosts file that was missing: everybody resolves.
const newMode = 0o644

// SystemPath is the hosts file that the C library reads.
func SystemPath() string { return "/etc/hosts" }

// begin has nothing to do: the lock on the temporary file is enough, for it
// lasts until that file has its final name.
func begin(string) (end func(), err error) { return func() {}, nil }

// openTemp opens and locks the temporary file. Whoever holds the lock of the
// file that has this name may do with it what it likes.
func openTemp(name string) (*os.File, error) {
	for range maxRaces {
		file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
		if err != nil {
			return nil, err
		}
		if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			file.Close()
			return nil, errBusy
		}
		opened, err := file.Stat()
		if err != nil {
			file.Close()
			return nil, err
		}
		if named, err := os.Lstat(name); err == nil && os.SameFile(opened, named) {
			if !opened.Mode().IsRegular() {
				file.Close()
				return nil, errNotRegular
			}
			return file, nil
		}
		file.Close() // renamed or removed by its last owner before we had the lock
	}
	return nil, errBusy
}

// labels are the extended attributes that decide who may read the file.
var labels = []string{"security.selinux", "system.posix_acl_access"}

// dress gives the new file the owner, mode and labels of the old one.
func dress(temp *os.File, target string, old fs.FileInfo) error {
	if old == nil {
		return temp.Chmod(newMode) // explicit, for the umask
	}
	if stat, ok := old.Sys().(*syscall.Stat_t); ok {
		// Without the right to give files away the owner stays ours: less bad
		// than no names.
		if err := temp.Chown(int(stat.Uid), int(stat.Gid)); err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
	}
	if err := temp.Chmod(old.Mode().Perm()); err != nil {
		return err
	}
	for _, label := range labels {
		value := make([]byte, 4096)
		n, err := unix.Getxattr(target, label, value)
		if err != nil {
			continue // none, or a file system without
		}
		if err := unix.Fsetxattr(int(temp.Fd()), label, value[:n], 0); err != nil && !errors.Is(err, fs.ErrPermission) {
			return &fs.PathError{Op: "set " + label, Path: temp.Name(), Err: err}
		}
	}
	return nil
}

func rename(temp *os.File, target string) error { return os.Rename(temp.Name(), target) }

// cannotReplace is whether writing in place may do what replacing could not:
// the file is a mount point (EBUSY, EXDEV), or nothing may be made beside it.
func cannotReplace(err error) bool {
	for _, number := range []error{unix.EBUSY, unix.EXDEV, unix.EROFS, unix.EACCES, unix.EPERM} {
		if errors.Is(err, number) {
			return true
		}
	}
	return false
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil && !errors.Is(err, unix.EINVAL) {
		return err
	}
	return nil
}
