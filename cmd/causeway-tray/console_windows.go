package main

import (
	"os"

	"golang.org/x/sys/windows"
)

const cliName = "causeway.exe"

// attachParent is ATTACH_PARENT_PROCESS.
const attachParent = ^uintptr(0)

// attachConsole lends this program, which has no console of its own (it is linked
// with -H=windowsgui), the one it was started in, so that --help is seen.
func attachConsole() {
	attach := windows.NewLazySystemDLL("kernel32.dll").NewProc("AttachConsole")
	if ok, _, _ := attach.Call(attachParent); ok == 0 {
		return
	}
	if console, err := os.OpenFile("CONOUT$", os.O_WRONLY, 0); err == nil {
		os.Stdout, os.Stderr = console, console
	}
}
