package cli

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

// serve serves a handler until stop is called.
func serve(t *testing.T, path string, handler localv1.DRPCLocalServer) (stop func()) {
	t.Helper()
	listener, err := localapi.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var served sync.WaitGroup
	served.Go(func() {
		err := localapi.Serve(ctx, listener, handler, func(localapi.Caller, localapi.Access) error { return nil }, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Errorf("Serve() = %v", err)
		}
	})
	stop = func() {
		cancel()
		served.Wait()
	}
	t.Cleanup(stop)
	return stop
}

// command runs a command line in the background.
func command(t *testing.T, socket, line string) (stdout, stderr *output, code chan int) {
	t.Helper()
	stdout, stderr, code = new(output), new(output), make(chan int, 1)
	go func() {
		code <- Main(t.Context(), Env{
			Args: append([]string{"causeway", "--socket", socket}, strings.Fields(line)...), Stdin: strings.NewReader(""),
			Stdout: stdout, Stderr: stderr, LookupEnv: noEnv, Version: "v1.2.3",
		})
	}()
	return stdout, stderr, code
}

// TestWaitOutlivesTheDaemon: it begins before there is a daemon, sees one that
// is not ready end, and is content with the next.
func TestWaitOutlivesTheDaemon(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"connected", "dns", "workspace/myws", "myws"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "s")
			_, stderr, code := command(t, path, "wait --timeout 30s --for "+what)
			waitFor(t, "word of the missing socket", func() bool { return strings.Contains(stderr.String(), "waiting for "+what+": connect to") })
			stop := serveFake(t, path, "down")
			waitFor(t, "word of the tunnel", func() bool { return strings.Contains(stderr.String(), "the tunnel is down") })
			stop()
			serveFake(t, path, "connected")
			if got := <-code; got != 0 {
				t.Errorf("exit code %d: %s", got, stderr.String())
			}
		})
	}
}

// muteDaemon has agents that do not answer at first.
type muteDaemon struct {
	fakeDaemon
	asked atomic.Int32
}

func (m *muteDaemon) Ping(ctx context.Context, in *localv1.PingRequest) (*localv1.PingReply, error) {
	if in.GetName() == "gpu.web" && m.asked.Add(1) < 3 {
		return nil, &localapi.Error{Code: localapi.CodeTimeout, Cause: "ping gpu.web: no answer"}
	}
	return m.fakeDaemon.Ping(ctx, in)
}

func TestWaitAsksEachAgent(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	daemon := &muteDaemon{fakeDaemon: fakeDaemon{status: fakeStatus("connected")}}
	serve(t, path, daemon)
	_, stderr, code := command(t, path, "wait --timeout 20s --for workspace/web")
	if got := <-code; got != 0 || daemon.asked.Load() != 3 {
		t.Errorf("exit code %d after %d pings: %s", got, daemon.asked.Load(), stderr.String())
	}
	daemon.asked.Store(-1000)
	_, stderr, code = command(t, path, "wait --timeout 2s --for gpu.web")
	if got := <-code; got != int(localapi.CodeTimeout) || !strings.Contains(stderr.String(), "not within 2s: ping gpu.web: no answer") {
		t.Errorf("exit code %d: %s", got, stderr.String())
	}
}

func TestWaitEndsWithTheUser(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	var stdout, stderr output
	code := Main(ctx, Env{
		Args: []string{"causeway", "--socket", filepath.Join(t.TempDir(), "s"), "wait"}, Stdin: strings.NewReader(""),
		Stdout: &stdout, Stderr: &stderr, LookupEnv: noEnv,
	})
	if code != interrupted || stderr.String() != "" {
		t.Errorf("exit code %d, %q", code, stderr.String())
	}
}
