package agentclients

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/causewayhq/causeway/internal/rig"
)

// TestKilled: an agent that is killed, with a session open, and started again as
// a service manager would is reached by the next ssh at once: the tunnel of the
// desktop is not left with a WireGuard session that nobody has any more, which it
// would notice after 15 s (its REKEY_TIMEOUT and KEEPALIVE_TIMEOUT).
func TestKilled(t *testing.T) {
	needRig(t, true)
	w := newWorld(t, plan{})
	w.session(t, "true")
	w.background(t, w.sshCommand(t.Context(), rig.Name, "echo began; exec sleep 600"))
	for range 3 {
		connected(t, w, "yes")
		w.Agent.Kill()
		connected(t, w, "no")
		cmd := w.Net.Agent.Command(context.WithoutCancel(t.Context()), w.Path("causeway-agent"), "run", "--url", w.URL)
		cmd.Env = append(os.Environ(), "CAUSEWAY_AGENT_TOKEN="+w.agentToken, "HOME=/tmp", "USER=root", "LOGNAME=root")
		var err error
		w.Agent, err = w.Start("agent", cmd)
		must(t, err)
		must(t, w.Agent.WaitFor(within(t, patience), "connected"))
		began := time.Now()
		if got := w.ssh(t, rig.Name, "exit 7"); got.code != 7 {
			t.Errorf("ssh after the agent was killed: %+v", got)
		}
		figure(t, "the first ssh after a kill and a restart of the agent takes %.1f s", time.Since(began).Seconds())
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("ssh took %v", took)
		}
	}
}

// connected waits until the server's lists say so of the agent.
func connected(t *testing.T, w *world, want string) {
	t.Helper()
	for _, ask := range []struct{ what, line string }{{"list", agentPath + " " + want}, {"status", "Connected: " + want}} {
		args := []string{"agent", ask.what}
		if ask.what == "status" {
			args = append(args, agentPath)
		}
		eventually(t, "agent "+ask.what+" to say "+ask.line, func() bool {
			output, err := w.Admin(t.Context(), args...)
			return err == nil && strings.Contains(strings.Join(strings.Fields(output), " "), ask.line)
		})
	}
}
