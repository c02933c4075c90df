package sshd

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"
)

// half is one direction of a connection within a test: what is written waits
// without a limit, as nobody writes much.
type half struct {
	mu     sync.Mutex
	more   *sync.Cond
	data   bytes.Buffer
	closed bool
}

func newHalf() *half {
	h := &half{}
	h.more = sync.NewCond(&h.mu)
	return h
}

func (h *half) read(buffer []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.data.Len() == 0 && !h.closed {
		h.more.Wait()
	}
	if h.data.Len() == 0 {
		return 0, io.EOF
	}
	return h.data.Read(buffer)
}

func (h *half) write(data []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return 0, io.ErrClosedPipe
	}
	h.more.Broadcast()
	return h.data.Write(data)
}

func (h *half) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	h.more.Broadcast()
}

// end is one end of a connection whose waiting lets the clock of a bubble run.
type end struct {
	net.Conn // what is missing is not used
	in, out  *half
	limit    *time.Timer
}

func newEnds() (ours, theirs *end) {
	a, b := newHalf(), newHalf()
	return &end{in: a, out: b}, &end{in: b, out: a}
}

func (e *end) Read(buffer []byte) (int, error)  { return e.in.read(buffer) }
func (e *end) Write(data []byte) (int, error)   { return e.out.write(data) }
func (e *end) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv6loopback, Port: 1} }
func (e *end) LocalAddr() net.Addr              { return e.RemoteAddr() }
func (e *end) SetReadDeadline(time.Time) error  { return os.ErrNoDeadline }
func (e *end) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }

func (e *end) Close() error {
	e.in.close()
	e.out.close()
	return nil
}

func (e *end) SetDeadline(when time.Time) error {
	if e.limit != nil {
		e.limit.Stop()
	}
	if !when.IsZero() {
		e.limit = time.AfterFunc(time.Until(when), func() { e.Close() })
	}
	return nil
}

func testServer(t *testing.T, config Config) *Server {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	config.Logger = slog.New(slog.DiscardHandler)
	if config.HostKey, err = ssh.NewSignerFromSigner(private); err != nil {
		t.Fatal(err)
	}
	server, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	return server
}

// lasting says how long a connection lasts whose client answers, or not, to what
// it is asked, and on which there is data at some times; and when it was asked.
func lasting(t *testing.T, config Config, answers bool, stirs ...time.Duration) (lasted time.Duration, reason string, questions []time.Duration) {
	t.Helper()
	server := testServer(t, config)
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := newEnds()
		served := make(chan *connection, 1)
		go func() {
			wire, channels, requests, err := ssh.NewServerConn(ours, server.ssh)
			if err != nil {
				t.Error(err)
				close(served)
				return
			}
			c := newConnection(server, wire)
			for _, at := range stirs {
				time.AfterFunc(at, c.stir)
			}
			served <- c
			c.serve(channels, requests)
			ours.Close()
		}()
		client, channels, requests, err := ssh.NewClientConn(theirs, "", &ssh.ClientConfig{HostKeyCallback: ssh.InsecureIgnoreHostKey()})
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for range channels {
			}
		}()
		ended := make(chan struct{})
		go func() {
			_ = client.Wait()
			close(ended)
		}()
		start := time.Now()
		counted := make(chan struct{})
		go func() {
			defer close(counted)
			for request := range requests {
				if request.Type != "keepalive@openssh.com" || !request.WantReply {
					t.Errorf("asked %s, %v", request.Type, request.WantReply)
				}
				questions = append(questions, time.Since(start))
				if answers {
					_ = request.Reply(false, nil)
				}
			}
		}()
		c := <-served
		select {
		case <-ended:
		case <-time.After(time.Hour):
			client.Close()
			<-ended
		}
		lasted, reason = time.Since(start), c.ended()
		<-counted
	})
	return lasted, reason, questions
}

// TestWatch: each limit ends a connection at its time, and nothing else does.
func TestWatch(t *testing.T) {
	const s = time.Second
	for _, test := range []struct {
		name    string
		config  Config
		answers bool
		stirs   []time.Duration
		lasts   time.Duration
		reason  string
	}{
		{"no limit, an hour idle", Config{}, true, nil, time.Hour, "the client has gone"},
		{"an hour idle with keep-alives", Config{MaxTimeout: 30 * s}, true, nil, time.Hour, "the client has gone"},
		{"idle", Config{IdleTimeout: 60 * s}, true, nil, 60 * s, "idle for 1m0s"},
		{"idle after data", Config{IdleTimeout: 60 * s}, true, []time.Duration{30 * s, 85 * s}, 145 * s, "idle for 1m0s"},
		{"keep-alives are no data", Config{IdleTimeout: 60 * s, MaxTimeout: 15 * s}, true, nil, 60 * s, "idle"},
		{"maximum, in spite of data", Config{MaxSession: 100 * s, IdleTimeout: 60 * s}, true, []time.Duration{30 * s, 60 * s, 90 * s}, 100 * s, "longest"},
		{"no answer", Config{MaxTimeout: 30 * s}, false, nil, 40 * s, "has not answered for 30s"}, // asked after 10 s
		{"no answer, least time", Config{MaxTimeout: 3 * s}, false, nil, 4 * s, "has not answered"},
		{"below the least", Config{MaxTimeout: 3*s - 1}, true, nil, 3*s - 1, "longest"},
	} {
		t.Run(test.name, func(t *testing.T) {
			lasted, reason, _ := lasting(t, test.config, test.answers, test.stirs...)
			if lasted != test.lasts || !strings.Contains(reason, test.reason) {
				t.Errorf("it lasted %v (%q), want %v (%q)", lasted, reason, test.lasts, test.reason)
			}
		})
	}
}

// TestQuestions: a client is asked at each third of the limit. One question at a
// time is under way: x/crypto sends no other before the answer, and a reliable
// connection needs none. Who has let the time of three go by is gone.
func TestQuestions(t *testing.T) {
	const third = 10 * time.Second
	_, _, asked := lasting(t, Config{MaxTimeout: 3 * third}, true)
	if len(asked) < 359 || len(asked) > 360 { // in an hour, the end of which is a question's time
		t.Errorf("%d questions", len(asked))
	}
	for index, at := range asked {
		if want := time.Duration(index+1) * third; at != want {
			t.Errorf("question %d came after %v, want %v", index, at, want)
		}
	}
	lasted, _, asked := lasting(t, Config{MaxTimeout: 3 * third}, false)
	if len(asked) != 1 || asked[0] != third || lasted != asked[0]+keepAlives*third {
		t.Errorf("asked at %v, and ended after %v", asked, lasted)
	}
}

// TestHandshakeLimit: who says nothing is gone after half a minute.
func TestHandshakeLimit(t *testing.T) {
	server := testServer(t, Config{})
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := newEnds()
		start := time.Now()
		go func() { _, _ = io.Copy(io.Discard, theirs) }()
		server.ServeConn(ours)
		if took := time.Since(start); took != handshakeLimit {
			t.Errorf("it took %v", took)
		}
	})
}
