package hosts

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/windows"
)

var replaceFile = windows.NewLazySystemDLL("kernel32.dll").NewProc("ReplaceFileW")

// systemEOL ends the lines of a file that has none yet.
const systemEOL = CRLF

// lockName and oldName are beside the file: the lock of a process at work, and
// what the file was, for the moments in which it has no other name.
func lockName(target string) string { return beside(target, "lock") }
func oldName(target string) string  { return beside(target, "old") }

func beside(target, what string) string {
	return filepath.Join(filepath.Dir(target), "."+filepath.Base(target)+".causeway-"+what)
}

// begin locks out other processes of ours until end, and puts back a file that
// an earlier one left under its other name. A process that dies lets go of the
// lock, and its file goes with it.
func begin(target string) (end func(), err error) {
	lock, err := open(lockName(target), windows.DELETE, 0, windows.OPEN_ALWAYS, windows.FILE_FLAG_DELETE_ON_CLOSE)
	if err != nil {
		return nil, err
	}
	if err := restore(target); err != nil {
		lock.Close()
		return nil, err
	}
	return func() { lock.Close() }, nil
}

// restore: without the file, the old one is the file; beside it, it is waste.
func restore(target string) error {
	old := oldName(target)
	if _, err := os.Lstat(old); err != nil {
		return nil //nolint:nilerr // the usual case: there is none
	}
	if _, err := os.Lstat(target); errors.Is(err, fs.ErrNotExist) {
		return os.Rename(old, target)
	}
	os.Remove(old) // whoever holds it open will let go some day
	return nil
}

// open is for access that package os does not offer. What another process holds
// is errBusy.
func open(name string, access, share, disposition, flags uint32) (*os.File, error) {
	path, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return nil, err
	}
	handle, err := windows.CreateFile(path, access, share, nil, disposition, windows.FILE_ATTRIBUTE_NORMAL|flags, 0)
	if errors.Is(err, windows.ERROR_SHARING_VIOLATION) {
		return nil, errBusy
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(handle), name), nil
}

// openTemp opens the temporary file for us alone.
func openTemp(name string) (*os.File, error) {
	return open(name, windows.GENERIC_READ|windows.GENERIC_WRITE|windows.DELETE, windows.FILE_SHARE_DELETE, windows.OPEN_ALWAYS, 0)
}

// dress has nothing to do: ReplaceFileW keeps what the old file had.
func dress(*os.File, string, fs.FileInfo) error { return nil }

// rename puts the closed temporary file in the place of the target, with the
// target's access list, attributes and streams; a new file inherits them from
// its directory. Handles that others hold without sharing make it fail, which
// is for the Writer to retry.
func rename(temp *os.File, target string) error {
	name := temp.Name()
	if err := temp.Close(); err != nil {
		return err
	}
	if _, err := os.Stat(target); errors.Is(err, fs.ErrNotExist) {
		return os.Rename(name, target)
	}
	dressAgain, err := undress(target)
	if err != nil {
		return err
	}
	err = settle(replace(name, target), name, target)
	return errors.Join(err, dressAgain())
}

// undress takes the read-only attribute away, which no file can be replaced
// with, and returns what sets it again.
func undress(target string) (dress func() error, err error) {
	path, err := windows.UTF16PtrFromString(target)
	if err != nil {
		return nil, err
	}
	attributes, err := windows.GetFileAttributes(path)
	if err != nil {
		return nil, &fs.PathError{Op: "read attributes", Path: target, Err: err}
	}
	if attributes&windows.FILE_ATTRIBUTE_READONLY == 0 {
		return func() error { return nil }, nil
	}
	set := func(attributes uint32) error {
		if err := windows.SetFileAttributes(path, attributes); err != nil {
			return &fs.PathError{Op: "set attributes", Path: target, Err: err}
		}
		return nil
	}
	return func() error { return set(attributes) }, set(attributes &^ windows.FILE_ATTRIBUTE_READONLY)
}

// replace calls ReplaceFileW. The replaced file gets a name that restore knows.
func replace(name, target string) error {
	var paths [3]*uint16
	for i, path := range []string{target, name, oldName(target)} {
		var err error
		if paths[i], err = windows.UTF16PtrFromString(path); err != nil {
			return err
		}
	}
	const ignoreMergeErrors = 2 // REPLACEFILE_IGNORE_MERGE_ERRORS
	ok, _, err := replaceFile.Call(uintptr(unsafe.Pointer(paths[0])), uintptr(unsafe.Pointer(paths[1])), uintptr(unsafe.Pointer(paths[2])),
		ignoreMergeErrors, 0, 0)
	if ok != 0 {
		return nil
	}
	return err
}

// settle ends what ReplaceFileW began. ERROR_UNABLE_TO_MOVE_REPLACEMENT_2 leaves
// the target under its old name only: the new one is moved there, or else the
// old one back. After every other error all is as it was (ReplaceFileW,
// "Return value", for calls with a name for the replaced file); whether that is
// so is looked at, not believed.
func settle(err error, name, target string) error {
	if err != nil {
		if _, missing := os.Lstat(target); errors.Is(missing, fs.ErrNotExist) && os.Rename(name, target) == nil {
			err = nil
		}
	}
	if err != nil {
		return errors.Join(&fs.PathError{Op: "replace", Path: target, Err: err}, restore(target))
	}
	os.Remove(oldName(target)) // if not now, restore does it
	return nil
}

// cannotReplace: here every failure is one to retry, for the usual cause is
// a program that has the file open for a moment.
func cannotReplace(error) bool { return false }

func syncDir(string) error { return nil }
