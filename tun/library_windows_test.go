package tun

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/windows"
)

// TestLoadLibrary loads a library of the system from a directory of its own,
// under a name that nobody else has.
func TestLoadLibrary(t *testing.T) {
	system, err := windows.GetSystemDirectory()
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(system, "version.dll"))
	if err != nil {
		t.Fatal(err)
	}
	// Not t.TempDir: a loaded library cannot be deleted.
	dir, err := os.MkdirTemp("", "causeway-tun-")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "causewaytest.dll")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	want := hex.EncodeToString(sum[:])
	flipped := "0" + want[1:]
	if want[0] == '0' {
		flipped = "1" + want[1:]
	}
	if err := loadLibrary(path, flipped); !errors.Is(err, ErrUntrusted) {
		t.Errorf("another sum: %v", err)
	}
	if err := loadLibrary(path, ""); !errors.Is(err, ErrUntrusted) {
		t.Errorf("no sum, as on a processor without one: %v", err)
	}
	if err := windows.GetModuleHandleEx(windows.GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT, windows.StringToUTF16Ptr("causewaytest.dll"), new(windows.Handle)); err == nil {
		t.Error("loaded although refused")
	}
	if err := loadLibrary(path, want); err != nil {
		t.Errorf("the right one: %v", err)
	}
	// What the wintun package does, with the name of ours.
	if _, err := windows.LoadLibraryEx("causewaytest.dll", 0, windows.LOAD_LIBRARY_SEARCH_APPLICATION_DIR|windows.LOAD_LIBRARY_SEARCH_SYSTEM32); err != nil {
		t.Errorf("by name: %v", err)
	}
	// A second one of that name is refused.
	second := filepath.Join(t.TempDir(), "causewaytest.dll")
	if err := os.WriteFile(second, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := loadLibrary(second, want); !errors.Is(err, ErrUntrusted) {
		t.Errorf("a second one: %v", err)
	}
}

// TestHeldFile: nobody can change the file between the sum and the loading.
func TestHeldFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.dll")
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := openHeld(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := os.WriteFile(path, []byte("y"), 0o600); !errors.Is(err, windows.ERROR_SHARING_VIOLATION) {
		t.Errorf("write: %v", err)
	}
	if err := os.Rename(path, path+".old"); err == nil {
		t.Error("the file could be renamed")
	}
}

// TestOpenWithoutLibrary is what a damaged installation says.
func TestOpenWithoutLibrary(t *testing.T) {
	_, err := Open("Causeway", MinMTU)
	var diagnosed *Error
	if !errors.As(err, &diagnosed) || !errors.Is(err, ErrNoDevice) || diagnosed.Remedy == "" {
		t.Errorf("Open() = %v", err)
	}
	t.Log(err)
}
