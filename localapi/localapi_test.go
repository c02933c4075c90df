package localapi

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"storj.io/drpc/drpcmux"

	"github.com/causewayhq/causeway/proto/localv1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake answers the calls that the tests make.
type fake struct {
	localv1.DRPCLocalUnimplementedServer
	mu      sync.Mutex
	callers []Caller
	err     error
	agents  int
	entered chan struct{} // a watch sends once when it has started
}

func (f *fake) GetStatus(ctx context.Context, _ *localv1.GetStatusRequest) (*localv1.Status, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if caller, ok := CallerFrom(ctx); ok {
		f.callers = append(f.callers, caller)
	}
	status := &localv1.Status{User: "alice"}
	for range f.agents {
		status.Agents = append(status.Agents, &localv1.AgentStatus{Name: strings.Repeat("a", 500)})
	}
	return status, f.err
}

func (f *fake) WatchStatus(_ *localv1.GetStatusRequest, stream localv1.DRPCLocal_WatchStatusStream) error {
	for i := range 3 {
		if err := stream.Send(&localv1.Status{User: strings.Repeat("x", i+1)}); err != nil {
			return err
		}
	}
	f.entered <- struct{}{}
	<-stream.Context().Done()
	f.entered <- struct{}{}
	return stream.Context().Err()
}

func (f *fake) QueryDNS(_ context.Context, in *localv1.QueryDNSRequest) (*localv1.QueryDNSResponse, error) {
	return &localv1.QueryDNSResponse{Message: in.GetMessage()}, nil
}

func everybody(Caller, Access) error { return nil }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// serve runs a server for the test and returns its socket.
func serve(t testing.TB, handler localv1.DRPCLocalServer, authorize Authorize) string {
	t.Helper()
	return serveWithin(t, requestTimeout, handler, authorize)
}

func serveWithin(t testing.TB, timeout time.Duration, handler localv1.DRPCLocalServer, authorize Authorize) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "run", "s.sock")
	mux := drpcmux.New()
	if err := localv1.DRPCRegisterLocal(mux, handler); err != nil {
		t.Fatal(err)
	}
	server := &server{mux: mux, authorize: authorize, logger: quiet(), timeout: timeout, held: map[uint32]int{}}
	listener, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.run(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Serve() = %v", err)
			}
		case <-time.After(5 * time.Second):
			t.Error("Serve did not return after its context ended")
		}
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket is still there: %v", err)
		}
	})
	return path
}

func dial(t testing.TB, path string) *Client {
	t.Helper()
	client, err := Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

func TestServeEndsWithItsContext(t *testing.T) {
	listener, err := Listen(filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, listener, &fake{}, everybody, quiet()) }()
	client := dial(t, listener.Addr().String())
	if _, err := client.GetStatus(t.Context(), &localv1.GetStatusRequest{}); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Serve() = %v", err)
	}
	_, err = client.GetStatus(t.Context(), &localv1.GetStatusRequest{})
	var gone *Error
	if !errors.As(err, &gone) || gone.Code != CodeNotRunning {
		t.Errorf("call after the end: %v", err)
	}
}

func TestCallCarriesCaller(t *testing.T) {
	handler := &fake{agents: 4000}
	path := serve(t, handler, everybody)
	status, err := dial(t, path).GetStatus(t.Context(), &localv1.GetStatusRequest{})
	if err != nil || status.GetUser() != "alice" || len(status.GetAgents()) != 4000 {
		t.Fatalf("GetStatus() = %d agents, %v", len(status.GetAgents()), err)
	}
	handler.mu.Lock()
	defer handler.mu.Unlock()
	if len(handler.callers) != 1 || int(handler.callers[0].UID) != os.Getuid() || int(handler.callers[0].PID) != os.Getpid() {
		t.Errorf("callers = %+v", handler.callers)
	}
	for name, want := range map[string]os.FileMode{path: 0o666, filepath.Dir(path): 0o755} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: mode %v, %v; want %v", name, info.Mode().Perm(), err, want)
		}
	}
}

func TestErrorsCrossWhole(t *testing.T) {
	want := &Error{Code: CodeNotSignedIn, Cause: "check token: refused", Remedy: "sign in"}
	handler := &fake{err: want}
	client := dial(t, serve(t, handler, everybody))
	_, err := client.GetStatus(t.Context(), &localv1.GetStatusRequest{})
	var got *Error
	if !errors.As(err, &got) || *got != *want {
		t.Errorf("error %#v, want %#v", err, want)
	}
	handler.mu.Lock()
	handler.err = errors.New("two\nlines")
	handler.mu.Unlock()
	_, err = client.GetStatus(t.Context(), &localv1.GetStatusRequest{})
	if !errors.As(err, &got) || *got != (Error{Code: CodeGeneric, Cause: "two lines"}) {
		t.Errorf("error %#v", err)
	}
	_, err = client.Ping(t.Context(), &localv1.PingRequest{})
	if !errors.As(err, &got) || got.Code != CodeIncompatible {
		t.Errorf("call that the daemon does not know: %v", err)
	}
}

func TestWatchEndsWithEitherSide(t *testing.T) {
	handler := &fake{entered: make(chan struct{}, 4)}
	client := dial(t, serve(t, handler, everybody))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := client.WatchStatus(ctx, &localv1.GetStatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if status, err := stream.Recv(); err != nil || len(status.GetUser()) != i+1 {
			t.Fatalf("Recv() = %v, %v", status, err)
		}
	}
	<-handler.entered
	cancel()
	select {
	case <-handler.entered:
	case <-time.After(5 * time.Second):
		t.Fatal("the handler did not notice that the client went away")
	}
	if _, err := stream.Recv(); !errors.Is(err, context.Canceled) {
		t.Errorf("Recv() after cancel = %v", err)
	}
}

