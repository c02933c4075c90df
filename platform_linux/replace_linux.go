package platform

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// errRaced: the file is no longer what was read. Whoever changed it is told of
// by the watch, and then it is our turn again.
var errRaced = errors.New("another program changed it meanwhile")

// readText reads a small file of the host.
func readText(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxResolvConf+1))
	if err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	return string(content), nil
}

// replaceText makes a file hold after, if it still holds before; an empty
// before also stands for none. Symbolic links are followed, and stay. The file
// is replaced in one step; where that cannot be, as on a bind mount, it is
// written in place.
func replaceText(path, before, after string) error {
	target, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		target, err = path, nil
	}
	if err == nil {
		err = replaceTarget(target, before, after)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func replaceTarget(target, before, after string) error {
	info, err := os.Stat(target)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if info != nil && !info.Mode().IsRegular() {
		return errors.New("is not a regular file")
	}
	err = renameOver(target, info, before, after)
	for _, number := range []error{unix.EBUSY, unix.EXDEV, unix.EROFS, unix.EACCES, unix.EPERM} {
		if info != nil && errors.Is(err, number) {
			return writeInPlace(target, before, after)
		}
	}
	return err
}

// tempName is one fixed name beside the file, so that crashes do not add up;
// its dot keeps it from those who read all files of a directory.
func tempName(target string) string {
	return filepath.Join(filepath.Dir(target), "."+filepath.Base(target)+".causeway-tmp")
}

func renameOver(target string, old fs.FileInfo, before, after string) (err error) {
	// A name that a crash left is taken away first: opened with O_EXCL it is
	// never somebody else's link.
	if err := os.Remove(tempName(target)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	temp, err := os.OpenFile(tempName(target), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temp.Name())
		}
	}()
	_, err = temp.WriteString(after)
	err = errors.Join(err, dress(temp, old), temp.Sync(), temp.Close())
	if err == nil {
		err = unchanged(target, before)
	}
	if err == nil {
		err = os.Rename(temp.Name(), target)
	}
	if err != nil {
		return err
	}
	relabel(target)
	return syncDir(filepath.Dir(target))
}

// dress gives the new file the mode of the old one, or one that everybody can
// read: the umask must not decide.
func dress(temp *os.File, old fs.FileInfo) error {
	if old == nil {
		return temp.Chmod(0o644)
	}
	if stat, ok := old.Sys().(*syscall.Stat_t); ok {
		if err := temp.Chown(int(stat.Uid), int(stat.Gid)); err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
	}
	return temp.Chmod(old.Mode().Perm())
}

// writeInPlace is one write to a file of less than a page, which a crash does
// not tear in two.
func writeInPlace(target, before, after string) error {
	if err := unchanged(target, before); err != nil {
		return err
	}
	file, err := os.OpenFile(target, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteAt([]byte(after), 0)
	return errors.Join(err, file.Truncate(int64(len(after))), file.Sync(), file.Close())
}

func unchanged(target, before string) error {
	now, err := readText(target)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if now != before {
		return errRaced
	}
	return nil
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

// relabel gives a file the label that the host's policy wants, where SELinux is
// in force: without it the resolvers of other services may not read the file.
// Nothing can be done about a failure; the file is as it should be otherwise.
func relabel(path string) {
	if _, err := os.Stat("/sys/fs/selinux/enforce"); err != nil {
		return
	}
	_, _ = run(context.Background(), "", []string{"/usr/sbin/restorecon", "/sbin/restorecon"}, path)
}

// commandTimeout bounds a program of the host's: such scripts take a moment,
// not longer.
const commandTimeout = 5 * time.Second

// run runs the first of the programs that is there, with a deadline, and
// returns what it printed. What it complained of is in the error.
func run(ctx context.Context, input string, programs []string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	for _, program := range programs {
		if _, err := os.Stat(program); err != nil {
			continue
		}
		command := exec.CommandContext(ctx, program, args...)
		command.Stdin = strings.NewReader(input)
		command.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
		command.Dir = "/"
		command.WaitDelay = time.Second // for a child that holds the pipe
		output, err := command.CombinedOutput()
		if err != nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			return "", fmt.Errorf("run %s %s: %w: %s", program, strings.Join(args, " "), err, strings.TrimSpace(string(output)))
		}
		return string(output), nil
	}
	return "", fmt.Errorf("run %s: %w", filepath.Base(programs[0]), fs.ErrNotExist)
}
