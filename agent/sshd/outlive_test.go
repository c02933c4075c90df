//go:build unix

package sshd

import (
	"os"
	"path/filepath"
	"testing"
)

// TestCommandOutlivesItsSession: without a terminal it goes on, and does what it
// had still to do, when its client has gone.
func TestCommandOutlivesItsSession(t *testing.T) {
	r := newRig(t)
	client := r.dial(t)
	session, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	// It gives up by itself in a minute at most.
	if err := session.Start("touch begun; for i in $(seq 600); do test -e go && { touch done; exit; }; sleep 0.1; done"); err != nil {
		t.Fatal(err)
	}
	there := func(name string) bool {
		_, err := os.Stat(filepath.Join(r.directory, name))
		return err == nil
	}
	eventually(t, "the command to begin", func() bool { return there("begun") })
	client.Close()
	eventually(t, "the connection to end", func() bool {
		r.server.mu.Lock()
		defer r.server.mu.Unlock()
		return len(r.server.conns) == 0
	})
	if err := os.WriteFile(filepath.Join(r.directory, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the rest of the command", func() bool { return there("done") })
}
