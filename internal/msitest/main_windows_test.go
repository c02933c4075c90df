package msitest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

// TestMain: copies of this program do what the tests need other programs for.
func TestMain(m *testing.M) {
	own, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	var code uint32
	switch filepath.Base(own) {
	case "install.exe":
		code, err = install(os.Args[1:])
	case "msiexec.exe":
		code, err = removeForAnother(os.Args[1:])
	case "causeway-tray.exe":
		time.Sleep(time.Minute) // until somebody ends it
		code = notEnded
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(int(code))
}

// notEnded is the exit code of a tray that nobody ended.
const notEnded = 9

const silent = 2 // INSTALLUILEVEL_NONE

// install installs a package, with properties, and asks nothing.
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
	msi.NewProc("MsiSetInternalUI").Call(silent, 0)
	code, _, _ := msi.NewProc("MsiInstallProductW").Call(uintptr(unsafe.Pointer(path)), uintptr(unsafe.Pointer(line)))
	return uint32(code), nil
}

// removeForAnother is how Wine has an older product removed during an upgrade:
// by a msiexec that it looks for beside the program that runs, and without the
// property by which Windows Installer tells a package that another takes its
// place. Here it is added.
func removeForAnother(args []string) (uint32, error) {
	dir, err := windows.GetSystemDirectory()
	if err != nil {
		return 0, err
	}
	command := exec.Command(filepath.Join(dir, "msiexec.exe"), append(args, "UPGRADINGPRODUCTCODE={00000000-0000-0000-0000-000000000001}")...)
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	err = command.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return uint32(exit.ExitCode()), nil
	}
	return 0, err
}
