package e2e

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/causewayhq/causeway/internal/rig"
	"github.com/causewayhq/causeway/internal/testnet"
)

// TestStoppedAgent: an agent that ends while it is in use is seen to be gone
// within seconds, and nothing waits for it without a word.
func TestStoppedAgent(t *testing.T) {
	needRig(t, true)
	stack := newStack(t, testnet.Public, testnet.Public)
	upAndReach(t, stack)
	must(t, ssh(within(t, 30*time.Second), stack, rig.Name, "true").Run())
	must(t, stack.Agent.Stop())
	must(t, rig.Eventually(within(t, 5*time.Second), func() error {
		output, err := stack.Causeway(t.Context(), "status")
		if err == nil && !strings.Contains(output, "offline for ") {
			err = errors.New("it does not show:\n" + output)
		}
		return err
	}))
	for command, words := range map[string]string{
		"status --check peers":      "(offline)",
		"ssh myws true":             "agent is not online (for ",
		"scp /etc/hosts myws:":      "agent is not online (for ",
		"port-forward myws -L 8080": "agent is not online (for ",
	} {
		began := time.Now()
		output, err := stack.Client(within(t, 20*time.Second), "env", append([]string{"HOME=/tmp", stack.Path("causeway")}, strings.Fields(command)...)...)
		if got := exitCode(unwrapped(err)); got != 8 || !strings.Contains(output, words) {
			t.Errorf("causeway %s: exit code %d, %s", command, got, output)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("causeway %s took %v", command, took)
		}
	}
	output, err := stack.Causeway(t.Context(), "list")
	if err != nil || !strings.Contains(output, "offline for ") {
		t.Errorf("list: %v\n%s", err, output)
	}
	t.Log(output)
}

// TestKilledAgent: one that ends without a word while packets go to it is a
// problem as soon as it is sure, and gone after that.
func TestKilledAgent(t *testing.T) {
	needRig(t, false)
	stack := newStack(t, testnet.Public, testnet.Public)
	upAndReach(t, stack)
	session := ssh(t.Context(), stack, rig.Name, "while sleep 1; do echo on; done")
	must(t, session.Start())
	t.Cleanup(func() { session.Process.Kill(); session.Wait() })
	pinging := stack.On(t.Context(), "ping", "-i", "1", rig.Name)
	must(t, pinging.Start())
	t.Cleanup(func() { pinging.Process.Kill(); pinging.Wait() })
	time.Sleep(6 * time.Second) // the session shows as in use
	began := time.Now()
	stack.Agent.Kill()
	must(t, rig.Eventually(within(t, time.Minute), func() error {
		output, err := stack.Causeway(t.Context(), "status")
		if exitCode(unwrapped(err)) != 8 || !strings.Contains(output, "problem agent-silent: no answer from main.myws") {
			return errors.New("it does not show:\n" + output)
		}
		return nil
	}))
	figure(t, "%.1f s from the kill to the problem", time.Since(began).Seconds())
	output, err := stack.Client(within(t, 20*time.Second), "env", "HOME=/tmp", stack.Path("causeway"), "ssh", "myws", "true")
	if got := exitCode(unwrapped(err)); got != 8 || !strings.Contains(output, "agent is not online") {
		t.Errorf("causeway ssh: exit code %d, %s", got, output)
	}
}
