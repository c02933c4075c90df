//go:build unix

package sshd

import (
	"context"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// deaf is a client with a session that reads nothing more.
func (r *rig) deaf(t *testing.T) *ssh.Client {
	t.Helper()
	client := r.dial(t)
	session, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if err := session.RequestPty("vt100", 24, 80, nil); err != nil {
		t.Fatal(err)
	}
	// All that may be on its way, so that nothing more can be said.
	output, err := session.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := session.Start("yes"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(output, make([]byte, 1<<10)); err != nil {
		t.Fatal(err)
	}
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
	r := newRig(t)
	client := r.deaf(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	began := time.Now()
	if err := r.server.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	_ = client.Wait()
	if took := time.Since(began); took >= farewellLimit {
		t.Errorf("the connection ended after %v", took)
	}
}
