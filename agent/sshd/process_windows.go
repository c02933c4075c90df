package sshd

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
)

// terminalsWork says that this system gives terminals to sessions. Windows
// needs ConPTY for it, which this server does not drive: a client that asks for
// a terminal is refused it and gets pipes.
const terminalsWork = false

// signalNumbers holds the one signal that Windows can deliver.
var signalNumbers = map[string]syscall.Signal{"KILL": syscall.SIGKILL}

// separate keeps the console's Ctrl-C away from the command.
func separate(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.CreationFlags |= syscall.CREATE_NEW_PROCESS_GROUP
}

func (p *process) openTerminal(*ptyMessage) ([]*os.File, error) {
	return nil, errors.ErrUnsupported
}

func (p *process) resize(window) {}

// signal ends the command, the one thing that signalNumbers allows. It may
// have ended already.
func (p *process) signal(syscall.Signal) { _ = p.cmd.Process.Kill() }

func (p *process) hangUp() {}

func exitOf(state *os.ProcessState) exit { return exit{status: uint32(state.ExitCode())} }
