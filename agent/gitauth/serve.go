package gitauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/net/netutil"
)

// The sockets in the directory.
const (
	KeySocket        = "key.sock"
	CredentialSocket = "credential.sock"
)

const (
	// connections are the most that are open at once on each socket; git opens one
	// for each fetch, and a large clone of submodules a few dozen.
	connections = 128
	// idleLimit ends a connection on which nothing is asked: git's own are done
	// within seconds of the first question, or wait for a person with a token.
	idleLimit = 2 * time.Minute
)

// Serve answers on both sockets until the context ends, and takes them away.
// What a killed process has left there is replaced.
func (s *Server) Serve(ctx context.Context) error {
	keys, err := s.listen(KeySocket)
	if err != nil {
		return err
	}
	defer keys.Close()
	credentials, err := s.listen(CredentialSocket)
	if err != nil {
		return err
	}
	web := &http.Server{
		Handler: http.HandlerFunc(s.answer), ErrorLog: slog.NewLogLogger(s.config.Logger.Handler(), slog.LevelDebug),
		ReadTimeout: idleLimit, WriteTimeout: idleLimit, MaxHeaderBytes: answerMost,
	}
	defer web.Close()
	var serving sync.WaitGroup
	defer serving.Wait()
	defer context.AfterFunc(ctx, func() {
		keys.Close()
		web.Close()
	})()
	serving.Go(func() { s.serveKeys(ctx, keys) })
	// One too many waits here, where the one for keys is closed: git asks once for a
	// password, and goes on without one.
	err = web.Serve(netutil.LimitListener(credentials, connections))
	keys.Close()
	if ctx.Err() != nil || errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve git credentials: %w", err)
}

func (s *Server) listen(name string) (net.Listener, error) {
	path := filepath.Join(s.config.Directory, name)
	if err := os.MkdirAll(s.config.Directory, 0o700); err != nil {
		return nil, fmt.Errorf("listen for git: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("listen for git: %w", err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen for git: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		listener.Close()
		return nil, fmt.Errorf("listen for git: %w", err)
	}
	return listener, nil
}

// serveKeys speaks the protocol of SSH agents.
func (s *Server) serveKeys(ctx context.Context, listener net.Listener) {
	var serving sync.WaitGroup
	defer serving.Wait()
	places := make(chan struct{}, connections)
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		select {
		case places <- struct{}{}:
		default:
			conn.Close()
			continue
		}
		serving.Go(func() {
			defer func() { <-places }()
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { conn.Close() })()
			// It ends when the client goes, with an error or without.
			_ = agent.ServeAgent(readOnly{ctx, s}, idleConn{conn})
		})
	}
}

// idleConn ends when nothing comes for a while.
type idleConn struct{ net.Conn }

func (c idleConn) Read(buffer []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(idleLimit)); err != nil {
		return 0, err
	}
	return c.Conn.Read(buffer)
}

// readOnly shows the one key and signs with it. Nothing can be added, removed
// or locked: the key is not the workspace's to change.
type readOnly struct {
	ctx    context.Context
	server *Server
}

var errReadOnly = errors.New("the key of the workspace's owner cannot be changed here")

func (r readOnly) List() ([]*agent.Key, error) {
	keyring, err := r.server.key(r.ctx)
	if err != nil {
		return nil, err
	}
	return keyring.List()
}

func (r readOnly) Sign(key ssh.PublicKey, data []byte) (*ssh.Signature, error) {
	return r.SignWithFlags(key, data, 0)
}

func (r readOnly) SignWithFlags(key ssh.PublicKey, data []byte, flags agent.SignatureFlags) (*ssh.Signature, error) {
	keyring, err := r.server.key(r.ctx)
	if err != nil {
		return nil, err
	}
	return keyring.SignWithFlags(key, data, flags)
}

func (r readOnly) Extension(string, []byte) ([]byte, error) {
	return nil, agent.ErrExtensionUnsupported
}
func (r readOnly) Add(agent.AddedKey) error       { return errReadOnly }
func (r readOnly) Remove(ssh.PublicKey) error     { return errReadOnly }
func (r readOnly) RemoveAll() error               { return errReadOnly }
func (r readOnly) Lock([]byte) error              { return errReadOnly }
func (r readOnly) Unlock([]byte) error            { return errReadOnly }
func (r readOnly) Signers() ([]ssh.Signer, error) { return nil, errReadOnly }
