package sshd

import (
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/causewayhq/causeway/agent/terminal"
)

// signalNumbers holds those that Windows can deliver, each in the one way that
// there is: by ending the process.
var signalNumbers = map[string]syscall.Signal{"KILL": syscall.SIGKILL, "TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP}

// separate keeps the console's Ctrl-C away from the command.
func separate(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.CreationFlags |= syscall.CREATE_NEW_PROCESS_GROUP
}

// console is a pseudo-console with what runs on it.
type console struct{ *terminal.Terminal }

func (c console) open() bool { return c.Terminal != nil }

// endAfter has nothing to do: reading ends with the command.
func (c console) endAfter(time.Duration) {}

// startOnTerminal runs the command on a pseudo-console. Ctrl-C reaches it there:
// it is not in a group of its own.
func (p *process) startOnTerminal(want *ptyMessage) error {
	p.cmd.SysProcAttr.CreationFlags &^= syscall.CREATE_NEW_PROCESS_GROUP
	started, err := terminal.Start(p.cmd, sizeOf(window{want.Columns, want.Rows, want.Width, want.Height}))
	if err != nil {
		return err
	}
	p.console = console{started}
	p.input, p.output = started, started
	go func() {
		<-started.Done()
		code, _ := started.Exit()
		p.result = exit{status: statusOf(code)}
		close(p.exited)
	}()
	return nil
}

func sizeOf(size window) terminal.Size {
	return terminal.Size{Columns: clamp(size.Columns), Rows: clamp(size.Rows), XPixels: clamp(size.Width), YPixels: clamp(size.Height)}
}

func clamp(value uint32) uint16 { return uint16(min(value, 1<<16-1)) }

// resize can fail only for a console that is closed.
func (p *process) resize(size window) {
	if p.console.open() {
		_ = p.console.Resize(sizeOf(size))
	}
}

// signal ends the command, all that signalNumbers allows, and on a console what
// it has started. It may have ended already.
func (p *process) signal(syscall.Signal) {
	if p.console.open() {
		p.console.Kill()
		return
	}
	_ = p.cmd.Process.Kill()
}

// hangUp ends what must not outlive its session: processes on a console.
func (p *process) hangUp() {
	if p.console.open() {
		p.console.Kill()
	}
}

func exitOf(state *os.ProcessState) exit { return exit{status: statusOf(state.ExitCode())} }

// statusOf is the exit code; one that is not known is 255 (docs of the protocol,
// 5.3).
func statusOf(code int) uint32 {
	if code == -1 {
		return statusUnknown
	}
	return uint32(code)
}
