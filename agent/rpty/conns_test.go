package rpty

import (
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
)

// pipes is a listener within a test.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	conn, open := <-p
	if !open {
		return nil, net.ErrClosed
	}
	return conn, nil
}

func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// dial says whether the connection stays.
func (p pipes) dial() (near net.Conn, stays bool) {
	near, far := net.Pipe()
	p <- far
	ended := make(chan error, 1)
	go func() {
		_, err := near.Read(make([]byte, 1))
		ended <- err
	}()
	synctest.Wait()
	select {
	case err := <-ended:
		return near, !errors.Is(err, io.EOF)
	default:
		return near, true
	}
}

// TestConnectionsAreBounded: one too many is closed at once, until another has
// gone. Who says nothing is gone in time: TestAttachLimit.
func TestConnectionsAreBounded(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStage(t, Config{})
		defer s.close()
		listener := make(pipes)
		ended := make(chan error, 1)
		go func() { ended <- s.Serve(listener) }()
		var held []net.Conn
		for range maxConns {
			conn, stays := listener.dial()
			if held = append(held, conn); !stays {
				t.Fatalf("number %d is closed", len(held))
			}
		}
		if _, stays := listener.dial(); stays {
			t.Errorf("no bound at %d", maxConns)
		}
		held[0].Close()
		synctest.Wait()
		conn, stays := listener.dial()
		if !stays {
			t.Error("no room again")
		}
		conn.Close()
		close(listener)
		if err := <-ended; err == nil {
			t.Error("the end of the listener is not told")
		}
		for _, conn := range held[1:] {
			conn.Close()
		}
	})
}
