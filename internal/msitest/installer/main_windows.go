// Command installer installs a package of Windows Installer without asking, for
// the rig of internal/msitest. Its exit code is that of Windows Installer, which
// a batch file sees in full.
//
//	installer PACKAGE [PROPERTY=VALUE...]
//
// Wine has an older product removed by "msiexec", without the property by which
// Windows Installer tells a package that another takes its place
// (UPGRADINGPRODUCTCODE). It looks for that program beside the one that runs:
// there is a copy of this one, of that name, which adds the property.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/windows"
)

const silent = 2 // INSTALLUILEVEL_NONE

func main() {
	code, err := uint32(0), error(nil)
	if own, _ := os.Executable(); strings.EqualFold(filepath.Base(own), "msiexec.exe") {
		code, err = removeForAnother(os.Args[1:])
	} else {
		code, err = install(os.Args[1:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "installer:", err)
		os.Exit(1)
	}
	os.Exit(int(code))
}

func install(args []string) (uint32, error) {
	path, err := windows.UTF16PtrFromString(args[0])
	if err != nil {
		return 0, err
	}
	line, err := windows.UTF16PtrFromString(strings.Join(args[1:], " "))
	if err != nil {
		return 0, err
	}
	msi := windows.NewLazySystemDLL("msi.dll")
	if _, _, err := msi.NewProc("MsiSetInternalUI").Call(silent, 0); err != nil && !errors.Is(err, windows.ERROR_SUCCESS) {
		return 0, fmt.Errorf("ask nothing: %w", err)
	}
	code, _, _ := msi.NewProc("MsiInstallProductW").Call(uintptr(unsafe.Pointer(path)), uintptr(unsafe.Pointer(line)))
	return uint32(code), nil
}

// removeForAnother is what Wine asks of msiexec during an upgrade. The value is
// the product that comes; that it has one is what packages look at.
func removeForAnother(args []string) (uint32, error) {
	dir, err := windows.GetSystemDirectory()
	if err != nil {
		return 0, err
	}
	fmt.Printf("removing for another: %q\n", args)
	command := exec.Command(filepath.Join(dir, "msiexec.exe"), append(args, "UPGRADINGPRODUCTCODE={00000000-0000-0000-0000-000000000001}")...)
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	err = command.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return uint32(exit.ExitCode()), nil
	}
	return 0, err
}
