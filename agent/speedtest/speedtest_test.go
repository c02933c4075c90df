package speedtest

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	upstream "tailscale.com/net/speedtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start serves on a port of this machine until the test ends.
func start(t *testing.T) (server *Server, address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server = New(slog.New(slog.DiscardHandler))
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	t.Cleanup(func() {
		listener.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		server.Close()
	})
	return server, listener.Addr().String()
}

// TestUpstreamsClient: the protocol is tailscale's, as its own client speaks it.
func TestUpstreamsClient(t *testing.T) {
	_, address := start(t)
	for _, direction := range []upstream.Direction{upstream.Download, upstream.Upload} {
		t.Run(direction.String(), func(t *testing.T) {
			results, err := upstream.RunClient(direction, 100*time.Millisecond, address)
			if err != nil {
				t.Fatal(err)
			}
			total := results[len(results)-1]
			if !total.Total || total.Bytes < 1<<20 || total.Interval() > 5*time.Second {
				t.Errorf("%d bytes in %s", total.Bytes, total.Interval())
			}
		})
	}
}

// say sends a request and reads the answer.
func say(t *testing.T, address, request string) (net.Conn, string) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Error string `json:"error"`
	}
	if err := json.NewDecoder(conn).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	return conn, answer.Error
}

func TestRefusals(t *testing.T) {
	_, address := start(t)
	for request, want := range map[string]string{
		`{"version":2,"time":60000000001,"direction":0}`: "up to 1m0s",
		`{"version":2,"time":0,"direction":0}`:           "up to 1m0s",
		`{"version":2,"time":-5,"direction":1}`:          "up to 1m0s",
		`{"version":1,"time":1000000000,"direction":1}`:  "version",
		`["what?"]`: "read request",
		`hello`:     "read request",
		`{"version":"` + strings.Repeat("x", 2*maxRequest): "read request",
	} {
		conn, got := say(t, address, request+"\n")
		if !strings.Contains(got, want) {
			t.Errorf("%.60s: %q, want %q", request, got, want)
		}
		if rest, err := io.ReadAll(conn); err == nil && len(rest) > 0 {
			t.Errorf("%.60s: %d bytes follow", request, len(rest))
		}
	}
}

// TestOneTestTooMany is turned away at once, and a later one is not.
func TestOneTestTooMany(t *testing.T) {
	server, address := start(t)
	const upload = `{"version":2,"time":30000000000,"direction":1}` + "\n"
	var running []net.Conn
	for range maxTests {
		conn, refused := say(t, address, upload)
		if refused != "" {
			t.Fatal(refused)
		}
		running = append(running, conn)
	}
	if _, refused := say(t, address, upload); !strings.Contains(refused, "busy: 2 speed tests are running") {
		t.Errorf("got %q", refused)
	}
	running[0].Close()
	for deadline := time.Now().Add(20 * time.Second); len(server.tests) == maxTests && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if _, refused := say(t, address, upload); refused != "" {
		t.Errorf("got %q", refused)
	}
	server.Close() // ends the tests
	running[1].SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.Copy(io.Discard, running[1]); errors.Is(err, io.ErrNoProgress) {
		t.Error(err)
	}
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("a closed server begins a test")
	}
}

// one is a listener of some connections in memory.
type memory chan net.Conn

func (m memory) Accept() (net.Conn, error) {
	conn, ok := <-m
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}
func (m memory) Close() error   { return nil }
func (m memory) Addr() net.Addr { return &net.TCPAddr{} }

// TestStuckClients: whatever a client does not do, its place is free in time.
func TestStuckClients(t *testing.T) {
	const duration = 3 * time.Second
	for name, test := range map[string]struct {
		says  string
		reads bool // the answer to the request
		ends  time.Duration
	}{
		"says nothing":           {"", false, requestLimit},
		"half a request":         {`{"version":2,`, false, requestLimit},
		"never reads the answer": {`{"version":2,"time":3000000000,"direction":0}` + "\n", false, duration + grace},
		"never reads":            {`{"version":2,"time":3000000000,"direction":0}` + "\n", true, duration + grace},
		"never sends":            {`{"version":2,"time":3000000000,"direction":1}` + "\n", true, duration + 5*time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := New(slog.New(slog.DiscardHandler))
				near, far := net.Pipe()
				conns := make(memory, 1)
				conns <- far
				served := make(chan error, 1)
				go func() { served <- server.Serve(conns) }()
				began := time.Now()
				if _, err := io.WriteString(near, test.says); err != nil {
					t.Fatal(err)
				}
				if test.reads {
					if _, err := io.ReadFull(near, make([]byte, 3)); err != nil {
						t.Fatal(err)
					}
				}
				close(conns)
				if err := <-served; err != nil {
					t.Error(err)
				}
				server.work.Wait()
				if took := time.Since(began); took != test.ends {
					t.Errorf("ended after %s, want %s", took, test.ends)
				}
				near.Close()
				server.Close()
			})
		})
	}
}

// TestConnectionsAreBounded: one too many is not accepted until another is through,
// which those who say nothing are in time.
func TestConnectionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := New(slog.New(slog.DiscardHandler))
		conns := make(memory, maxConnections+1)
		var clients []net.Conn
		for range cap(conns) {
			near, far := net.Pipe()
			clients = append(clients, near)
			go func() { _, _ = io.Copy(io.Discard, near) }()
			conns <- far
		}
		served := make(chan error, 1)
		go func() { served <- server.Serve(conns) }()
		synctest.Wait()
		if left := len(conns); left != 1 {
			t.Errorf("%d of %d are accepted", cap(conns)-left, cap(conns))
		}
		time.Sleep(requestLimit)
		synctest.Wait()
		if left := len(conns); left != 0 {
			t.Errorf("after %s, %d wait", requestLimit, left)
		}
		close(conns)
		for _, conn := range clients {
			conn.Close()
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
		server.Close()
	})
}

// TestListenerFails: an end that nobody asked for is told.
func TestListenerFails(t *testing.T) {
	server := New(slog.New(slog.DiscardHandler))
	defer server.Close()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.(*net.TCPListener).SetDeadline(time.Unix(1, 0))
	defer listener.Close()
	if err := server.Serve(listener); err == nil {
		t.Error("no error")
	}
}

func FuzzRequest(f *testing.F) {
	for _, seed := range []string{`{"version":2,"time":1000000000,"direction":0}`, `{`, `[]`, `null`, `{"time":1e300}`, `{"time":"x"}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		wanted, said, err := readRequest(strings.NewReader(string(raw)))
		if err == nil && (wanted.Duration <= 0 || wanted.Duration > MaxDuration || !strings.HasPrefix(string(raw), string(said)) || len(said) > maxRequest) {
			t.Errorf("%+v, %q", wanted, said)
		}
	})
}

// endless is a request that never ends.
type endless struct{ read int }

func (e *endless) Read(to []byte) (int, error) {
	if e.read == 0 {
		e.read = 1
		return copy(to, `"`), nil
	}
	for i := range to {
		to[i] = 'x'
	}
	e.read += len(to)
	if e.read > 1<<20 {
		return 0, errors.New("a megabyte was read")
	}
	return len(to), nil
}

func TestEndlessRequest(t *testing.T) {
	from := &endless{}
	if _, _, err := readRequest(from); err == nil || from.read > maxRequest {
		t.Errorf("%d bytes were read, %v", from.read, err)
	}
}
