//go:build unix

package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	readFlag, writeFlag = "rpc-read-fd", "rpc-write-fd"
	readEnv, writeEnv   = "CODER_VPN_DAEMON_RPC_READ_FD", "CODER_VPN_DAEMON_RPC_WRITE_FD"
)

// openPipes takes over both descriptors. Programs that we start do not get them.
func openPipes(read, write int) (io.ReadCloser, io.WriteCloser, error) {
	// A manager that died must be an error of a write, and not our end: standard
	// output and error may be pipes to it too. Not ignored, or children would
	// inherit that.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	if err := checkPipe(readFlag, read, unix.O_RDONLY); err != nil {
		return nil, nil, err
	}
	if err := checkPipe(writeFlag, write, unix.O_WRONLY); err != nil {
		return nil, nil, err
	}
	for _, number := range []int{read, write} {
		unix.CloseOnExec(number)
		// Before os.NewFile, or else a close would not wake a read.
		if err := unix.SetNonblock(number, true); err != nil {
			return nil, nil, fmt.Errorf("take over descriptor %d: %w", number, err)
		}
	}
	return os.NewFile(uintptr(read), "manager's pipe"), os.NewFile(uintptr(write), "manager's pipe"), nil
}

// checkPipe refuses what is not open, no stream, or open the other way.
func checkPipe(flag string, number, direction int) error {
	mode, err := unix.FcntlInt(uintptr(number), unix.F_GETFL, 0)
	if err != nil {
		return fmt.Errorf("take over --%s %d: %w", flag, number, err)
	}
	var about unix.Stat_t
	if err := unix.Fstat(number, &about); err != nil {
		return fmt.Errorf("take over --%s %d: %w", flag, number, err)
	}
	kind := uint32(about.Mode) & unix.S_IFMT
	access := mode & unix.O_ACCMODE
	switch {
	case kind != unix.S_IFIFO && kind != unix.S_IFSOCK:
		return fmt.Errorf("take over --%s %d: it is no pipe and no socket", flag, number)
	case access == unix.O_RDWR, access == direction:
		return nil
	case direction == unix.O_RDONLY:
		return fmt.Errorf("take over --%s %d: it is open for writing", flag, number)
	}
	return fmt.Errorf("take over --%s %d: it is open for reading", flag, number)
}
