package sshd

import (
	"log/slog"
	"net"
	"sync"

	"golang.org/x/crypto/ssh"

	"github.com/causewayhq/causeway/agent/login"
)

// Exit statuses that are the server's own; they are those of
// the protocol's other implementation (docs of the protocol, 5.3).
const (
	statusFailed  = 1
	statusUnknown = 255
	statusSetup   = 229
)

// window is the size of a terminal, in cells and in pixels.
type window struct{ Columns, Rows, Width, Height uint32 }

type ptyMessage struct {
	Term                         string
	Columns, Rows, Width, Height uint32
	Modes                        string
}

// session is one session channel. Its requests are handled in order by one
// goroutine; the command runs in another.
type session struct {
	conn    *connection
	channel ssh.Channel
	log     *slog.Logger

	variables     []string
	variableBytes int
	pty           *ptyMessage
	agentSocket   net.Listener
	x11           *display

	// gone is closed when the client has closed the channel.
	gone    chan struct{}
	started bool
	// commanded says that what was started is a process, which control reaches.
	commanded bool
	control   chan func(*process)
	done      chan struct{}

	// mu guards the end of the output, after which nobody may write.
	mu       sync.Mutex
	finished bool
}

// handleSession serves one session channel until it ends on both sides.
func handleSession(conn *connection, offered ssh.NewChannel) {
	channel, requests, err := offered.Accept()
	if err != nil {
		return
	}
	s := &session{
		conn: conn, channel: stirring{channel, conn}, log: conn.server.config.Logger,
		gone: make(chan struct{}), control: make(chan func(*process)), done: make(chan struct{}),
	}
	conn.mu.Lock()
	conn.sessions[s] = struct{}{}
	conn.mu.Unlock()
	for request := range requests {
		accepted := s.handle(request)
		if request.WantReply {
			_ = request.Reply(accepted, nil)
		}
		if accepted && !s.started {
			s.start(request)
		}
	}
	close(s.gone)
	if s.started {
		<-s.done
	}
	if s.agentSocket != nil {
		s.agentSocket.Close()
	}
	s.closeX11()
	conn.mu.Lock()
	delete(conn.sessions, s)
	conn.mu.Unlock()
	channel.Close()
}

// handle judges one request and keeps what it says.
func (s *session) handle(request *ssh.Request) bool {
	switch request.Type {
	case "env":
		return s.addVariable(request.Payload)
	case "pty-req":
		return s.addTerminal(request.Payload)
	case "auth-agent-req@openssh.com":
		return s.addAgent()
	case "x11-req":
		return s.addX11(request.Payload)
	case "shell":
		return !s.started
	case "exec", "subsystem":
		var text struct{ Value string }
		return !s.started && ssh.Unmarshal(request.Payload, &text) == nil
	case "signal":
		var name struct{ Value string }
		return ssh.Unmarshal(request.Payload, &name) == nil && s.signal(name.Value)
	case "window-change":
		var size window
		return ssh.Unmarshal(request.Payload, &size) == nil && s.resize(size)
	}
	return false
}

// start runs what an accepted shell, exec or subsystem request asks for. The
// acceptance has been answered before, so that it precedes any output.
func (s *session) start(request *ssh.Request) {
	var text struct{ Value string }
	run := s.runCommand
	switch request.Type {
	case "shell":
	case "exec":
		_ = ssh.Unmarshal(request.Payload, &text)
	case "subsystem":
		_ = ssh.Unmarshal(request.Payload, &text)
		run = s.runSubsystem
	default:
		return
	}
	s.started, s.commanded = true, request.Type != "subsystem"
	s.conn.work.Go(func() {
		defer close(s.done)
		closed := s.conn.sessionOpened(s.kind(text.Value))
		result := run(text.Value)
		s.finish(result)
		closed(result.report())
	})
}

// finish sends how the command ended, the end of output, and closes the channel,
// in this order: OpenSSH may close at the end of output, and after that x/crypto
// sends nothing more. Each may fail only because the client has gone.
func (s *session) finish(result exit) {
	if result.signal != "" {
		_, _ = s.channel.SendRequest("exit-signal", false, ssh.Marshal(struct {
			Signal   string
			Core     bool
			Message  string
			Language string
		}{result.signal, result.core, "", ""}))
	} else {
		_, _ = s.channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{result.status}))
	}
	s.mu.Lock()
	s.finished = true
	_ = s.channel.CloseWrite()
	s.mu.Unlock()
	s.channel.Close()
}

// farewell tells the user why the connection ends, unless the session is over. Its
// end waits for that, at the longest until the connection is closed.
func (s *session) farewell(reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.finished {
		s.say(reason)
	}
}

func (s *session) addVariable(payload []byte) bool {
	var variable struct{ Name, Value string }
	if s.started || ssh.Unmarshal(payload, &variable) != nil {
		return false
	}
	size := len(variable.Name) + len(variable.Value)
	if len(s.variables) >= maxVariables || s.variableBytes+size > maxVariableBytes {
		return false
	}
	if !login.Valid(variable.Name, variable.Value) {
		return false
	}
	s.variables = append(s.variables, variable.Name+"="+variable.Value)
	s.variableBytes += size
	return true
}

func (s *session) addTerminal(payload []byte) bool {
	var terminal ptyMessage
	if s.started || s.pty != nil || ssh.Unmarshal(payload, &terminal) != nil {
		return false
	}
	s.pty = &terminal
	return true
}

func (s *session) signal(name string) bool {
	number, known := signalNumbers[name]
	return known && s.tell(func(p *process) { p.signal(number) })
}

func (s *session) resize(size window) bool {
	return s.pty != nil && s.tell(func(p *process) { p.resize(size) })
}

// tell hands an order to the goroutine that owns the process, and says whether
// there was one to take it.
func (s *session) tell(order func(*process)) bool {
	if !s.commanded {
		return false
	}
	select {
	case s.control <- order:
		return true
	case <-s.done:
		return false
	}
}
