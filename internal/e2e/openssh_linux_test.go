package e2e

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/causewayhq/causeway/internal/rig"
	"github.com/causewayhq/causeway/internal/testnet"
)

// exitCode of a command that ran: -1 when it could not.
func exitCode(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	return -1
}

// TestOpenSSH holds the agent to what OpenSSH's own programs expect.
func TestOpenSSH(t *testing.T) {
	needRig(t, true)
	stack := newStack(t, testnet.Public, testnet.Public)
	upAndReach(t, stack)

	t.Run("ExitStatus", func(t *testing.T) {
		for command, want := range map[string]int{"true": 0, "exit 7": 7, "kill -TERM $$": 255} {
			err := ssh(within(t, 30*time.Second), stack, rig.Name, command).Run()
			if got := exitCode(err); got != want {
				t.Errorf("%s: ssh exits with %d, want %d", command, got, want)
			}
		}
	})
	t.Run("OutputOnBothStreams", func(t *testing.T) {
		var stdout, stderr bytes.Buffer
		cmd := ssh(within(t, 30*time.Second), stack, rig.Name, "cat; echo oops >&2")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader("through"), &stdout, &stderr
		must(t, cmd.Run())
		if stdout.String() != "through" || strings.TrimSpace(stderr.String()) != "oops" {
			t.Errorf("stdout %q, stderr %q", stdout.String(), stderr.String())
		}
	})
	t.Run("Terminal", func(t *testing.T) {
		output, err := ssh(within(t, 30*time.Second), stack, "-tt", rig.Name, "tty; echo $TERM; stty size").CombinedOutput()
		must(t, err)
		if !strings.Contains(string(output), "/dev/pts/") {
			t.Errorf("no terminal: %q", output)
		}
	})
	t.Run("CausewaySSH", func(t *testing.T) {
		output, err := stack.Client(within(t, 30*time.Second), "env", "HOME=/tmp", stack.Path("causeway"), "ssh", rig.Name, "--", "echo", "by name; exit 7")
		if exitCode(errors.Unwrap(err)) != 7 || !strings.Contains(output, "by name") {
			t.Errorf("causeway ssh: %v %q, want exit 7 and the output", err, output)
		}
	})
	t.Run("Copies", func(t *testing.T) { copies(t, stack) })
	t.Run("Forwards", func(t *testing.T) { forwards(t, stack) })
	t.Run("CausewayScp", func(t *testing.T) { causewayScp(t, stack) })
	t.Run("ConfigSSH", func(t *testing.T) { configSSH(t, stack) })
	t.Run("PortForward", func(t *testing.T) { portForward(t, stack) })
}

// copies moves a file there and back with scp, its old protocol too, and sftp.
func copies(t *testing.T, stack *rig.Stack) {
	path, want := agentFile(t, stack, 5)
	for name, command := range map[string][]string{
		"scp":    append(append([]string{"scp"}, sshArgs...), rig.Name+":"+path, "/tmp/here"),
		"scp -O": append(append([]string{"scp", "-O"}, sshArgs...), rig.Name+":"+path, "/tmp/here"),
		"sftp":   append(append([]string{"sftp"}, sshArgs...), rig.Name+":"+path, "/tmp/here"),
	} {
		_, err := stack.Client(within(t, time.Minute), command[0], command[1:]...)
		must(t, err)
		sum, err := stack.Client(t.Context(), "sh", "-c", "sha256sum < /tmp/here; mv /tmp/here /tmp/kept")
		must(t, err)
		if got := firstWord(sum); got != want {
			t.Errorf("%s: checksum %s, want %s", name, got, want)
		}
	}
	put := append(append([]string{}, sshArgs...), "/tmp/kept", rig.Name+":/tmp/back")
	_, err := stack.Client(within(t, time.Minute), "scp", put...)
	must(t, err)
	sum, err := stack.Net.Agent.Run(t.Context(), "sha256sum", "/tmp/back")
	must(t, err)
	if got := firstWord(sum); got != want {
		t.Errorf("scp to the agent: checksum %s, want %s", got, want)
	}
}

// forwards sends bytes through -L and through -R.
func forwards(t *testing.T, stack *rig.Stack) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var running []*exec.Cmd
	run := func(cmd *exec.Cmd) {
		must(t, cmd.Start())
		running = append(running, cmd)
	}
	run(stack.Net.Agent.Command(ctx, stack.Path("probe"), "tcp-sink", "127.0.0.1:9100"))
	run(stack.On(ctx, stack.Path("probe"), "tcp-sink", "127.0.0.1:9200"))
	run(ssh(ctx, stack, "-N", "-o", "ExitOnForwardFailure=yes", "-L", "127.0.0.1:9101:127.0.0.1:9100", "-R", "127.0.0.1:9201:127.0.0.1:9200", rig.Name))
	send := func(where string, do func(context.Context) (string, error)) {
		must(t, rig.Eventually(within(t, 30*time.Second), func() error {
			_, err := do(within(t, 20*time.Second))
			return err
		}))
		t.Logf("%s carries 10 MB", where)
	}
	send("-L", func(ctx context.Context) (string, error) {
		return stack.Client(ctx, stack.Path("probe"), "tcp-send", "127.0.0.1:9101", "10000000", "2")
	})
	send("-R", func(ctx context.Context) (string, error) {
		return stack.Net.Agent.Run(ctx, stack.Path("probe"), "tcp-send", "127.0.0.1:9201", "10000000", "2")
	})
	// Ports of the workspace need no forward at all.
	send("the name itself", func(ctx context.Context) (string, error) {
		return stack.Client(ctx, stack.Path("probe"), "tcp-send", rig.Name+":9100", "10000000", "2")
	})
	cancel()
	for _, cmd := range running {
		cmd.Wait()
	}
}
