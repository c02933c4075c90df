package sshd

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// exit is how a command ended: by a signal (its name without SIG), or else
// with a status.
type exit struct {
	status uint32
	signal string
	core   bool
}

// runCommand runs the shell, or a command in it, until it has ended and all of
// its output was sent, or the client has gone.
func (s *session) runCommand(line string) exit {
	identity := currentIdentity()
	cmd, cleanup, err := s.command(identity, line)
	if err != nil {
		return s.failSetup(err)
	}
	defer cleanup()
	process, err := startProcess(cmd, s.pty)
	if err != nil {
		return s.failSetup(err)
	}
	return s.attend(process)
}

// failSetup tells the client why nothing ran.
func (s *session) failSetup(err error) exit {
	s.log.Debug("ssh session failed to start")
	fmt.Fprintf(s.channel.Stderr(), "causeway-agent: start session: %v\r\n", err)
	return exit{status: statusSetup}
}

// attend moves input and output, and carries out signals and resizes.
func (s *session) attend(p *process) exit {
	var pumps sync.WaitGroup
	pumps.Go(func() {
		// Input ends when the client says so; a failed write says that the
		// command does not read any more, which is its right.
		_, _ = io.Copy(p.input, s.channel)
		p.closeInput()
	})
	outputs := make(chan struct{})
	var output sync.WaitGroup
	output.Go(func() { p.copyOutput(s.channel, p.output) })
	if p.errors != nil {
		output.Go(func() { p.copyOutput(s.channel.Stderr(), p.errors) })
	}
	go func() {
		output.Wait()
		close(outputs)
	}()
	defer func() {
		p.release()
		<-outputs
		// The input pump may wait for the client, who hears of the end only
		// after this function; it ends with the channel.
		s.conn.work.Go(pumps.Wait)
	}()

	exited := p.exited
	finished := outputs
	for {
		select {
		case <-exited:
			// The tail of the output follows; a terminal that a background
			// process holds open is not waited for.
			p.drain()
			exited = nil
		case <-finished:
			finished = nil
		case order := <-s.control:
			order(p)
			continue
		case <-s.gone:
			p.hangUp()
			return exit{}
		}
		if exited == nil && finished == nil {
			return p.result
		}
	}
}

// command builds the process that a session runs.
func (s *session) command(identity identity, line string) (*exec.Cmd, func(), error) {
	cleanup := func() {}
	var cmd *exec.Cmd
	switch {
	case line == "":
		cmd = exec.Command(identity.shell, loginFlags...)
	case strings.HasPrefix(line, "#!"):
		interpreter, arguments, remove, err := writeScript(line)
		if err != nil {
			return nil, nil, err
		}
		cmd, cleanup = exec.Command(interpreter, arguments...), remove
	default:
		cmd = exec.Command(identity.shell, commandFlag, line)
	}
	cmd.Dir = firstDirectory(s.conn.server.config.Directory(), identity.home)
	cmd.Env = s.environment(identity)
	return cmd, cleanup, nil
}

// writeScript stores a script that names its interpreter. The interpreter is
// started by hand, as the kernel would, so that a file system mounted without
// the right to execute does no harm.
func writeScript(script string) (interpreter string, arguments []string, remove func(), err error) {
	first, _, _ := strings.Cut(strings.TrimPrefix(script, "#!"), "\n")
	words := strings.SplitN(strings.TrimSpace(first), " ", 2)
	if words[0] == "" {
		return "", nil, nil, errors.New("run script: the first line names no interpreter")
	}
	file, err := os.CreateTemp("", "causeway-script-*")
	if err != nil {
		return "", nil, nil, fmt.Errorf("store script: %w", err)
	}
	remove = func() { os.Remove(file.Name()) }
	_, writeErr := file.WriteString(script)
	if err := errors.Join(writeErr, file.Close()); err != nil {
		remove()
		return "", nil, nil, fmt.Errorf("store script %s: %w", file.Name(), err)
	}
	if len(words) == 2 {
		arguments = append(arguments, strings.TrimSpace(words[1]))
	}
	return words[0], append(arguments, file.Name()), remove, nil
}

// firstDirectory is the first of the candidates that can be entered; the root
// directory, when none can.
func firstDirectory(candidates ...string) string {
	for _, path := range candidates {
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			return path
		}
	}
	return string(filepath.Separator)
}
