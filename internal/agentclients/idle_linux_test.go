package agentclients

import (
	"io"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/causewayhq/causeway/internal/rig"
	"github.com/causewayhq/causeway/internal/testnet"
)

// idleFor is past everything that has a clock and could end an idle session:
//
//   - magicsock forgets a path that carried nothing for 45 s, and looks for it anew;
//   - a NAT forgets the mapping: here both routers are made to, half way;
//   - WireGuard's keys are too old to be used after 180 s (REJECT_AFTER_TIME);
//   - a peer's record is put to sleep after about 5 minutes.
//
// None of them depends on how much longer it lasts, so that an hour is no more
// than this. What does count hours is under test with a clock of its own: the
// SSH server's idle limit, longest session and keep-alives (agent/sshd.TestWatch,
// with an hour of synctest), and OpenSSH's and ours are asked for none here.
const idleFor = 5*time.Minute + 30*time.Second

// TestIdleHour is "a session idle for an hour", compressed. Nothing of the hour
// is simulated; it is shorter.
func TestIdleHour(t *testing.T) {
	needRig(t, false)
	w := newWorld(t, plan{client: testnet.EasyNAT, agent: testnet.EasyNAT})
	echoServers(t, w)

	// A terminal, without keep-alives.
	cmd := w.sshCommand(t.Context(), "-o", "ServerAliveInterval=0", "-o", "TCPKeepAlive=no", "-t", rig.Name, "stty -echo; echo ready; cat")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	screen, err := pty.Start(cmd)
	must(t, err)
	seen := &transcript{}
	go func() { _, _ = io.Copy(seen, screen) }()
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait(); screen.Close() })
	seen.wait(t, "ready")
	// A connection through -L, with the keep-alives of causeway config-ssh.
	w.background(t, w.sshCommand(t.Context(), "-N", "-o", "ExitOnForwardFailure=yes", "-L", "127.0.0.1:9101:localhost:9100", rig.Name))
	eventually(t, "the forward", func() bool {
		_, err := w.onClient(t.Context(), "ss -ltn | grep -q :9101")
		return err == nil
	})
	forwarded := w.dialEditor(t, "first", "nc", "127.0.0.1", "9101")
	if line, err := forwarded.from.ReadString('\n'); err != nil || line != "first\n" {
		t.Fatalf("the forward says %q, %v", line, err)
	}
	// And a connection of a program to a port of the workspace, which has none.
	plain := w.dialEditor(t, "first", "ssh", "-o", "ServerAliveInterval=0", "-W", "localhost:9100", rig.Name)
	if line, err := plain.from.ReadString('\n'); err != nil || line != "first\n" {
		t.Fatalf("-W says %q, %v", line, err)
	}

	time.Sleep(idleFor / 2) // the idleness itself
	for _, router := range []*testnet.Host{w.Net.ClientRouter, w.Net.AgentRouter} {
		_, err := router.Run(t.Context(), "conntrack", "-F")
		must(t, err)
	}
	time.Sleep(idleFor / 2)

	began := time.Now()
	_, err = io.WriteString(screen, "still there\n")
	must(t, err)
	seen.wait(t, "still there\r\n")
	took := time.Since(began)
	figure(t, "after %v without a byte, and without the routers' mappings, the first echo comes after %.2f s", idleFor, took.Seconds())
	if took > 10*time.Second {
		t.Errorf("the echo took %v", took)
	}
	forwarded.says(t, "second", "second")
	plain.says(t, "second", "second")
	if got := w.session(t, "echo new"); got != "new\n" {
		t.Errorf("a new session: %q", got)
	}
}
