package sshd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/causewayhq/causeway/agent/login"
)

// handshakeLimit bounds the time from accepting a connection to the end of its
// handshake. OpenSSH's server allows two minutes, for somebody who types a
// password; nobody types here.
const handshakeLimit = 30 * time.Second

// Config says how sessions run.
type Config struct {
	// HostKey proves the server's identity to clients.
	HostKey ssh.Signer
	// Logger gets connections and refusals, never what passes through them.
	Logger *slog.Logger
	// Login makes the programs that sessions run.
	Login login.Login
}

// Server serves SSH connections. Its methods are safe for concurrent use.
type Server struct {
	config Config
	ssh    *ssh.ServerConfig

	mu        sync.Mutex
	closed    bool
	listeners map[net.Listener]struct{}
	conns     map[net.Conn]struct{}
	work      sync.WaitGroup
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
		listeners: map[net.Listener]struct{}{}, conns: map[net.Conn]struct{}{},
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
	if !s.add(func() { s.conns[conn] = struct{}{} }) {
		return
	}
	defer s.remove(func() { delete(s.conns, conn) })

	remote := slog.String("remote", conn.RemoteAddr().String())
	s.config.Logger.Debug("ssh connection taken", remote)
	if err := conn.SetDeadline(time.Now().Add(handshakeLimit)); err != nil {
		s.config.Logger.Debug("ssh connection has no deadlines", remote, slog.String("error", err.Error()))
	}
	wire, channels, requests, err := ssh.NewServerConn(conn, s.ssh)
	if err != nil {
		s.config.Logger.Debug("ssh handshake failed", remote, slog.String("error", err.Error()))
		return
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return
	}
	s.config.Logger.Debug("ssh connection opened", remote)
	newConnection(s, wire).serve(channels, requests)
	s.config.Logger.Debug("ssh connection closed", remote)
}

// Shutdown closes the listeners and every connection, which hangs up the
// terminals, and waits until all has ended or the context does. Commands that
// run without a terminal go on.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	for listener := range s.listeners {
		listener.Close()
	}
	for conn := range s.conns {
		conn.Close()
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
		return fmt.Errorf("wait for ssh sessions to end: %w", ctx.Err())
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

func (s *Server) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}
