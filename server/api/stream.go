package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"

	tailnetsvc "github.com/causewayhq/causeway/server/tailnet"
)

// pingInterval is both the period of the server's pings and the time that an
// answer may take, so a dead peer is noticed within twice that: the inactivity
// limit of the agent route, 30 s (docs of the protocol, 1.6).
const pingInterval = 15 * time.Second

// closeReasonLimit is what a websocket close frame can carry.
const closeReasonLimit = 123

// errBroken is the cause of a session that ended by what it carried, not by its
// peer and not by us.
var errBroken = errors.New("invalid data on the stream")

// stream is a websocket's binary messages as one stream of bytes. The library
// has such an adapter too; this one can close with a code that tells why.
type stream struct {
	conn *websocket.Conn
	// cause says why the connection is closed by us; nil is a clean end.
	cause  func() error
	hangUp context.CancelCauseFunc

	message io.Reader // of the one reading goroutine
	once    sync.Once
	mu      sync.Mutex
	ended   bool // the far side has ended the stream
}

// accept upgrades a request. Compression is off: the content is encrypted or
// tiny. Every origin is taken, as a page cannot send our header.
func accept(w http.ResponseWriter, r *http.Request) (*websocket.Conn, error) {
	conn, err := websocket.Accept(mutedWriter{w}, r, &websocket.AcceptOptions{InsecureSkipVerify: true, CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		return nil, reject(http.StatusBadRequest, "Failed to accept websocket.", err.Error())
	}
	// Messages are read as a stream and never held whole, so their length
	// does not matter.
	conn.SetReadLimit(-1)
	return conn, nil
}

// mutedWriter keeps the library from answering a refused upgrade in its own
// words and status: ours are in JSON. After a hijack nothing is written to it
// but the status 101.
type mutedWriter struct{ http.ResponseWriter }

// Unwrap lets the library find what can hijack.
func (w mutedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w mutedWriter) Write(p []byte) (int, error) { return len(p), nil }

func (w mutedWriter) WriteHeader(status int) {
	if status == http.StatusSwitchingProtocols {
		w.ResponseWriter.WriteHeader(status)
	}
}

func (s *stream) Read(p []byte) (int, error) {
	for {
		if s.message == nil {
			kind, reader, err := s.conn.Reader(context.Background())
			if err != nil {
				s.end()
				return 0, readCause(err)
			}
			if kind != websocket.MessageBinary {
				return 0, errBroken
			}
			s.message = reader
		}
		n, err := s.message.Read(p)
		switch {
		case errors.Is(err, io.EOF):
			s.message = nil
			if n == 0 {
				continue
			}
			return n, nil
		case err != nil:
			s.end()
		}
		return n, err
	}
}

// readCause makes every orderly end of a websocket an orderly end of the stream.
func readCause(err error) error {
	switch websocket.CloseStatus(err) {
	case websocket.StatusNormalClosure, websocket.StatusGoingAway, websocket.StatusNoStatusRcvd:
		return io.EOF
	default:
		return err
	}
}

func (s *stream) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
}

func (s *stream) Write(p []byte) (int, error) {
	if err := s.conn.Write(context.Background(), websocket.MessageBinary, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// HangUp ends the connection for a reason that the close frame tells.
func (s *stream) HangUp(reason error) { s.hangUp(reason) }

// Close sends the close frame that fits the cause and ends the connection. It
// takes up to 10 s when the peer is silent.
func (s *stream) Close() error {
	s.once.Do(func() {
		code, reason := closeCode(s.finalCause())
		// The peer may be gone already, which is an end as good as any.
		_ = s.conn.Close(code, reason)
	})
	return nil
}

func (s *stream) finalCause() error {
	if err := s.cause(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		return errBroken
	}
	return nil
}

func closeCode(err error) (websocket.StatusCode, string) {
	var parting *tailnetsvc.PartingError
	switch {
	case err == nil || errors.Is(err, context.Canceled):
		return websocket.StatusNormalClosure, ""
	case errors.Is(err, errPingTimeout), errors.As(err, &parting):
		return websocket.StatusGoingAway, err.Error()
	}
	reason := err.Error()
	return websocket.StatusInternalError, reason[:min(len(reason), closeReasonLimit)]
}

// keepAlive pings until the context ends, and calls failed when an answer does
// not come within the limit.
func keepAlive(ctx context.Context, ping func(context.Context) error, limit time.Duration, failed func()) {
	ticker := time.NewTicker(pingInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		limited, stop := context.WithTimeout(ctx, limit)
		err := ping(limited)
		stop()
		if err != nil {
			failed()
			return
		}
	}
}
