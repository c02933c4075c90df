package sshd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/causewayhq/causeway/agent/login"
	"github.com/causewayhq/causeway/proto/agentv2"
)

// Config says how sessions run.
type Config struct {
	// HostKey proves the server's identity to clients.
	HostKey ssh.Signer
	// Logger gets connections and refusals, never what passes through them.
	Logger *slog.Logger
	// Login makes the programs that sessions run.
	Login login.Login

	// Banners are the deployment's, MOTD the path of the workspace's message of the
	// day; login shells show them. Nil: there are none.
	Banners func() []string
	MOTD    func() string
	// Opened is told of each session, and each connection of an editor, that
	// begins, and answers with what is to be told of its end. Nil: nobody listens.
	Opened func(kind agentv2.Connection_Type, remote net.Addr) (closed func(code int32, reason string))

	// BlockFileTransfer refuses SFTP and the usual programs of file transfer,
	// BlockLocalForward what -L, -D, -J and -W do, BlockReverseForward -R.
	BlockFileTransfer, BlockLocalForward, BlockReverseForward bool
	// IdleTimeout ends connections over which no data passes, MaxSession those that
	// have lasted so long. Zero: none.
	IdleTimeout, MaxSession time.Duration
	// MaxTimeout from 3 s on is how long a client may leave questions without an
	// answer; a shorter one ends connections that have lasted so long (docs of the
	// protocol, 5.3). Zero: none.
	MaxTimeout time.Duration
}

// Server serves SSH connections. Its methods are safe for concurrent use.
type Server struct {
	config Config
	ssh    *ssh.ServerConfig

	mu        sync.Mutex
	closed    bool
	listeners map[net.Listener]struct{}
	conns     map[net.Conn]*connection // nil in their handshake
	shaking   []net.Conn               // in their handshake, the oldest first
	work      sync.WaitGroup

	displays  displays
	processes processes
	// home is the user's home directory, but for tests.
	home func() string
}

// New checks the configuration and makes a server. Shutdown ends it.
func New(config Config) (*Server, error) {
	switch {
	case config.HostKey == nil:
		return nil, errors.New("make ssh server: no host key")
	case config.Logger == nil:
		return nil, errors.New("make ssh server: no logger")
	}
	wire := &ssh.ServerConfig{
		NoClientAuth:  true,
		ServerVersion: "SSH-2.0-Causeway",
		PasswordCallback: func(ssh.ConnMetadata, []byte) (*ssh.Permissions, error) {
			return nil, nil
		},
		PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) {
			return nil, nil
		},
	}
	wire.AddHostKey(config.HostKey)
	return &Server{
		config: config, ssh: wire,
		listeners: map[net.Listener]struct{}{}, conns: map[net.Conn]*connection{},
		processes: processes{find: findCommandLine}, home: func() string { return login.Current().Home },
	}, nil
}

// Serve accepts connections until the listener fails or Shutdown is called,
// which closes the listener; nil is the answer in the second case.
func (s *Server) Serve(listener net.Listener) error {
	if !s.add(func() { s.listeners[listener] = struct{}{} }) {
		listener.Close()
		return nil
	}
	defer s.remove(func() { delete(s.listeners, listener) })
	for {
		conn, err := listener.Accept()
		if err != nil {
			if s.isClosed() {
				return nil
			}
			return fmt.Errorf("accept ssh connection: %w", err)
		}
		go s.ServeConn(conn)
	}
}

// ServeConn serves one connection until it ends, and closes it.
func (s *Server) ServeConn(conn net.Conn) {
	defer conn.Close()
	if !s.add(func() { s.conns[conn] = nil }) {
		return
	}
	oldest, room := s.shake(conn)
	if oldest != nil {
		oldest.Close()
	}
	defer s.remove(func() { delete(s.conns, conn) })

	remote := slog.String("remote", conn.RemoteAddr().String())
	if !room {
		s.config.Logger.Warn("ssh connection refused: there are too many", remote)
		return
	}
	s.config.Logger.Debug("ssh connection taken", remote)
	if err := conn.SetDeadline(time.Now().Add(handshakeLimit)); err != nil {
		s.config.Logger.Debug("ssh connection has no deadlines", remote, slog.String("error", err.Error()))
	}
	wire, channels, requests, err := ssh.NewServerConn(conn, s.ssh)
	s.shaken(conn)
	if err != nil {
		s.config.Logger.Debug("ssh handshake failed", remote, slog.String("error", err.Error()))
		return
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return
	}
	s.config.Logger.Debug("ssh connection opened", remote)
	c := newConnection(s, wire)
	s.greeted(conn, c)
	c.serve(channels, requests)
	s.config.Logger.Debug("ssh connection closed", remote)
}

// Shutdown closes the listeners and ends every connection, each of which is told
// why, which hangs up the terminals; it waits until all has ended or the context
// does. Commands that run without a terminal go on.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	for listener := range s.listeners {
		listener.Close()
	}
	for conn, c := range s.conns {
		if c == nil {
			conn.Close()
			continue
		}
		if c.ending(endReason) {
			s.work.Go(func() { c.farewell(endReason) })
		}
	}
	s.mu.Unlock()

	done := make(chan struct{})
	go func() {
		s.work.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		s.mu.Lock()
		for conn := range s.conns {
			conn.Close()
		}
		s.mu.Unlock()
		return fmt.Errorf("wait for ssh sessions to end: %w", ctx.Err())
	}
}

// greeted notes that a connection has its handshake behind it. Shutdown may have
// closed it meanwhile.
func (s *Server) greeted(conn net.Conn, c *connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[conn] = c
	if s.closed {
		c.ending(endReason)
	}
}

// add counts one more goroutine for Shutdown to wait for; false says that the
// server is closed and register did not run.
func (s *Server) add(register func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	register()
	s.work.Add(1)
	return true
}

func (s *Server) remove(unregister func()) {
	s.mu.Lock()
	unregister()
	s.mu.Unlock()
	s.work.Done()
}

// shake counts a connection whose handshake begins. The oldest one that is
// still in its own must go when there are too many.
func (s *Server) shake(conn net.Conn) (oldest net.Conn, room bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.conns) > maxConnections {
		return nil, false
	}
	s.shaking = append(s.shaking, conn)
	if len(s.shaking) > maxHandshakes {
		oldest, s.shaking = s.shaking[0], s.shaking[1:]
	}
	return oldest, true
}

func (s *Server) shaken(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shaking = slices.DeleteFunc(s.shaking, func(other net.Conn) bool { return other == conn })
}

func (s *Server) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}
