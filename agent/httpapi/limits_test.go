package httpapi

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// serveOn runs the server on a listener of the test.
func (s *testServer) serveOn(listener net.Listener) (ended chan error) {
	ended = make(chan error, 1)
	go func() { ended <- s.Serve(listener) }()
	return ended
}

// TestConnectionsAreBounded: one more than the limit waits, and whoever says
// nothing gives up the place after 20 s.
func TestConnectionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		listener := newPipes()
		ended := s.serveOn(listener)
		var silent []net.Conn
		for range maxConnections {
			silent = append(silent, listener.dial())
		}
		synctest.Wait()
		if got := listener.accepted.Load(); got != maxConnections {
			t.Errorf("%d connections were accepted, want %d", got, maxConnections)
		}
		began := time.Now()
		late := listener.dial()
		if _, err := io.WriteString(late, "GET / HTTP/1.1\r\nHost: [::1]\r\nConnection: close\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(late)
		if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 200") {
			t.Errorf("got %q, %v", answer, err)
		}
		if took := time.Since(began); took != exchangeLimit {
			t.Errorf("the place was free after %s, want %s", took, exchangeLimit)
		}
		for _, conn := range silent {
			conn.Close()
		}
		listener.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		s.Close()
	})
}

// TestSlowClients: each way of not getting on ends after 20 s.
func TestSlowClients(t *testing.T) {
	for name, begin := range map[string]string{
		"says nothing":             "",
		"half a header":            "GET / HTTP/1.1\r\nHost: [::1]\r\nX-Slow: ",
		"half a body":              "POST /api/v0/list-directory HTTP/1.1\r\nHost: [::1]\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
		"never reads":              "GET /debug/logs HTTP/1.1\r\nHost: [::1]\r\n\r\n",
		"keeps a connection alive": "GET / HTTP/1.1\r\nHost: [::1]\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t)
				line := []byte(strings.Repeat("x", 1000) + "\n")
				for range 1000 {
					s.logs.Write(line)
				}
				listener := newPipes()
				ended := s.serveOn(listener)
				conn := listener.dial()
				began := time.Now()
				if _, err := io.WriteString(conn, begin); err != nil {
					t.Fatal(err)
				}
				if name != "never reads" {
					io.Copy(io.Discard, conn)
				}
				<-listener.closed // the server's end of it
				if took := time.Since(began); took > exchangeLimit || took < exchangeLimit-time.Second {
					t.Errorf("the connection was held for %s, want %s", took, exchangeLimit)
				}
				conn.Close()
				listener.Close()
				<-ended
				s.Close()
			})
		})
	}
}

func TestLargeRequests(t *testing.T) {
	s := newServer(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := s.serveOn(listener)
	send := func(request string) string {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		io.WriteString(conn, request)
		answer, _ := io.ReadAll(conn)
		return string(answer)
	}
	if got := send("GET / HTTP/1.1\r\nHost: [::1]\r\nX-Long: " + strings.Repeat("x", 2*maxHeader) + "\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 431") {
		t.Errorf("long header: %.100q", got)
	}
	body := `{"relativity":"root","path":["` + strings.Repeat("x", maxBody) + `"]}`
	answer := s.ask("POST", "/api/v0/list-directory", body)
	if answer.Code != 400 || !strings.Contains(answer.Body.String(), "too large") {
		t.Errorf("long body: %d %s", answer.Code, answer.Body)
	}
	listener.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestListenerFails: an end that nobody asked for is told.
func TestListenerFails(t *testing.T) {
	s := newServer(t)
	listener := newPipes()
	listener.fault = errors.New("the network broke")
	if err := s.Serve(listener); err == nil || !strings.Contains(err.Error(), "the network broke") {
		t.Errorf("got %v", err)
	}
}
