package agentclients

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/causewayhq/causeway/internal/rig"
)

// TestRestart: what the restart of an agent costs, as an upgrade does it: the
// program is replaced by another, told to end, and started again with the same
// state directory. What holds:
//
//   - the host key is the same: plain ssh, which refuses unknown keys, and
//     causeway ssh go on without a word;
//   - sessions and terminals of --reconnect end with the old agent, within the
//     5 s that it gives them; ssh says 255, and the terminal that it has ended, or
//     is not there any more where the old agent was gone before it could be asked;
//   - a command without a terminal goes on, as its client's absence never ends it;
//   - new settings hold for new sessions: here file transfer is switched off, and
//     exit code 65 is seen through the tunnel.
func TestRestart(t *testing.T) {
	needRig(t, true)
	w := newWorld(t, plan{})
	key := w.client(t, "ssh "+rig.Name+" true; ssh-keygen -F "+rig.Name+" -f /root/.config/causeway/known_hosts | tail -1")
	v := w.window(t, "--reconnect=new", rig.Workspace)
	v.press("echo r$((1))ady\r")
	v.sees("r1ady")

	// A session that talks, and a command that needs nobody.
	talking := w.sshCommand(t.Context(), rig.Name, "(trap '' HUP PIPE; sleep 5; echo kept > /tmp/clients/kept) >/dev/null 2>&1 </dev/null & echo began; cat")
	input, err := talking.StdinPipe()
	must(t, err)
	output, err := talking.StdoutPipe()
	must(t, err)
	must(t, talking.Start())
	defer input.Close()
	lines := bufio.NewReader(output)
	if line, err := lines.ReadString('\n'); err != nil || line != "began\n" {
		t.Fatalf("got %q, %v", line, err)
	}

	shared, err := os.MkdirTemp("/var/tmp", "causeway-newer-") // hosts have a /tmp of their own
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(shared) })
	began := time.Now()
	must(t, w.Agent.Stop())
	stopped := time.Since(began)
	newer := filepath.Join(shared, "causeway-agent") // as an upgrade leaves it: another file
	must(t, exec.Command("cp", w.Path("causeway-agent"), newer).Run())
	cmd := w.Net.Agent.Command(context.WithoutCancel(t.Context()), newer, "run", "--url", w.URL, "--block-file-transfer")
	cmd.Env = append(os.Environ(), "CAUSEWAY_AGENT_TOKEN="+w.agentToken, "HOME=/tmp", "USER=root", "LOGNAME=root")
	w.Agent, err = w.Start("agent", cmd)
	must(t, err)
	must(t, w.Agent.WaitFor(within(t, patience), "connected"))
	eventually(t, "a new session", func() bool { return w.ssh(t, rig.Name, "true").code == 0 })
	figure(t, "the agent ends in %.1f s, and a new session is open %.1f s after the order", stopped.Seconds(), time.Since(began).Seconds())

	if _, err := io.Copy(io.Discard, lines); err != nil {
		t.Logf("the session's output ended with %v", err)
	}
	if err := talking.Wait(); talking.ProcessState.ExitCode() != 255 {
		t.Errorf("the session that was open: %v, want exit code 255", err)
	}
	v.sees("has ended")
	v.over(7)
	eventually(t, "the command that goes on", func() bool {
		got, err := w.onAgent(t.Context(), "cat /tmp/clients/kept")
		return err == nil && got == "kept\n"
	})
	if after := w.client(t, "ssh-keygen -F "+rig.Name+" -f /root/.config/causeway/known_hosts | tail -1"); after != key {
		t.Errorf("the key was %q, is %q", key, after)
	}
	if got := ended(t, w.On(within(t, patience), "env", "HOME=/root", w.Path("causeway"), "ssh", rig.Workspace, "--", "exit 7")); got.code != 7 {
		t.Errorf("causeway ssh: %+v", got)
	}
	fileTransferRefused(t, w)
}

// fileTransferRefused: 65 and the text, for each program; nothing else is.
func fileTransferRefused(t *testing.T, w *world) {
	for _, command := range []string{"scp -t /tmp", "rsync --server . /tmp", "nc -l 1", "/usr/lib/openssh/sftp-server"} {
		got := w.ssh(t, rig.Name, command)
		if got.code != 65 || !strings.Contains(got.stdout+got.stderr, "File transfer has been disabled.") {
			t.Errorf("%s: %+v", command, got)
		}
	}
	if got := w.ssh(t, "-s", rig.Name, "sftp"); got.code != 65 {
		t.Errorf("the subsystem: %+v", got)
	}
	for _, program := range []string{"sftp -b /dev/null", "scp -B -O /etc/hostname", "scp -B -s /etc/hostname"} {
		output, err := w.onClient(within(t, patience), program+" "+rig.Name+":")
		if err == nil || !strings.Contains(output, "File transfer has been disabled.") && !strings.Contains(program, "-O") {
			t.Errorf("%s: %q, %v", program, output, err)
		}
	}
	if got := w.ssh(t, rig.Name, "exit 7"); got.code != 7 {
		t.Errorf("a command: %+v", got)
	}
}
