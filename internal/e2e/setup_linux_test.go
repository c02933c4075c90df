package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/causewayhq/causeway/internal/rig"
	"github.com/causewayhq/causeway/internal/rigtest"
	"github.com/causewayhq/causeway/internal/testnet"
)

// bin holds the programs, built once for all tests.
var bin string

func TestMain(m *testing.M) { rigtest.Main(m, &bin) }

// What all rigs have, by short names.
var (
	needRig = rigtest.Need
	figure  = rigtest.Figure
	must    = rigtest.Must
	within  = rigtest.Within
)

// newStack is a topology with nothing started on it yet. Everything is
// stopped at the end of the test, and the logs are shown if it failed.
func newStack(t *testing.T, client, agent testnet.NAT) *rig.Stack {
	t.Helper()
	net, err := testnet.New(t.Context(), client, agent)
	if err != nil {
		t.Fatal(err)
	}
	stack := rig.New(net, bin, t.TempDir())
	t.Cleanup(func() {
		if err := stack.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log(stack.Logs())
		}
		if err := net.Close(); err != nil {
			t.Error(err)
		}
	})
	return stack
}

// upAndReach signs alice in everywhere, brings the tunnel up, and returns the
// seconds until the first reply.
func upAndReach(t *testing.T, stack *rig.Stack) {
	t.Helper()
	ctx := within(t, 90*time.Second)
	must(t, stack.StartAll(ctx))
	bringUp(t, stack)
}

// bringUp prints the time from `up` to the first reply of the workspace.
func bringUp(t *testing.T, stack *rig.Stack) {
	t.Helper()
	began := time.Now()
	_, err := stack.Causeway(within(t, 20*time.Second), "up")
	must(t, err)
	must(t, rig.Eventually(within(t, 30*time.Second), func() error {
		_, err := stack.Causeway(within(t, 10*time.Second), "ping", rig.Name, "-c", "1", "--timeout", "5s")
		return err
	}))
	elapsed := time.Since(began)
	figure(t, "%.2f s from up to the first reply", elapsed.Seconds())
	if elapsed > 10*time.Second {
		t.Errorf("first reply after %v, allowed are 10 s", elapsed)
	}
}

// sshArgs are the options of every OpenSSH program: nothing of the machine's
// own configuration, and a known_hosts of the client host.
var sshArgs = []string{
	"-F", "none", "-o", "StrictHostKeyChecking=accept-new", "-o", "UserKnownHostsFile=/tmp/known_hosts",
	"-o", "ConnectTimeout=20", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR",
}

// ssh prepares an OpenSSH session on the client.
func ssh(ctx context.Context, stack *rig.Stack, args ...string) *exec.Cmd {
	return stack.On(ctx, "ssh", append(append([]string{}, sshArgs...), args...)...)
}

// agentFile makes a file of random bytes on the agent and returns its path
// and checksum.
func agentFile(t *testing.T, stack *rig.Stack, mebibytes int) (path, sum string) {
	t.Helper()
	path = fmt.Sprintf("/tmp/random-%d", mebibytes)
	output, err := stack.Net.Agent.Shell(within(t, time.Minute), fmt.Sprintf("head -c %dM /dev/urandom > %s; sha256sum < %s", mebibytes, path, path))
	must(t, err)
	return path, firstWord(output)
}

func firstWord(text string) string {
	word, _, _ := strings.Cut(text, " ")
	return strings.TrimSpace(word)
}
