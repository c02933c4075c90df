//go:build unix

package sshd

import (
	"net"
	"path/filepath"
	"testing"
)

// TestForwardsAreCancelled: the client takes a listener back, and the connection
// goes on.
func TestForwardsAreCancelled(t *testing.T) {
	client := newRig(t).dial(t)
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			address := "127.0.0.1:" + freePort(t)
			if network == "unix" {
				address = filepath.Join(t.TempDir(), "socket")
			}
			listener, err := client.Listen(network, address)
			if err != nil {
				t.Fatal(err)
			}
			conn, err := net.Dial(network, address)
			if err != nil {
				t.Fatalf("before: %v", err)
			}
			conn.Close()
			if err := listener.Close(); err != nil {
				t.Fatal(err)
			}
			if conn, err := net.Dial(network, address); err == nil {
				conn.Close()
				t.Error("it still listens")
			}
		})
	}
	session, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	if err := session.Run("true"); err != nil {
		t.Errorf("the connection is over: %v", err)
	}
}
