//go:build unix

package terminal

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// Terminal is a command and the near side of its terminal. Reads come from one
// goroutine; everything else from any.
type Terminal struct {
	master *os.File
	pid    int
	done   chan struct{}
	result exit

	ending sync.Mutex // one End at a time
}

func start(cmd *exec.Cmd, size Size) (*Terminal, error) {
	opened, far, err := pty.Open()
	if err != nil {
		return nil, err
	}
	defer far.Close()
	master, err := pollable(opened)
	if err != nil {
		return nil, err
	}
	t := &Terminal{master: master, done: make(chan struct{})}
	if err := t.Resize(size); err != nil {
		master.Close()
		return nil, err
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = far, far, far
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		master.Close()
		return nil, err
	}
	t.pid = cmd.Process.Pid
	go t.wait(cmd)
	return t, nil
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

// wait reaps the command. Its goroutine lives as long as the command does:
// somebody must take its exit status from the kernel.
func (t *Terminal) wait(cmd *exec.Cmd) {
	_ = cmd.Wait() // the state says the same, and more
	t.result = exit{code: cmd.ProcessState.ExitCode()}
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		t.result.signal = strings.TrimPrefix(unix.SignalName(status.Signal()), "SIG")
	}
	close(t.done)
	// A reader that waits gets its last deadline. A closed terminal has none.
	_ = t.master.SetReadDeadline(time.Now().Add(drainQuiet))
}

// Read returns io.EOF when the command has ended and all was read.
func (t *Terminal) Read(buffer []byte) (int, error) {
	select {
	case <-t.done:
		if err := t.master.SetReadDeadline(time.Now().Add(drainQuiet)); err != nil {
			return 0, io.EOF
		}
	default:
	}
	count, err := t.master.Read(buffer)
	switch {
	case count > 0 || err == nil:
		return count, nil
	case errors.Is(err, syscall.EIO), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, os.ErrClosed):
		return 0, io.EOF // nobody has the far side open; silent; closed by us
	}
	return 0, err
}

// Write types. It waits while the command reads nothing and the kernel's
// buffer (4 KiB on Linux) is full; Close ends the wait.
func (t *Terminal) Write(data []byte) (int, error) { return t.master.Write(data) }

// Resize tells the terminal its size; the kernel tells the processes.
func (t *Terminal) Resize(size Size) error {
	raw, err := t.master.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(descriptor uintptr) {
		failed = unix.IoctlSetWinsize(int(descriptor), unix.TIOCSWINSZ, &unix.Winsize{
			Row: size.Rows, Col: size.Columns, Xpixel: size.XPixels, Ypixel: size.YPixels,
		})
	})
	return errors.Join(err, failed)
}

// Close hangs up: the kernel tells the processes that use the terminal. It
// does not wait for them.
func (t *Terminal) Close() error { return t.master.Close() }

// obeyLimit is how long a command that was killed may take to end, before the
// terminal is closed on it.
const obeyLimit = time.Second

// End hangs up on every process of the terminal, and kills those that are left
// after grace. When it returns they have been killed; Done follows. A command of
// another user, such as one that sudo runs, cannot be killed: the terminal is
// closed, on which the kernel hangs up.
func (t *Terminal) End(grace time.Duration) {
	t.ending.Lock()
	defer t.ending.Unlock()
	family := family{leader: t.pid, reaped: t.done}
	if grace > 0 {
		family.hangUp(grace)
	}
	family.kill()
	timer := time.NewTimer(obeyLimit)
	defer timer.Stop()
	select {
	case <-t.done:
	case <-timer.C:
		t.master.Close()
	}
}
