//go:build unix

package sshd

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// separate puts the command into a session and process group of its own.
func separate(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }

// console is our side of a terminal.
type console struct{ master *os.File }

func (c console) open() bool { return c.master != nil }

// endAfter lets reading end when the terminal is silent for so long from now on.
func (c console) endAfter(quiet time.Duration) {
	// A file without deadlines ends with an error when its last user goes.
	_ = c.master.SetReadDeadline(time.Now().Add(quiet))
}

// startOnTerminal makes a terminal and starts the command on its far side.
func (p *process) startOnTerminal(want *ptyMessage) error {
	theirs, err := p.openTerminal(want)
	return p.launch(theirs, err)
}

func (p *process) openTerminal(want *ptyMessage) ([]*os.File, error) {
	opened, slave, err := pty.Open()
	if err != nil {
		return nil, fmt.Errorf("open terminal: %w", err)
	}
	master, err := pollable(opened)
	if err != nil {
		slave.Close()
		return nil, fmt.Errorf("open terminal: %w", err)
	}
	p.console = console{master}
	p.input, p.output = master, master
	applyModes(slave, want.Modes)
	p.resize(window{want.Columns, want.Rows, want.Width, want.Height})
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = slave, slave, slave
	p.cmd.SysProcAttr.Setctty = true
	return []*os.File{slave}, nil
}

// pollable makes the runtime wait for the file instead of a thread, which
// makes deadlines and Close work on it. It consumes file.
func pollable(file *os.File) (*os.File, error) {
	defer file.Close()
	descriptor, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(descriptor, true); err != nil {
		unix.Close(descriptor)
		return nil, err
	}
	return os.NewFile(uintptr(descriptor), file.Name()), nil
}

// resize tells the terminal its size; the kernel tells the processes.
func (p *process) resize(size window) {
	if !p.console.open() {
		return
	}
	raw, err := p.console.master.SyscallConn()
	if err != nil {
		return
	}
	// Only a closed terminal refuses, and it has no use for a size.
	_ = raw.Control(func(descriptor uintptr) {
		_ = unix.IoctlSetWinsize(int(descriptor), unix.TIOCSWINSZ, &unix.Winsize{
			Row: clamp(size.Rows), Col: clamp(size.Columns), Xpixel: clamp(size.Width), Ypixel: clamp(size.Height),
		})
	})
}

func clamp(value uint32) uint16 { return uint16(min(value, 1<<16-1)) }

// signal reaches the command's whole process group, as OpenSSH's server does
// it, and nobody once the command has been reaped: its number may be another's.
func (p *process) signal(number syscall.Signal) {
	select {
	case <-p.exited:
	default:
		_ = syscall.Kill(-p.cmd.Process.Pid, number)
	}
}

// hangUp ends what must not outlive its session: processes on a terminal.
func (p *process) hangUp() {
	if p.console.open() {
		p.signal(syscall.SIGHUP)
	}
}

func exitOf(state *os.ProcessState) exit {
	status, ok := state.Sys().(syscall.WaitStatus)
	switch {
	case ok && status.Signaled():
		return exit{signal: signalName(status.Signal()), core: status.CoreDump()}
	case ok && status.Exited():
		return exit{status: uint32(status.ExitStatus())}
	}
	return exit{status: statusUnknown}
}
