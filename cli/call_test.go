package cli

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

// TestStoppedDaemon: nobody takes calls from the socket, as of a process that
// was stopped. Each command says so instead of waiting without end.
func TestStoppedDaemon(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	listener, err := localapi.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	t.Run("commands", func(t *testing.T) {
		for _, line := range []string{
			"status", "status --json", "status --watch", "list", "dns query x.coder", "version --daemon", "up", "up --wait", "down", "logout", "ping x",
			"login https://x --token-file -",
		} {
			t.Run(line, func(t *testing.T) {
				t.Parallel()
				saysSilence(t, path, line)
			})
		}
	})
}

// stuckDaemon answers who it is and nothing else.
type stuckDaemon struct{ fakeDaemon }

func (*stuckDaemon) GetStatus(ctx context.Context, _ *localv1.GetStatusRequest) (*localv1.Status, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (*stuckDaemon) WatchStatus(_ *localv1.GetStatusRequest, stream localv1.DRPCLocal_WatchStatusStream) error {
	<-stream.Context().Done()
	return stream.Context().Err()
}

// TestStuckDaemon: a call that hangs in a daemon that takes others.
func TestStuckDaemon(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	listener, err := localapi.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- localapi.Serve(ctx, listener, &stuckDaemon{}, func(localapi.Caller, localapi.Access) error { return nil }, slog.New(slog.DiscardHandler))
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Run("commands", func(t *testing.T) {
		for _, line := range []string{"status", "status --watch", "list"} {
			t.Run(line, func(t *testing.T) {
				t.Parallel()
				saysSilence(t, path, line)
			})
		}
	})
}

func saysSilence(t *testing.T, socket, line string) {
	const patience = 300 * time.Millisecond
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var stdout, stderr output
	began := time.Now()
	code := Main(ctx, Env{
		Args:  append([]string{"causeway", "--socket", socket}, strings.Fields(line)...),
		Stdin: strings.NewReader("good\n"), Stdout: &stdout, Stderr: &stderr, LookupEnv: noEnv, Version: "v1.2.3", patience: patience,
	})
	if code != int(localapi.CodeTimeout) || !strings.Contains(stderr.String(), "does not answer within 300ms") || !strings.Contains(stderr.String(), "remedy: run: causeway doctor") {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout.String(), stderr.String())
	}
	if took := time.Since(began); took < patience {
		t.Errorf("it took no more than %s", took)
	}
}

// Outside of tests the daemon gets its time.
func TestPatience(t *testing.T) {
	if got := (&app{}).patience(); got != answerLimit || got < 2*time.Second {
		t.Errorf("patience() = %s", got)
	}
}
