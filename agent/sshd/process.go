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
	input  io.WriteCloser
	output io.ReadCloser
	errors io.ReadCloser // nil with a terminal
	// console is the terminal, if there is one.
	console console

	// exited is closed when the command has ended, and result is valid then.
	exited chan struct{}
	result exit
}

// startProcess starts the command in a session and process group of its own.
func startProcess(cmd *exec.Cmd, terminal *ptyMessage) (*process, error) {
	separate(cmd)
	p := &process{cmd: cmd, exited: make(chan struct{})}
	if terminal != nil {
		return p, p.startOnTerminal(terminal)
	}
	theirs, err := p.openPipes()
	return p, p.launch(theirs, err)
}

// launch starts the command with its ends of its streams, unless making them
// has failed.
func (p *process) launch(theirs []*os.File, err error) error {
	cmd := p.cmd
	if err == nil {
		err = cmd.Start()
	}
	for _, file := range theirs {
		file.Close()
	}
	if err != nil {
		p.release()
		return fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	go p.wait()
	return nil
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
		divide func(ours, theirs *os.File)
		input  bool
	}{
		{func(ours, theirs *os.File) { p.input, p.cmd.Stdin = ours, theirs }, true},
		{func(ours, theirs *os.File) { p.output, p.cmd.Stdout = ours, theirs }, false},
		{func(ours, theirs *os.File) { p.errors, p.cmd.Stderr = ours, theirs }, false},
	} {
		read, write, err := os.Pipe()
		if err != nil {
			return theirs, fmt.Errorf("make pipe: %w", err)
		}
		if end.input {
			read, write = write, read
		}
		end.divide(read, write)
		theirs = append(theirs, write)
	}
	return theirs, nil
}

// closeInput ends the command's input. A terminal has no such end: its users
// type the character that means one.
func (p *process) closeInput() {
	if !p.console.open() {
		p.input.Close()
	}
}

// copyOutput sends until the source ends, which for a terminal is an error
// (EIO), or until the client takes no more.
func (p *process) copyOutput(to io.Writer, from io.ReadCloser) {
	buffer := make([]byte, 32<<10)
	for {
		select {
		case <-p.exited:
			p.drain()
		default:
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
	if p.console.open() {
		p.console.endAfter(drainQuiet)
	}
}

// release closes our ends. The command notices when it uses its own.
func (p *process) release() {
	for _, end := range []io.Closer{p.input, p.output, p.errors} {
		if end != nil {
			end.Close() // a second time does nothing
		}
	}
}
