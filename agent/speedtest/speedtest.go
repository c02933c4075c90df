// Package speedtest is the agent's end of tailscale's speed test, which is served
// on port 3 of the tailnet.
package speedtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"golang.org/x/net/netutil"
	upstream "tailscale.com/net/speedtest"
)

const (
	// maxTests run at once: more would only measure each other. Each has one block
	// of 2 MiB.
	maxTests = 2
	// maxConnections are held at once, those that are being turned away included.
	maxConnections = 16
	// MaxDuration is the longest test.
	MaxDuration = time.Minute
	// requestLimit and maxRequest bound what a client may say before the test.
	requestLimit, maxRequest = 5 * time.Second, 4 << 10
	// grace is past the 5 s that upstream waits for the last byte.
	grace = 10 * time.Second
)

// Server runs tests for whoever connects.
type Server struct {
	log   *slog.Logger
	tests chan struct{}

	ctx  context.Context
	stop context.CancelFunc
	mu   sync.Mutex
	work sync.WaitGroup
}

// New makes a server; it serves nothing yet.
func New(log *slog.Logger) *Server {
	s := &Server{log: log, tests: make(chan struct{}, maxTests)}
	s.ctx, s.stop = context.WithCancel(context.Background())
	return s
}

// Serve runs tests until the listener ends.
func (s *Server) Serve(listener net.Listener) error {
	listener = netutil.LimitListener(listener, maxConnections)
	for {
		conn, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept on %s: %w", listener.Addr(), err)
		}
		s.start(conn)
	}
}

func (s *Server) start(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		conn.Close()
		return
	}
	s.work.Go(func() {
		defer conn.Close()
		defer context.AfterFunc(s.ctx, func() { conn.Close() })()
		if err := s.test(conn); err != nil {
			s.log.Debug("speed test ended", slog.String("error", err.Error()))
		}
	})
}

// Close ends all tests and waits for them. No listener is served any more.
func (s *Server) Close() {
	s.mu.Lock()
	s.stop()
	s.mu.Unlock()
	s.work.Wait()
}

// request is what a client begins with.
type request struct {
	Duration time.Duration `json:"time"`
}

func (s *Server) test(conn net.Conn) error {
	if err := conn.SetDeadline(time.Now().Add(requestLimit)); err != nil {
		return fmt.Errorf("limit speed test: %w", err)
	}
	wanted, said, err := readRequest(conn)
	if err != nil {
		return refuse(conn, err)
	}
	select {
	case s.tests <- struct{}{}:
		defer func() { <-s.tests }()
	default:
		return refuse(conn, fmt.Errorf("busy: %d speed tests are running, try again in a minute", maxTests))
	}
	// Upstream sets no limit for writing, nor any for what a client asks for.
	if err := conn.SetDeadline(time.Now().Add(wanted.Duration + grace)); err != nil {
		return fmt.Errorf("limit speed test: %w", err)
	}
	return upstream.Serve(&single{conn: replay{Conn: conn, from: io.MultiReader(bytes.NewReader(said), conn)}})
}

// readRequest also gives back what it has read, for upstream to read it again.
func readRequest(from io.Reader) (request, []byte, error) {
	var wanted request
	var said bytes.Buffer
	if err := json.NewDecoder(io.TeeReader(io.LimitReader(from, maxRequest), &said)).Decode(&wanted); err != nil {
		return wanted, nil, fmt.Errorf("read request: %w", err)
	}
	if wanted.Duration <= 0 || wanted.Duration > MaxDuration {
		return wanted, nil, fmt.Errorf("a speed test takes up to %s here, not %s", MaxDuration, wanted.Duration)
	}
	return wanted, said.Bytes(), nil
}

func refuse(conn net.Conn, cause error) error {
	answer := struct {
		Error string `json:"error"`
	}{cause.Error()}
	return errors.Join(cause, json.NewEncoder(conn).Encode(answer))
}

// replay reads from elsewhere first.
type replay struct {
	net.Conn
	from io.Reader
}

func (r replay) Read(to []byte) (int, error) { return r.from.Read(to) }

// single is a listener of one connection.
type single struct{ conn net.Conn }

func (s *single) Accept() (net.Conn, error) {
	if s.conn == nil {
		return nil, net.ErrClosed
	}
	conn := s.conn
	s.conn = nil
	return conn, nil
}

func (s *single) Close() error   { return nil }
func (s *single) Addr() net.Addr { return &net.TCPAddr{} }
