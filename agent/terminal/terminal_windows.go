package terminal

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"github.com/charmbracelet/x/conpty"
	"golang.org/x/sys/windows"
)

// Terminal is a command and the near side of its terminal. Reads come from one
// goroutine; everything else from any.
type Terminal struct {
	console *conpty.ConPty
	input   *os.File
	output  *os.File
	process windows.Handle
	done    chan struct{}
	result  exit

	mu     sync.Mutex
	job    windows.Handle // 0 when closed
	closed bool           // the console
}

func start(cmd *exec.Cmd, size Size) (t *Terminal, err error) {
	t = &Terminal{done: make(chan struct{})}
	defer func() {
		if err != nil {
			t.release()
		}
	}()
	if t.job, err = windows.CreateJobObject(nil, nil); err != nil {
		return nil, err
	}
	if err := t.open(size); err != nil {
		return nil, err
	}
	var system syscall.SysProcAttr
	if cmd.SysProcAttr != nil {
		system = *cmd.SysProcAttr
	}
	// Suspended, so that it starts nothing before it is in the job.
	system.CreationFlags |= windows.CREATE_SUSPENDED
	pid, handle, err := t.console.Spawn(cmd.Path, cmd.Args, &syscall.ProcAttr{Dir: cmd.Dir, Env: cmd.Environ(), Sys: &system})
	if err != nil {
		return nil, err
	}
	t.process = windows.Handle(handle)
	if err := errors.Join(windows.AssignProcessToJobObject(t.job, t.process), resume(uint32(pid))); err != nil {
		_ = windows.TerminateProcess(t.process, 1)
		return nil, err
	}
	go t.wait()
	return t, nil
}

// open makes the console. Its own ends of the pipes go when the console does;
// ours are duplicates, which still hold the last output then.
func (t *Terminal) open(size Size) error {
	inRead, inWrite, outRead, outWrite, err := conpty.CreatePipes()
	if err != nil {
		return err
	}
	closeAll := func() {
		for _, handle := range []uintptr{inRead, inWrite, outRead, outWrite} {
			windows.CloseHandle(windows.Handle(handle))
		}
	}
	if t.input, err = duplicate(inWrite, "console input"); err != nil {
		closeAll()
		return err
	}
	if t.output, err = duplicate(outRead, "console output"); err != nil {
		closeAll()
		return err
	}
	columns, rows := clamp(size)
	console, err := conpty.NewWithPipes(inRead, inWrite, outRead, outWrite, columns, rows, 0)
	if err != nil {
		closeAll()
		return err
	}
	t.console = console
	return nil
}

func duplicate(handle uintptr, name string) (*os.File, error) {
	self := windows.CurrentProcess()
	var copied windows.Handle
	if err := windows.DuplicateHandle(self, windows.Handle(handle), self, &copied, 0, false, windows.DUPLICATE_SAME_ACCESS); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(copied), name), nil
}

// resume lets the only thread of a process that was started suspended run.
func resume(pid uint32) error {
	snapshot, err := windows.CreateToolhelp32Snapshot(windows.TH32CS_SNAPTHREAD, 0)
	if err != nil {
		return err
	}
	defer windows.CloseHandle(snapshot)
	entry := windows.ThreadEntry32{Size: uint32(unsafe.Sizeof(windows.ThreadEntry32{}))}
	for err = windows.Thread32First(snapshot, &entry); err == nil; err = windows.Thread32Next(snapshot, &entry) {
		if entry.OwnerProcessID != pid {
			continue
		}
		thread, err := windows.OpenThread(windows.THREAD_SUSPEND_RESUME, false, entry.ThreadID)
		if err != nil {
			return err
		}
		defer windows.CloseHandle(thread)
		_, err = windows.ResumeThread(thread)
		return err
	}
	return err
}

// wait takes the exit code, and closes the console, which ends the output once
// all of it was read.
func (t *Terminal) wait() {
	_, _ = windows.WaitForSingleObject(t.process, windows.INFINITE)
	var code uint32
	if err := windows.GetExitCodeProcess(t.process, &code); err != nil {
		code = 1<<32 - 1
	}
	t.result = exit{code: int(int32(code))}
	close(t.done)
	windows.CloseHandle(t.process)
	t.closeConsole()
}

func (t *Terminal) closeConsole() {
	t.mu.Lock()
	closed := t.closed
	t.closed = true
	t.mu.Unlock()
	if !closed && t.console != nil {
		_ = t.console.Close() // waits, before Windows 11 24H2, until all is read
	}
}

// Read returns io.EOF when the command has ended and all was read.
func (t *Terminal) Read(buffer []byte) (int, error) {
	count, err := t.output.Read(buffer)
	if errors.Is(err, os.ErrClosed) || errors.Is(err, windows.ERROR_BROKEN_PIPE) {
		err = io.EOF
	}
	return count, err
}

// Write types.
func (t *Terminal) Write(data []byte) (int, error) { return t.input.Write(data) }

// Resize tells the console its size. Windows knows none in pixels.
func (t *Terminal) Resize(size Size) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return os.ErrClosed
	}
	columns, rows := clamp(size)
	return t.console.Resize(columns, rows)
}

// clamp keeps a size within the console's signed numbers.
func clamp(size Size) (columns, rows int) {
	return int(min(size.Columns, 1<<15-1)), int(min(size.Rows, 1<<15-1))
}

// Close hangs up: Windows ends the processes that use the console. It does not
// wait for them.
func (t *Terminal) Close() error {
	t.release()
	return nil
}

// release gives back everything but the process, which wait owns.
func (t *Terminal) release() {
	for _, file := range []*os.File{t.input, t.output} {
		if file != nil {
			file.Close() // a second time does nothing
		}
	}
	t.closeConsole()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.job != 0 {
		windows.CloseHandle(t.job)
		t.job = 0
	}
}

// End closes the console, which tells its processes, and terminates everything
// of the job that is left after grace.
func (t *Terminal) End(grace time.Duration) {
	if grace > 0 {
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			t.closeConsole()
		}()
		select {
		case <-t.done:
			<-closed
		case <-time.After(grace):
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.job != 0 {
		_ = windows.TerminateJobObject(t.job, 1)
	}
}
