package rpty

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/agent/rpty/vt"
	"github.com/causewayhq/causeway/proto/agentv2"
)

// What the protocol says (5.2).
const (
	// DefaultIdle is how long a terminal stays without a viewer.
	DefaultIdle = 5 * time.Minute
	// attachLimit is how long attaching may take.
	attachLimit = 30 * time.Second
	// overLimit is how much of it may go into waiting for a terminal's program that
	// is ending: who waited is to hear why in the rest.
	overLimit = 20 * time.Second
)

// Limits of ours.
const (
	// maxSessions is how many terminals there are at once. Each keeps less than
	// 16 MiB (package vt), and 3 MiB at 200 by 50.
	maxSessions = 64
	// maxViewers is how many watch one terminal; each has a queue of maxQueue.
	maxViewers = 16
	// maxConns bounds connections, those that have not said yet what they want
	// among them.
	maxConns = 256
	// lostLimit is how long a terminal waits for a viewer that went without closing
	// its connection, as one does whose laptop sleeps: a night and more.
	lostLimit = 24 * time.Hour
	// endGrace is how long programs have to tidy up after a hang-up.
	endGrace = 2 * time.Second
	// killLimit is how long Kill waits for a terminal to be gone.
	killLimit = 10 * time.Second
)

// Program is a command on a terminal. Reads return an error when it has ended
// and its output was read.
type Program interface {
	io.ReadWriteCloser
	Resize(columns, rows int) error
	Done() <-chan struct{}
	Exit() (code int, signal string) // after Done
	// End ends the whole tree of processes: hangs up, and kills after grace.
	End(grace time.Duration)
}

// Config of a server. Logger and Start are required.
type Config struct {
	Logger *slog.Logger
	// Start runs the command, a shell for "", on a terminal of this size.
	Start func(command string, columns, rows int) (Program, error)
	// Idle is how long a terminal stays without a viewer, unless the last ones went
	// without a word. 0: DefaultIdle.
	Idle time.Duration
	// Opened hears of each attachment and of its end. Nil: nobody does.
	Opened func(kind agentv2.Connection_Type, remote net.Addr) (closed func(code int32, reason string))
}

// Info describes a terminal that is there.
type Info struct {
	ID            uuid.UUID
	Command       string // "": a shell
	Started       time.Time
	Viewers       int
	IdleSince     time.Time // zero while there are viewers
	Columns, Rows int
	Title         string
}

// Server keeps the terminals of an agent. It is safe for concurrent use.
type Server struct {
	config Config
	log    *slog.Logger
	work   sync.WaitGroup // connections and sessions

	mu       sync.Mutex
	closed   bool
	sessions map[uuid.UUID]*session
	conns    map[net.Conn]bool
}

// New makes a server without terminals.
func New(config Config) *Server {
	if config.Idle <= 0 {
		config.Idle = DefaultIdle
	}
	if config.Opened == nil {
		config.Opened = func(agentv2.Connection_Type, net.Addr) func(int32, string) { return func(int32, string) {} }
	}
	return &Server{config: config, log: config.Logger, sessions: map[uuid.UUID]*session{}, conns: map[net.Conn]bool{}}
}

// Serve takes connections until the listener ends. Terminals outlive it.
func (s *Server) Serve(listener net.Listener) error {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return fmt.Errorf("accept terminal connection: %w", err)
		}
		s.mu.Lock()
		taken := !s.closed && len(s.conns) < maxConns
		if taken {
			s.conns[conn] = true
			s.work.Go(func() {
				s.handle(conn)
				conn.Close()
				s.mu.Lock()
				delete(s.conns, conn)
				s.mu.Unlock()
			})
		}
		s.mu.Unlock()
		if !taken {
			conn.Close()
		}
	}
}

// handle serves one connection. Who cannot be served is told why, as text.
func (s *Server) handle(conn net.Conn) {
	_ = conn.SetDeadline(time.Now().Add(attachLimit)) // a closed connection fails below
	wanted, err := readInit(conn)
	if err != nil {
		s.log.Debug("terminal connection sent no request", slog.String("error", err.Error()))
		return
	}
	var session *session
	v := newViewer(conn, wanted)
	switch {
	case wanted.ID == uuid.Nil:
		// All who name none would share one terminal.
		err = errors.New("the request names no terminal (ID)")
	case wanted.Container != "" || wanted.ContainerUser != "":
		err = errors.New("there are no containers in this workspace")
	default:
		session, err = s.attach(wanted, v)
	}
	if err != nil {
		s.log.Debug("terminal not attached", slog.String("error", err.Error()))
		_, _ = fmt.Fprintf(conn, "causeway: attach terminal: %v\r\n", err) // it may be gone
		return
	}
	closed := s.config.Opened(agentv2.Connection_RECONNECTING_PTY, conn.RemoteAddr())
	closed(session.serve(v))
}

