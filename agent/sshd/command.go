package sshd

import (
	"fmt"
	"io"
	"log/slog"
	"sync"
)

// exit is how a command ended: by a signal (its name without SIG), or else
// with a status.
type exit struct {
	status uint32
	signal string
	core   bool
	// cause says, for the reports, why it ended so, where status and signal do not.
	cause string
}

// report is what the control plane hears of a session's end.
func (e exit) report() (code int32, reason string) {
	switch {
	case e.cause != "":
		return int32(e.status), e.cause
	case e.signal != "":
		return statusUnknown, "ended by signal " + e.signal
	case e.status != 0:
		return int32(e.status), fmt.Sprintf("exited with status %d", e.status)
	}
	return 0, ""
}

// runCommand runs the shell, or a command in it, until it has ended and all of
// its output was sent, or the client has gone.
func (s *session) runCommand(line string) exit {
	if s.conn.server.config.BlockFileTransfer && transfers(line) {
		return s.refuseTransfer()
	}
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
	preface := ""
	if s.pty != nil && line == "" {
		preface = s.conn.server.preface()
	}
	return s.attend(process, preface)
}

// refuseTransfer tells the client that files do not pass here.
func (s *session) refuseTransfer() exit {
	s.say(transferRefused)
	return exit{status: statusTransfer, cause: "file transfer is disabled"}
}

// say shows the user a line of the server's own.
func (s *session) say(line string) { _, _ = io.WriteString(s.channel.Stderr(), line+"\r\n") }

// failSetup tells the client why nothing ran.
func (s *session) failSetup(err error) exit {
	s.log.Debug("ssh session failed to start", slog.String("error", err.Error()))
	s.say("causeway-agent: start session: " + err.Error())
	return exit{status: statusSetup, cause: "the session could not be started"}
}

// attend moves input and output, and carries out signals and resizes. What
// precedes the output is sent beside them: the client may not be reading.
func (s *session) attend(p *process, preface string) exit {
	var pumps sync.WaitGroup
	pumps.Go(func() {
		// Input ends when the client says so; a failed write says that the
		// command does not read any more, which is its right.
		_, _ = io.Copy(p.input, s.channel)
		p.closeInput()
	})
	outputs := make(chan struct{})
	var output sync.WaitGroup
	output.Go(func() {
		_, _ = io.WriteString(s.channel, preface)
		p.copyOutput(s.channel, p.output)
	})
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
			return exit{status: statusUnknown, cause: s.conn.ended()}
		}
		if exited == nil && finished == nil {
			return p.result
		}
	}
}
