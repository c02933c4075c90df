package sshd

import (
	"fmt"
	"io"
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
	cmd, cleanup, err := s.conn.server.config.Login.Command(line)
	if err != nil {
		return s.failSetup(err)
	}
	defer cleanup()
	cmd.Env = s.environment(cmd.Env)
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
