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

// TestStateDirAccess reads the access lists back, where there are any: Wine makes
// them up from the mode of the file underneath.
func TestStateDirAccess(t *testing.T) {
	fresh := filepath.Join(t.TempDir(), "a", "state")
	open := filepath.Join(t.TempDir(), "open")
	if err := os.Mkdir(open, 0o777); err != nil {
		t.Fatal(err)
	}
	wine := windows.NewLazySystemDLL("ntdll.dll").NewProc("wine_get_version").Find() == nil
	for _, path := range []string{fresh, open} {
		dir, err := OpenStateDir(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := accessAt(t, path); !wine && got != wantedAccess(t) {
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