// attach finds the terminal, or starts it, and adds the viewer.
func (s *Server) attach(wanted initial, v *viewer) (*session, error) {
	for {
		found, err := s.session(wanted)
		if err != nil {
			return nil, err
		}
		err = found.add(v)
		if wanted.Resume || !errors.Is(err, errEnded) {
			return found, err
		}
		// It has ended meanwhile, and makes room for another.
		select {
		case <-found.over:
		case <-time.After(overLimit):
			return nil, errors.New("the terminal's program does not end")
		}
	}
}

// session is the one of the id. The lock is not held while a program starts,
// which may take its time: who asks for the same one waits for it.
func (s *Server) session(wanted initial) (*session, error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, errors.New("the agent is ending")
	}
	found := s.sessions[wanted.ID]
	if found != nil {
		s.mu.Unlock()
		<-found.ready
		return found, found.failed
	}
	if wanted.Resume {
		s.mu.Unlock()
		return nil, errEnded // and nobody has asked for another
	}
	if len(s.sessions) >= maxSessions && !s.makeRoom() {
		s.mu.Unlock()
		return nil, fmt.Errorf("there are %d terminals, and no more are allowed; end one", maxSessions)
	}
	columns, rows := vt.Clamp(wanted.Width, wanted.Height)
	found = newSession(s, wanted, columns, rows)
	s.sessions[wanted.ID] = found
	s.work.Add(1)
	s.mu.Unlock()

	found.start()
	return found, found.failed
}

// makeRoom ends the terminal that has waited longest for viewers that are lost, if
// there is one, and says whether. The caller holds mu.
func (s *Server) makeRoom() bool {
	var oldest *session
	var since time.Time
	for _, each := range s.sessions {
		if at, waits := each.waitsForLost(); waits && (oldest == nil || at.Before(since)) {
			oldest, since = each, at
		}
	}
	const reason = "another terminal needed its place"
	if oldest == nil || !oldest.claim(reason) {
		return false // somebody came just now
	}
	delete(s.sessions, oldest.id)
	s.work.Go(func() { oldest.end(reason, endGrace) })
	return true
}

// forget takes a session that is over from the list.
func (s *Server) forget(gone *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sessions[gone.id] == gone {
		delete(s.sessions, gone.id)
	}
}

func (s *Server) all() []*session {
	s.mu.Lock()
	defer s.mu.Unlock()
	result := make([]*session, 0, len(s.sessions))
	for _, each := range s.sessions {
		result = append(result, each)
	}
	return result
}

// List describes all terminals, in no order.
func (s *Server) List() []Info {
	var result []Info
	for _, each := range s.all() {
		select {
		case <-each.ready:
			if info, there := each.info(); there {
				result = append(result, info)
			}
		default:
		}
	}
	return result
}

// Kill ends a terminal with all its processes; fs.ErrNotExist says that there
// is none of this id.
func (s *Server) Kill(id uuid.UUID) error {
	s.mu.Lock()
	found := s.sessions[id]
	s.mu.Unlock()
	if found == nil {
		return fs.ErrNotExist
	}
	<-found.ready
	if found.failed != nil {
		return fs.ErrNotExist
	}
	found.end("killed", endGrace)
	timer := time.NewTimer(killLimit)
	defer timer.Stop()
	select {
	case <-found.over:
		return nil
	case <-timer.C:
		return fmt.Errorf("kill terminal %s: it has not ended in %v", id, killLimit)
	}
}

// Shutdown ends all terminals with their processes, and all connections. When
// ctx ends, the processes have had their time.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	grace := endGrace
	if deadline, ok := ctx.Deadline(); ok {
		grace = min(grace, time.Until(deadline)/2)
	}
	var ends sync.WaitGroup
	for _, each := range s.all() {
		ends.Go(func() {
			<-each.ready
			if each.failed == nil {
				each.end("the agent is ending", grace)
				<-each.over
			}
		})
	}
	ended := make(chan struct{})
	go func() {
		ends.Wait()
		s.mu.Lock()
		for conn := range s.conns {
			// Viewers have had what there was when their session was over.
			_ = conn.SetDeadline(time.Now().Add(time.Second))
		}
		s.mu.Unlock()
		s.work.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("end terminals: %w", ctx.Err())
	}
}
