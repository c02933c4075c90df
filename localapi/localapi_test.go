package localapi

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"storj.io/drpc/drpcmux"

	"github.com/causewayhq/causeway/proto/localv1"
)

func TestMain(m *testing.M) {
	// On Windows the pipes' package keeps one goroutine for as long as the process lives.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/Microsoft/go-winio.ioCompletionProcessor"))
}

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
	path := testPath(t)
	mux := drpcmux.New()
	if err := localv1.DRPCRegisterLocal(mux, handler); err != nil {
		t.Fatal(err)
	}
	server := &server{mux: mux, authorize: authorize, logger: quiet(), timeout: timeout, held: map[User]int{}}
	listener := listenTest(t, path)
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
		if err := stillThere(path); err != nil {
			t.Error(err)
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
	listener := listenTest(t, testPath(t))
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
	_, err := client.GetStatus(t.Context(), &localv1.GetStatusRequest{})
	var gone *Error
	if !errors.As(err, &gone) || gone.Code != CodeNotRunning {
		t.Errorf("call after the end: %v", err)
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

func TestConnectionLimits(t *testing.T) {
	s := &server{held: map[User]int{}}
	for i := range userConnections {
		if !s.take(User{UID: 1000}, false) {
			t.Fatalf("connection %d refused", i)
		}
	}
	if s.take(User{UID: 1000}, false) {
		t.Error("one user holds more than the limit")
	}
	if !s.take(User{UID: 1001}, false) {
		t.Error("another user is kept out")
	}
	for user := (User{UID: 2000}); s.take(user, false); {
		if s.held[user] == userConnections {
			user.UID++
		}
	}
	if s.sum > allConnections {
		t.Errorf("%d connections held, limit %d", s.sum, allConnections)
	}
	if s.take(User{UID: 999}, false) {
		t.Error("there is a place beyond the limit")
	}
	if trusted := (User{UID: 1002}); !s.take(trusted, true) {
		t.Error("who may read is kept out by the others")
	} else {
		s.give(trusted, true)
	}
	for uid, n := range s.held {
		for range n {
			s.give(uid, false)
		}
	}
	if s.sum != 0 || len(s.held) != 0 {
		t.Errorf("after all were given back: %d, %v", s.sum, s.held)
	}
}
