package sshd

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// drainQuiet is how long a terminal must be silent, after its command has
// ended, before output is taken as complete although some process still holds
// the terminal open. The kernel hands over what was written long before.
const drainQuiet = 100 * time.Millisecond

// process is a running command with our ends of its streams: three pipes, or
// one terminal.
type process struct {
	cmd    *exec.Cmd
	input  *os.File
	output *os.File
	errors *os.File // nil with a terminal
	master *os.File // nil without

	// exited is closed when the command has ended, and result is valid then.
	exited chan struct{}
	result exit
}

// startProcess starts the command in a session and process group of its own.
func startProcess(cmd *exec.Cmd, terminal *ptyMessage) (*process, error) {
	separate(cmd)
	p := &process{cmd: cmd, exited: make(chan struct{})}
	var theirs []*os.File
	var err error
	if terminal != nil {
		theirs, err = p.openTerminal(terminal)
	} else {
		theirs, err = p.openPipes()
	}
	if err == nil {
		err = cmd.Start()
	}
	for _, file := range theirs {
		file.Close()
	}
	if err != nil {
		p.release()
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	go p.wait()
	return p, nil
}

// wait reaps the command. Its goroutine outlives the session, and the server,
// when the command does: somebody must take its exit status from the kernel.
func (p *process) wait() {
	_ = p.cmd.Wait() // the state says the same, and more
	p.result = exitOf(p.cmd.ProcessState)
	close(p.exited)
}

func (p *process) openPipes() ([]*os.File, error) {
	var theirs []*os.File
	for _, end := range []struct {
		ours  **os.File
		wants func(theirs *os.File)
		input bool
	}{
		{&p.input, func(f *os.File) { p.cmd.Stdin = f }, true},
		{&p.output, func(f *os.File) { p.cmd.Stdout = f }, false},
		{&p.errors, func(f *os.File) { p.cmd.Stderr = f }, false},
	} {
		read, write, err := os.Pipe()
		if err != nil {
			return theirs, fmt.Errorf("make pipe: %w", err)
		}
		if end.input {
			read, write = write, read
		}
		*end.ours = read
		end.wants(write)
		theirs = append(theirs, write)
	}
	return theirs, nil
}

// closeInput ends the command's input. A terminal has no such end: its users
// type the character that means one.
func (p *process) closeInput() {
	if p.master == nil {
		p.input.Close()
	}
}

// copyOutput sends until the source ends, which for a terminal is an error
// (EIO), or until the client takes no more.
func (p *process) copyOutput(to io.Writer, from *os.File) {
	buffer := make([]byte, 32<<10)
	for {
		if p.master != nil {
			select {
			case <-p.exited:
				if err := from.SetReadDeadline(time.Now().Add(drainQuiet)); err != nil {
					return
				}
			default:
			}
		}
		count, err := from.Read(buffer)
		if count > 0 {
			if _, err := to.Write(buffer[:count]); err != nil {
				from.Close()
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// drain gives a terminal's reader, which may be waiting, its last deadline.
// Pipes end by themselves when the last writer has closed them, and as under
// OpenSSH a background process may be the last.
func (p *process) drain() {
	if p.master != nil {
		// A file without deadlines ends with an error when its last user goes.
		_ = p.master.SetReadDeadline(time.Now().Add(drainQuiet))
	}
}

// release closes our ends. The command notices when it uses its own.
func (p *process) release() {
	for _, file := range []*os.File{p.input, p.output, p.errors} {
		if file != nil {
			file.Close() // a second time does nothing
		}
	}
}
