//go:build unix

package sshd

import (
	"context"
	"errors"
	"io"
	"net"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// stuck is a connection whose writes hang from some time on until it is closed.
type stuck struct {
	net.Conn
	hangs  atomic.Bool
	closed chan struct{}
	once   sync.Once
}

func (s *stuck) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

func (s *stuck) Write(data []byte) (int, error) {
	if s.hangs.Load() {
		<-s.closed
		return 0, net.ErrClosed
	}
	return s.Conn.Write(data)
}

func (s *stuck) Close() error {
	s.once.Do(func() { close(s.closed) })
	return s.Conn.Close()
}

// deaf is a client with a session to whom nothing can be said any more.
func (r *rig) deaf(t *testing.T) *ssh.Client {
	t.Helper()
	ours, theirs := newEnds()
	conn := &stuck{Conn: ours, closed: make(chan struct{})}
	go r.server.ServeConn(conn)
	wire, channels, requests, err := ssh.NewClientConn(theirs, "", &ssh.ClientConfig{HostKeyCallback: ssh.InsecureIgnoreHostKey()})
	if err != nil {
		t.Fatal(err)
	}
	client := ssh.NewClient(wire, channels, requests)
	t.Cleanup(func() { client.Close() })
	session, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	output, err := session.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := session.RequestPty("vt100", 24, 80, nil); err != nil {
		t.Fatal(err)
	}
	if err := session.Start("echo; exec sleep 30"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(output, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	conn.hangs.Store(true)
	return client
}

// TestShutdownSaysWhy: users read that the agent ends, and the control plane hears
// it; those who read nothing cost a second, however many they are.
func TestShutdownSaysWhy(t *testing.T) {
	var log reportLog
	r := newRigWith(t, func(config *Config) { config.Opened = log.opened })
	cmd := r.command("ssh", "-tt", "127.0.0.1", "echo there; exec sleep 30")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(stdout, make([]byte, len("there"))); err != nil {
		t.Fatal(err)
	}
	const deaf = 5
	for range deaf {
		r.deaf(t)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	began := time.Now()
	if err := r.server.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > deaf*farewellLimit {
		t.Errorf("it took %v", took)
	}
	_, _ = io.Copy(io.Discard, stdout)
	var failed *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &failed) || failed.ExitCode() != 255 || !strings.Contains(stderr.String(), endReason) {
		t.Errorf("%v, %q", err, stderr.String())
	}
	if got, want := log.take(t), slices.Repeat([]string{"SSH 255 the agent is ending"}, deaf+1); !slices.Equal(got, want) {
		t.Errorf("reported: %q", got)
	}
}

// TestShutdownDoesNotWait: when its time is over, nobody is told anything more.
func TestShutdownDoesNotWait(t *testing.T) {
	var took time.Duration
	for range 3 { // a machine may be slow once
		r := newRig(t)
		client := r.deaf(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		began := time.Now()
		if err := r.server.Shutdown(ctx); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		_ = client.Wait()
		if took = time.Since(began); took < farewellLimit {
			return
		}
	}
	t.Errorf("the connection ended after %v", took)
}
