package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/windows"

	"github.com/causewayhq/causeway/tun"
)

const (
	readFlag, writeFlag = "rpc-read-handle", "rpc-write-handle"
	readEnv, writeEnv   = "CODER_VPN_DAEMON_RPC_READ_HANDLE", "CODER_VPN_DAEMON_RPC_WRITE_HANDLE"
)

var peekNamedPipe = windows.NewLazySystemDLL("kernel32.dll").NewProc("PeekNamedPipe")

// openPipes takes over both handles.
func openPipes(read, write int) (io.ReadCloser, io.WriteCloser, error) {
	for flag, number := range map[string]int{readFlag: read, writeFlag: write} {
		kind, err := windows.GetFileType(windows.Handle(number))
		if err != nil {
			return nil, nil, fmt.Errorf("take over --%s %d: %w", flag, number, err)
		}
		if kind != windows.FILE_TYPE_PIPE {
			return nil, nil, fmt.Errorf("take over --%s %d: it is no pipe", flag, number)
		}
	}
	// To look needs the right to read, and so does nothing else here.
	if looked, _, err := peekNamedPipe.Call(uintptr(read), 0, 0, 0, 0, 0); looked == 0 && !errors.Is(err, windows.ERROR_BROKEN_PIPE) {
		return nil, nil, fmt.Errorf("take over --%s %d: it is not open for reading: %w", readFlag, read, err)
	}
	return os.NewFile(uintptr(read), "manager's pipe"), os.NewFile(uintptr(write), "manager's pipe"), nil
}

// openGiven refuses: Wintun has no descriptors.
func openGiven(number, _ int) (tun.Device, error) {
	return nil, fmt.Errorf("open the manager's interface (descriptor %d): not on Windows", number)
}