func TestRequestTooLarge(t *testing.T) {
	path := serve(t, &fake{}, everybody)
	client := dial(t, path)
	if _, err := client.QueryDNS(t.Context(), &localv1.QueryDNSRequest{Message: make([]byte, 70<<10)}); err != nil {
		t.Errorf("request of 70 KiB: %v", err)
	}
	if _, err := client.QueryDNS(t.Context(), &localv1.QueryDNSRequest{Message: make([]byte, 4<<20)}); err == nil {
		t.Error("request of 4 MiB was taken")
	}
	if _, err := client.GetStatus(t.Context(), &localv1.GetStatusRequest{}); err != nil {
		t.Errorf("the next call: %v", err)
	}
}

func TestDialErrors(t *testing.T) {
	dir := t.TempDir()
	stale := filepath.Join(dir, "stale")
	makeStale(t, stale)
	for name, test := range map[string]struct {
		path string
		want Code
	}{
		"no socket": {filepath.Join(dir, "none"), CodeNotRunning},
		"stale":     {stale, CodeNotRunning},
	} {
		_, err := Dial(t.Context(), test.path)
		var got *Error
		if !errors.As(err, &got) || got.Code != test.want || got.Remedy == "" || !strings.Contains(got.Cause, test.path) {
			t.Errorf("%s: %#v", name, err)
		}
	}
	var got *Error
	if err := diagnose("/x", os.ErrPermission); !errors.As(err, &got) || got.Code != CodePermission {
		t.Errorf("permission: %#v", err)
	}
}

// makeStale leaves a socket that nobody serves.
func makeStale(t *testing.T, path string) {
	t.Helper()
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	listener.SetUnlinkOnClose(false)
	listener.Close()
}

func TestListen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	makeStale(t, path)
	listener, err := Listen(path)
	if err != nil {
		t.Fatalf("stale socket: %v", err)
	}
	if _, err := Listen(path); !errors.Is(err, ErrServed) {
		t.Errorf("served socket: %v", err)
	}
	listener.Close()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("keep"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(file); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("regular file: %v", err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(link); err == nil {
		t.Error("symbolic link was replaced")
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "keep" {
		t.Errorf("file after Listen: %q, %v", text, err)
	}
	if _, err := Listen(filepath.Join(dir, strings.Repeat("x", 120))); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("long path: %v", err)
	}
	if _, err := Listen(filepath.Join(file, "s")); err == nil {
		t.Error("directory that cannot be made was taken")
	}
}

func TestIdleConnectionsAreCut(t *testing.T) {
	path := serveWithin(t, time.Second, &fake{}, everybody)
	var idle []net.Conn
	for range 200 {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		idle = append(idle, conn)
	}
	deadline := time.Now().Add(requestTimeout + 5*time.Second)
	for i, conn := range idle {
		if err := conn.SetReadDeadline(deadline); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, conn); err != nil && !isReset(err) {
			t.Fatalf("idle connection %d was not cut: %v", i, err)
		}
	}
	if _, err := dial(t, path).GetStatus(t.Context(), &localv1.GetStatusRequest{}); err != nil {
		t.Errorf("call afterwards: %v", err)
	}
}

func isReset(err error) bool { return strings.Contains(err.Error(), "reset") }

func TestConnectionLimits(t *testing.T) {
	s := &server{held: map[uint32]int{}}
	for i := range userConnections {
		if !s.take(1000) {
			t.Fatalf("connection %d refused", i)
		}
	}
	if s.take(1000) {
		t.Error("one user holds more than the limit")
	}
	if !s.take(1001) {
		t.Error("another user is kept out")
	}
	for uid := uint32(2000); s.take(uid); {
		if s.held[uid] == userConnections {
			uid++
		}
	}
	if s.sum > allConnections {
		t.Errorf("%d connections held, limit %d", s.sum, allConnections)
	}
	if !s.take(0) {
		t.Error("root is kept out by the others")
	}
	for uid, n := range s.held {
		for range n {
			s.give(uid)
		}
	}
	if s.sum != 0 || len(s.held) != 0 {
		t.Errorf("after all were given back: %d, %v", s.sum, s.held)
	}
}

// FuzzServer sends any bytes to a real server; the server has to survive and
// to answer the next client.
func FuzzServer(f *testing.F) {
	path := serveWithin(f, 50*time.Millisecond, &fake{entered: make(chan struct{}, 1<<20)}, everybody)
	f.Add([]byte{})
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add(bytes.Repeat([]byte{0xff}, 4096))
	f.Add(append([]byte("\x03\x01\x01\x25"), "/causeway.local.v1.Local/GetStatus"...))
	f.Add([]byte("\x05\x01\x01\x00\x05\x01\x02\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(requestTimeout * 2)); err != nil {
			t.Fatal(err)
		}
		// The server may have hung up in the middle.
		_, _ = conn.Write(data)
		if err := conn.(*net.UnixConn).CloseWrite(); err != nil && !errors.Is(err, net.ErrClosed) && !strings.Contains(err.Error(), "not connected") {
			t.Logf("close for writing: %v", err)
		}
		if _, err := io.Copy(io.Discard, conn); err != nil && !isReset(err) {
			t.Fatalf("the server keeps a client that has nothing more to say: %v", err)
		}
		client, err := Dial(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if _, err := client.GetStatus(t.Context(), &localv1.GetStatusRequest{}); err != nil {
			t.Fatal(err)
		}
	})
}
