package userspace

import (
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// TestHandOver: a connection that nobody accepts is dropped after a second.
func TestHandOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &listener{conns: make(chan net.Conn), gone: make(chan struct{})}
		near, far := net.Pipe()
		defer far.Close()
		began := time.Now()
		l.deliver(near)
		if took := time.Since(began); took != time.Second {
			t.Errorf("dropped after %s", took)
		}
		if _, err := far.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("the connection goes on: %v", err)
		}
	})
}
