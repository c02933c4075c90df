package hosts

import (
	"errors"
	"io/fs"
	"os"
	"unsafe"

	"golang.org/x/sys/windows"
)

var replaceFile = windows.NewLazySystemDLL("kernel32.dll").NewProc("ReplaceFileW")

// systemEOL ends the lines of a file that has none yet.
const systemEOL = CRLF

// openTemp opens the temporary file for us alone: no sharing is the lock.
func openTemp(name string) (*os.File, error) {
	path, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return nil, err
	}
	handle, err := windows.CreateFile(path, windows.GENERIC_READ|windows.GENERIC_WRITE|windows.DELETE, windows.FILE_SHARE_DELETE, nil,
		windows.OPEN_ALWAYS, windows.FILE_ATTRIBUTE_NORMAL, 0)
	if errors.Is(err, windows.ERROR_SHARING_VIOLATION) {
		return nil, errBusy
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(handle), name), nil
}

// dress has nothing to do: ReplaceFileW keeps what the old file had.
func dress(*os.File, string, fs.FileInfo) error { return nil }

// rename puts the closed temporary file in the place of the target, with the
// target's access list, attributes and streams; MoveFileEx serves if there is
// no target. Handles that others hold without sharing make it fail, which is
// for the Writer to retry.
func rename(temp *os.File, target string) error {
	name := temp.Name()
	if err := temp.Close(); err != nil {
		return err
	}
	if _, err := os.Stat(target); errors.Is(err, fs.ErrNotExist) {
		return os.Rename(name, target)
	}
	from, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return err
	}
	to, err := windows.UTF16PtrFromString(target)
	if err != nil {
		return err
	}
	const ignoreMergeErrors = 2
	ok, _, err := replaceFile.Call(uintptr(unsafe.Pointer(to)), uintptr(unsafe.Pointer(from)), 0, ignoreMergeErrors, 0, 0)
	if ok != 0 {
		return nil
	}
	// These two may have moved the target away: the temporary file is then the
	// only copy.
	if errors.Is(err, windows.ERROR_UNABLE_TO_MOVE_REPLACEMENT) || errors.Is(err, windows.ERROR_UNABLE_TO_MOVE_REPLACEMENT_2) {
		return os.Rename(name, target)
	}
	return &fs.PathError{Op: "replace", Path: target, Err: err}
}

// cannotReplace: here every failure is one to retry, for the usual cause is
// a program that has the file open for a moment.
func cannotReplace(error) bool { return false }

func syncDir(string) error { return nil }
