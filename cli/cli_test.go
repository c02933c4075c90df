package cli

import (
	"bytes"
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/causewayhq/causeway/localapi"
)

// output is a writer that can be read while it is written to.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(data []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(data)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// serveFake serves a daemon in that state; stop ends it.
func serveFake(t *testing.T, path, state string) (stop func()) {
	t.Helper()
	listener, err := localapi.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var served sync.WaitGroup
	served.Go(func() {
		err := localapi.Serve(ctx, listener, &fakeDaemon{status: fakeStatus(state)},
			func(localapi.Caller, localapi.Access) error { return nil }, slog.New(slog.DiscardHandler))
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

func noEnv(string) (string, bool) { return "", false }

func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 10 s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestWatchOutlivesTheDaemon(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	stop := serveFake(t, path, "connected")
	ctx, cancel := context.WithCancel(t.Context())
	var stdout, stderr output
	code := make(chan int, 1)
	go func() {
		code <- Main(ctx, Env{
			Args: []string{"causeway", "--socket", path, "status", "--watch", "--json"}, Stdin: strings.NewReader(""),
			Stdout: &stdout, Stderr: &stderr, LookupEnv: noEnv,
		})
	}()
	waitFor(t, "first status", func() bool { return strings.Contains(stdout.String(), `"state":"connected"`) })
	stop()
	waitFor(t, "word of the daemon's end", func() bool {
		select {
		case got := <-code:
			t.Fatalf("exit code %d: %s", got, stderr.String())
		default:
		}
		return strings.Contains(stderr.String(), "remedy: start the daemon")
	})
	serveFake(t, path, "down")
	waitFor(t, "status of the next daemon", func() bool { return strings.Contains(stdout.String(), `"state":"down"`) })
	cancel()
	if got := <-code; got != 0 {
		t.Errorf("exit code %d after an interrupt, want 0", got)
	}
	for line := range strings.Lines(stdout.String()) {
		if !strings.HasPrefix(line, `{"version":1,`) || !strings.HasSuffix(line, "}\n") {
			t.Errorf("not a line of JSON: %q", line)
		}
	}
}

func TestSSHIsNotInstalled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	serveFake(t, path, "connected")
	t.Setenv("PATH", t.TempDir())
	var stdout, stderr output
	code := Main(t.Context(), Env{
		Args: []string{"causeway", "--socket", path, "ssh", "myws"}, Stdin: strings.NewReader(""),
		Stdout: &stdout, Stderr: &stderr, LookupEnv: noEnv,
	})
	if code != int(localapi.CodeGeneric) || !strings.Contains(stderr.String(), "OpenSSH client is not installed") || !strings.Contains(stderr.String(), "remedy: install it") {
		t.Errorf("exit code %d, %q", code, stderr.String())
	}
}

func TestInterruptedWait(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	serveFake(t, path, "degraded")
	ctx, cancel := context.WithCancel(t.Context())
	var stdout, stderr output
	code := make(chan int, 1)
	go func() {
		code <- Main(ctx, Env{
			Args: []string{"causeway", "--socket", path, "up", "--wait"}, Stdin: strings.NewReader(""),
			Stdout: &stdout, Stderr: &stderr, LookupEnv: noEnv,
		})
	}()
	waitFor(t, "progress", func() bool { return strings.Contains(stderr.String(), "in the way") })
	cancel()
	if got := <-code; got != interrupted {
		t.Errorf("exit code %d, want %d", got, interrupted)
	}
}

func TestQuote(t *testing.T) {
	for word, want := range map[string]string{
		"up": "up", "--timeout=1m": "--timeout=1m", "": "''", "a b": "'a b'", "it's": `'it'\''s'`, "$(x)": "'$(x)'", "é": "'é'",
	} {
		if got := quote(word); got != want {
			t.Errorf("quote(%q) = %s, want %s", word, got, want)
		}
	}
}

func TestNearest(t *testing.T) {
	names := []string{"status", "list", "login", "logout", "up", "down"}
	for word, want := range map[string]string{"stat": "status", "staus": "status", "loginn": "login", "xyz": "", "u": "up", "dwon": "down", "": ""} {
		if got := nearest(word, names); got != want {
			t.Errorf("nearest(%q) = %q, want %q", word, got, want)
		}
	}
}

func FuzzParseAnswer(f *testing.F) {
	query, err := packQuery("main.myws.me.coder", dnsmessage.TypeAAAA)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(query)
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0xc0}, 64))
	f.Fuzz(func(t *testing.T, data []byte) {
		answer, err := parseAnswer(data)
		if err == nil && answer.Code == "" {
			t.Error("an answer without a code")
		}
	})
}
