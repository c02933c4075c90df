//go:build unix

package gitauth

import (
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"
)

// TestCredentialConnectionsAreBounded: one too many waits for a place.
func TestCredentialConnectionsAreBounded(t *testing.T) {
	p := newPlane(t)
	p.answers(map[string]string{"username": "al", "password": "s3cret"})
	directory, _, _ := start(t, p)
	var held []net.Conn
	defer func() {
		for _, conn := range held {
			conn.Close()
		}
	}()
	for range connections { // each has its answer, and so its place
		conn, err := net.Dial("unix", filepath.Join(directory, CredentialSocket))
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, conn)
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: agent\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	late := make(chan error, 1)
	asked := p.asked.Load()
	go func() {
		_, err := Ask(t.Context(), directory, "https://x")
		late <- err
	}()
	select {
	case err := <-late:
		t.Fatalf("no bound: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	if p.asked.Load() != asked {
		t.Error("one too many is served")
	}
	held[0].Close()
	if err := <-late; err != nil {
		t.Errorf("no room again: %v", err)
	}
}
