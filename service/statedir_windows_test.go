package service

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/windows"
)

func accessAt(t *testing.T, path string) string {
	t.Helper()
	found, err := windows.GetNamedSecurityInfo(path, windows.SE_FILE_OBJECT, windows.DACL_SECURITY_INFORMATION)
	if err != nil {
		t.Fatal(err)
	}
	return accessOf(found)
}

func wantedAccess(t *testing.T) string {
	t.Helper()
	access, err := ownAccess()
	if err != nil {
		t.Fatal(err)
	}
	return accessOf(access)
}

// wine tells that this Windows is none.
func wine() bool {
	return windows.NewLazySystemDLL("ntdll.dll").NewProc("wine_get_version").Find() == nil
}

// TestStateDirAccess reads the access lists back, where there are any: Wine makes
// them up from the mode of the file underneath.
func TestStateDirAccess(t *testing.T) {
	fresh := filepath.Join(t.TempDir(), "a", "state")
	open := filepath.Join(t.TempDir(), "open")
	if err := os.Mkdir(open, 0o777); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{fresh, open} {
		dir, err := OpenStateDir(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := accessAt(t, path); !wine() && got != wantedAccess(t) {
			t.Errorf("%s: access list %s", path, got)
		}
		if second, err := OpenStateDir(path); err == nil {
			second.Close()
			t.Errorf("%s was locked twice", path)
		} else if failed := new(Error); !errors.As(err, &failed) || !errors.Is(err, errLocked) {
			t.Errorf("second lock: %v", err)
		}
		if err := dir.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestOpenItself does not follow a link: what is checked is what was made there.
func TestOpenItself(t *testing.T) {
	if wine() {
		t.Skip("Wine makes links that it does not open")
	}
	target, link := t.TempDir(), filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(target, link); err != nil {
		t.Skip("no links here: ", err)
	}
	handle, err := openItself(link)
	if err != nil {
		t.Fatal(err)
	}
	defer windows.CloseHandle(handle)
	var info windows.ByHandleFileInformation
	if err := windows.GetFileInformationByHandle(handle, &info); err != nil {
		t.Fatal(err)
	}
	if info.FileAttributes&windows.FILE_ATTRIBUTE_REPARSE_POINT == 0 {
		t.Errorf("attributes %#x are those of what the link leads to", info.FileAttributes)
	}
}
