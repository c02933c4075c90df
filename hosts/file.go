package hosts

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	// maxSize is far beyond the longest block lists in use; it keeps a device
	// or a runaway file from being read into memory.
	maxSize = 64 << 20
	// maxLinks is the limit of the kernel.
	maxLinks = 40
	// maxRaces is how often a file that changes while we work is read again
	// before the attempt ends.
	maxRaces = 5
)

var (
	// errRaced means that the file is no longer what was read.
	errRaced = errors.New("file was changed by another program meanwhile")
	// errBusy means that another process of ours is at work.
	errBusy = errors.New("temporary file is in use by another process")
	// errNotRegular means that what is there is no file.
	errNotRegular = errors.New("not a regular file")
)

// File is a hosts file, by its path. Several processes may work on one.
type File struct {
	Path string
	// beforeRename is for tests: the point at which a crash leaves most.
	beforeRename func()
}

// Set makes the section hold these entries, and removes it if there are none.
// It does nothing if it does already. A missing file is made; a symbolic link
// is written through. The file is replaced in one step, with its mode, owner
// and labels; where that cannot be (a bind mount, a directory that may not be
// written) it is written in place.
func (f File) Set(entries []Entry) error {
	var err error
	for range maxRaces {
		if err = f.attempt(entries); !errors.Is(err, errRaced) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("write hosts file %s: %w", f.Path, err)
	}
	return nil
}

func (f File) attempt(entries []Entry) error {
	target, err := resolve(f.Path)
	if err != nil {
		return err
	}
	end, err := begin(target)
	if err != nil {
		return err
	}
	defer end()
	sweep(target)
	before, err := read(target)
	if err != nil {
		return err
	}
	if before.info == nil && len(entries) == 0 {
		return nil
	}
	want, err := add(before.content, entries, systemEOL, before.info == nil)
	if err != nil {
		return err
	}
	if before.info != nil && bytes.Equal(want, before.content) {
		return nil
	}
	if len(want) == 0 && createdByUs(before.content) && os.Remove(target) == nil {
		return nil
	}
	err = f.replace(target, want, before)
	if before.info != nil && cannotReplace(err) {
		err = overwrite(target, want, before)
	}
	return err
}

// resolve follows symbolic links to the last name, which need not exist.
func resolve(path string) (string, error) {
	for range maxLinks {
		link, err := os.Readlink(path)
		if err != nil {
			// Not a link, or nothing there: both are an end.
			return path, nil //nolint:nilerr // what is wrong with the path shows when it is opened
		}
		if !filepath.IsAbs(link) {
			link = filepath.Join(filepath.Dir(path), link)
		}
		path = link
	}
	return "", errors.New("too many symbolic links")
}

// version is what a file was when it was read; info is nil if it was missing.
type version struct {
	content []byte
	info    fs.FileInfo
}

func read(path string) (version, error) {
	info, err := os.Stat(path) // before opening: a pipe would block
	if errors.Is(err, fs.ErrNotExist) {
		return version{}, nil
	}
	if err != nil {
		return version{}, err
	}
	if !info.Mode().IsRegular() {
		return version{}, errNotRegular
	}
	file, err := os.Open(path)
	if err != nil {
		return version{}, err
	}
	defer file.Close()
	if info, err = file.Stat(); err != nil {
		return version{}, err
	}
	content, err := io.ReadAll(io.LimitReader(file, maxSize+1))
	if err != nil {
		return version{}, err
	}
	if len(content) > maxSize {
		return version{}, fmt.Errorf("longer than %d bytes", maxSize)
	}
	return version{content: content, info: info}, nil
}

// still is nil if the file at path is the one that was read. It reads it again:
// times are too coarse to tell two quick writes apart.
func (v version) still(path string) error {
	now, err := read(path)
	if err != nil {
		return err
	}
	if (now.info == nil) != (v.info == nil) || v.info != nil && !os.SameFile(now.info, v.info) || !bytes.Equal(now.content, v.content) {
		return errRaced
	}
	return nil
}

// tempName is one fixed name beside the file, so that crashes do not add up.
func tempName(target string) string {
	return filepath.Join(filepath.Dir(target), "."+filepath.Base(target)+".causeway-tmp")
}

// sweep removes what a crash left, unless somebody is working on it.
func sweep(target string) {
	if _, err := os.Lstat(tempName(target)); err != nil {
		return
	}
	if temp, err := openTemp(tempName(target)); err == nil {
		os.Remove(temp.Name())
		temp.Close()
	}
}

// replace writes a temporary file and renames it. The lock on the temporary
// file is held until it has its final name, and is let go by a crash.
func (f File) replace(target string, content []byte, before version) error {
	temp, err := openTemp(tempName(target))
	if err != nil {
		return err
	}
	defer temp.Close()
	if err := f.fill(temp, target, content, before); err != nil {
		os.Remove(temp.Name())
		return err
	}
	return syncDir(filepath.Dir(target))
}

func (f File) fill(temp *os.File, target string, content []byte, before version) error {
	if err := temp.Truncate(0); err != nil {
		return err
	}
	if _, err := temp.Write(content); err != nil {
		return err
	}
	if err := dress(temp, target, before.info); err != nil {
		return err
	}
	if err := temp.Sync(); err != nil {
		return err
	}
	if f.beforeRename != nil {
		f.beforeRename()
	}
	if err := before.still(target); err != nil {
		return err
	}
	return rename(temp, target)
}

// overwrite writes into the existing file. If that fails half-way, the old
// content is put back: its space is there still.
func overwrite(target string, content []byte, before version) error {
	file, err := os.OpenFile(target, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	now, err := io.ReadAll(io.LimitReader(file, maxSize+1))
	if err != nil {
		return err
	}
	if !bytes.Equal(now, before.content) {
		return errRaced
	}
	if err := writeAll(file, content); err != nil {
		return errors.Join(err, writeAll(file, before.content))
	}
	return nil
}

func writeAll(file *os.File, content []byte) error {
	if _, err := file.WriteAt(content, 0); err != nil {
		return err
	}
	if err := file.Truncate(int64(len(content))); err != nil {
		return err
	}
	return file.Sync()
}
