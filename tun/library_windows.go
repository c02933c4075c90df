package tun

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/windows"
)

// wintunDLL is the library that brings the driver. It lies beside the program,
// where only administrators can write, and is loaded from there by full path.
const wintunDLL = "wintun.dll"

// maxLibrary bounds what is hashed, in bytes; the library has about 430,000.
const maxLibrary = 16 << 20

// libraryPath is beside the program, never where a search path leads.
func libraryPath() (string, error) {
	program, err := os.Executable()
	if err != nil {
		return wintunDLL, fmt.Errorf("find own program: %w", err)
	}
	return filepath.Join(filepath.Dir(program), wintunDLL), nil
}

// loadLibrary loads the library at path if it has the SHA-256 sum. What is loaded
// is what was hashed, because the file is held meanwhile, so that nobody can
// write, rename or delete it. From then on Windows gives every search for a
// library of that name the one that is loaded, which is how the wintun package
// comes by it ("Dynamic-link library search order": loaded modules come first).
func loadLibrary(path, sum string) error {
	if err := refuseOther(path); err != nil {
		return err
	}
	file, err := openHeld(path)
	if err != nil {
		return err
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, io.LimitReader(file, maxLibrary)); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if got := hex.EncodeToString(hash.Sum(nil)); got != sum {
		return fmt.Errorf("%w: %s has the SHA-256 sum %s, not %s", ErrUntrusted, path, got, sum)
	}
	if _, err := windows.LoadLibraryEx(path, 0, windows.LOAD_LIBRARY_SEARCH_SYSTEM32); err != nil {
		return fmt.Errorf("load %s: %w", path, err)
	}
	return nil
}

// refuseOther finds a library of that name that somebody loaded into our process
// from elsewhere: searches by name would go on finding it.
func refuseOther(path string) error {
	name, err := windows.UTF16PtrFromString(filepath.Base(path))
	if err != nil {
		return err
	}
	var module windows.Handle
	if err := windows.GetModuleHandleEx(windows.GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT, name, &module); err != nil {
		return nil // not loaded
	}
	if loaded, err := modulePath(module); err != nil || !strings.EqualFold(loaded, path) {
		return fmt.Errorf("%w: the process has loaded %q already, instead of %s", ErrUntrusted, loaded, path)
	}
	return nil
}

// openHeld opens a file so that others may read it, and nothing else.
func openHeld(path string) (*os.File, error) {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	handle, err := windows.CreateFile(name, windows.GENERIC_READ, windows.FILE_SHARE_READ, nil, windows.OPEN_EXISTING, windows.FILE_ATTRIBUTE_NORMAL, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(handle), path), nil
}

func modulePath(module windows.Handle) (string, error) {
	var buffer [windows.MAX_LONG_PATH]uint16
	n, err := windows.GetModuleFileName(module, &buffer[0], uint32(len(buffer)))
	if err != nil {
		return "", err
	}
	return windows.UTF16ToString(buffer[:n]), nil
}
