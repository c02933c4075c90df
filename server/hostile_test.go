package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"github.com/causewayhq/causeway/proto/mux"
	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// hosted is a server with short limits, and a token of a user and of a neighbour.
type hosted struct {
	t               *testing.T
	s               *Server
	attacker, token string
	attackerID      uuid.UUID
}

const shortLimit = 300 * time.Millisecond

func host(t *testing.T) *hosted {
	t.Helper()
	s, err := New(t.Context(), Config{Logger: slog.New(slog.DiscardHandler), DataDir: t.TempDir(), Listen: "127.0.0.1:0", STUNListen: STUNOff})
	if err != nil {
		t.Fatal(err)
	}
	s.http.ReadHeaderTimeout, s.http.ReadTimeout = shortLimit, shortLimit
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	h := &hosted{t: t, s: s}
	h.attacker, h.attackerID = h.user("mallory")
	h.token, _ = h.user("alice")
	return h
}

func (h *hosted) user(name string) (string, uuid.UUID) {
	h.t.Helper()
	user, err := h.s.store.CreateUser(h.t.Context(), name, "")
	if err != nil {
		h.t.Fatal(err)
	}
	_, secret, err := h.s.store.CreateUserToken(h.t.Context(), user.ID, "", 0)
	if err != nil {
		h.t.Fatal(err)
	}
	return secret.Reveal(), user.ID
}

func (h *hosted) upgrade(token string) (*websocket.Conn, *http.Response, error) {
	conn, response, err := websocket.Dial(h.t.Context(), h.s.URL()+"/api/v2/tailnet?version=2.3", &websocket.DialOptions{HTTPHeader: http.Header{"Coder-Session-Token": {token}}})
	if err == nil {
		h.t.Cleanup(func() { conn.CloseNow() })
	}
	return conn, response, err
}

func (h *hosted) raw() net.Conn {
	h.t.Helper()
	conn, err := net.Dial("tcp", h.s.Addr().String())
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { conn.Close() })
	return conn
}

// neighbour is a well-behaved client beside an attack: it calls all the time,
// and each call must be answered soon.
func (h *hosted) neighbour() (stop func()) {
	h.t.Helper()
	conn, _, err := h.upgrade(h.token)
	if err != nil {
		h.t.Fatal(err)
	}
	client, err := mux.NewClient(websocket.NetConn(context.Background(), conn, websocket.MessageBinary))
	if err != nil {
		h.t.Fatal(err)
	}
	api := tailnetv2.NewDRPCTailnetClient(client)
	end, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		for calls := 0; ; calls++ {
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
			_, err := api.PostTelemetry(ctx, &tailnetv2.TelemetryRequest{})
			cancel()
			if err != nil {
				ended <- fmt.Errorf("call %d: %w", calls, err)
				return
			}
			select {
			case <-end:
				ended <- nil
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	return func() {
		h.t.Helper()
		close(end)
		if err := <-ended; err != nil {
			h.t.Errorf("the neighbour noticed: %v", err)
		}
		client.Close()
		// And a newcomer is taken as well.
		if _, _, err := h.upgrade(h.token); err != nil {
			h.t.Errorf("a newcomer: %v", err)
		}
	}
}

// TestNeighboursOfAHostilePeerNoticeNothing runs each attack beside a
// well-behaved client.
func TestNeighboursOfAHostilePeerNoticeNothing(t *testing.T) {
	closes := func(t *testing.T, conn net.Conn) {
		t.Helper()
		if err := conn.SetReadDeadline(time.Now().Add(20 * shortLimit)); err != nil {
			t.Fatal(err)
		}
		// A reset is as good an end as any.
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("still open")
		}
	}
	for name, attack := range map[string]func(t *testing.T, h *hosted){
		"half-open sockets": func(t *testing.T, h *hosted) {
			var conns []net.Conn
			for range 300 {
				conns = append(conns, h.raw())
			}
			for _, conn := range conns {
				closes(t, conn)
			}
		},
		"drip-fed header": func(t *testing.T, h *hosted) {
			conn := h.raw()
			for _, char := range []byte("GET /api/v2/tailnet HTTP/1.1\r\nHost: causeway\r\nX-Slow: ") {
				if _, err := conn.Write([]byte{char}); err != nil {
					return // cut off in the middle
				}
				time.Sleep(shortLimit / 20)
			}
			closes(t, conn)
		},
		"drip-fed body": func(t *testing.T, h *hosted) {
			conn := h.raw()
			if _, err := conn.Write([]byte("POST /api/v2/users/first HTTP/1.1\r\nHost: causeway\r\nContent-Length: 1000\r\n\r\n{")); err != nil {
				t.Fatal(err)
			}
			closes(t, conn)
		},
		"endless header": func(t *testing.T, h *hosted) {
			conn := h.raw()
			line := []byte("X-Filler: " + string(make([]byte, 1000)) + "\r\n")
			if _, err := conn.Write([]byte("GET / HTTP/1.1\r\nHost: causeway\r\n")); err != nil {
				t.Fatal(err)
			}
			for range 1000 {
				if _, err := conn.Write(line); err != nil {
					return
				}
			}
			closes(t, conn)
		},
		"silent websockets up to the limit": func(t *testing.T, h *hosted) {
			open, refused := 0, 0
			for range 400 {
				_, response, err := h.upgrade(h.attacker)
				if err == nil {
					open++
					continue
				}
				if response == nil || response.StatusCode != http.StatusTooManyRequests && response.StatusCode != http.StatusServiceUnavailable {
					t.Fatalf("refused with %v, %v", response, err)
				}
				refused++
			}
			if open == 0 || open > 256 || refused == 0 {
				t.Errorf("%d are open, %d were refused", open, refused)
			}
		},
		"garbage in place of yamux": func(t *testing.T, h *hosted) {
			for range 20 {
				conn, _, err := h.upgrade(h.attacker)
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				_ = conn.Write(ctx, websocket.MessageBinary, bytes.Repeat([]byte{0xff}, 1<<20)) // it may be cut off in the middle
				for err = nil; err == nil; {
					_, _, err = conn.Read(ctx)
				}
				if ctx.Err() != nil {
					t.Errorf("still open: %v", err)
				}
				cancel()
			}
		},
		"requests without an end": func(t *testing.T, h *hosted) {
			for range 500 {
				if response, err := http.Get(h.s.URL() + "/healthz"); err == nil {
					response.Body.Close()
				}
			}
			http.DefaultClient.CloseIdleConnections()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := host(t)
			check := h.neighbour()
			attack(t, h)
			check()
		})
	}
}
