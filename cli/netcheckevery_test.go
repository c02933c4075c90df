package cli

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
)

// TestNetcheckEvery goes on without a daemon and without a network: what is down
// is what it is left running for.
func TestNetcheckEvery(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var stdout, stderr output
	code := make(chan int, 1)
	go func() {
		code <- Main(ctx, Env{
			Args: []string{"causeway", "--socket", path, "netcheck", "--json", "--every", "20ms"}, Stdin: strings.NewReader(""),
			Stdout: &stdout, Stderr: &stderr, LookupEnv: noEnv, Version: "v1.2.3",
		})
	}()
	waitFor(t, "word of the missing daemon", func() bool { return strings.Count(stderr.String(), "there is no socket") >= 2 })
	stop := serve(t, path, &cutOff{fakeDaemon: fakeDaemon{status: fakeStatus("connected")}, relay: "timeout"})
	waitFor(t, "surveys of a dead network", func() bool { return strings.Count(stdout.String(), `"udp":false`) >= 2 })
	stop()
	serveFake(t, path, "connected")
	waitFor(t, "a survey that is well", func() bool { return strings.Contains(stdout.String(), `"udp":true`) })
	cancel()
	if got := <-code; got != 0 {
		t.Errorf("exit code %d: %s", got, stderr.String())
	}
}
