package service

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/windows"
)

// noFollow has no counterpart here: the directory's access list keeps others
// from planting links.
const noFollow = 0

func lock(file *os.File) error {
	err := windows.LockFileEx(windows.Handle(file.Fd()),
		windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &windows.Overlapped{})
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return errLocked
	}
	return err
}

// makeStateDir makes the directory with its access list at once: it lies where
// every user may make files, and would let them do so for a moment.
func makeStateDir(path string) error {
	if _, err := os.Lstat(path); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err // checkOwner mends what is there
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	access, err := ownAccess()
	if err != nil {
		return err
	}
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return err
	}
	attributes := &windows.SecurityAttributes{SecurityDescriptor: access}
	attributes.Length = uint32(unsafe.Sizeof(*attributes))
	if err := windows.CreateDirectory(name, attributes); err != nil && !errors.Is(err, windows.ERROR_ALREADY_EXISTS) {
		return &fs.PathError{Op: "make", Path: path, Err: err}
	}
	return nil
}

// ownAccess is stateAccess for this process.
func ownAccess() (*windows.SECURITY_DESCRIPTOR, error) {
	token := windows.GetCurrentProcessToken()
	user, err := token.GetTokenUser()
	if err != nil {
		return nil, fmt.Errorf("read own user: %w", err)
	}
	text := stateAccess(user.User.Sid.String(), token.IsElevated())
	access, err := windows.SecurityDescriptorFromString(text)
	if err != nil {
		return nil, fmt.Errorf("read access list %s: %w", text, err)
	}
	return access, nil
}

// openItself opens what is at the path, not what a link there leads to.
func openItself(path string) (windows.Handle, error) {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return windows.InvalidHandle, err
	}
	const share = windows.FILE_SHARE_READ | windows.FILE_SHARE_WRITE | windows.FILE_SHARE_DELETE
	return windows.CreateFile(name, windows.READ_CONTROL|windows.WRITE_DAC, share, nil, windows.OPEN_EXISTING,
		windows.FILE_FLAG_BACKUP_SEMANTICS|windows.FILE_FLAG_OPEN_REPARSE_POINT, 0)
}

// checkOwner refuses a directory that somebody else made, and gives one of ours
// the access list that it should have. It does both to one handle: who made the
// directory could put a link to somebody else's in its place in between.
func checkOwner(path string, _ fs.FileInfo) error {
	dir, err := openItself(path)
	if err != nil {
		return fail(FailureState, "run as administrator", "check state directory %s: %w", path, err)
	}
	defer func() { _ = windows.CloseHandle(dir) }()
	found, err := windows.GetSecurityInfo(dir, windows.SE_FILE_OBJECT, windows.OWNER_SECURITY_INFORMATION|windows.DACL_SECURITY_INFORMATION)
	if err != nil {
		return fail(FailureState, "run as administrator", "check state directory %s: read its access list: %w", path, err)
	}
	owner, _, err := found.Owner()
	if err != nil {
		return fail(FailureState, "", "check state directory %s: read its owner: %w", path, err)
	}
	user, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		return fail(FailureState, "", "check state directory %s: read own user: %w", path, err)
	}
	if !trustedOwner(owner.String(), user.User.Sid.String()) {
		return fail(FailureState, "move it away: it may hold what somebody else put there",
			"check state directory %s: it belongs to %s", path, owner)
	}
	wanted, err := ownAccess()
	if err != nil {
		return fail(FailureState, "", "check state directory %s: %w", path, err)
	}
	if accessOf(found) == accessOf(wanted) {
		return nil
	}
	list, _, err := wanted.DACL()
	if err == nil {
		err = windows.SetSecurityInfo(dir, windows.SE_FILE_OBJECT,
			windows.DACL_SECURITY_INFORMATION|windows.PROTECTED_DACL_SECURITY_INFORMATION, nil, nil, list, nil)
	}
	if err != nil {
		return fail(FailureState, "run as administrator", "check state directory %s: set its access list: %w", path, err)
	}
	return nil
}

// accessOf is the access list of a descriptor as text, without the owner.
func accessOf(descriptor *windows.SECURITY_DESCRIPTOR) string {
	_, list, _ := strings.Cut(descriptor.String(), "D:")
	return list
}

// syncDirectory has no counterpart: a directory cannot be flushed.
func syncDirectory(string) error { return nil }
