package agentclients

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/causewayhq/causeway/internal/rig"
)

// defined is what the workspace of TestSessions gets besides its directory.
const defined = `environment:
  EXPANDED: home is $HOME
  PATH: /opt/defined:$PATH
secrets:
  - {name: s, env: RAW, value: raw $HOME}
vscode_proxy_uri: https://{{port}}--main.example.com
`

// TestSessions: what a session is, seen by OpenSSH through the tunnel.
func TestSessions(t *testing.T) {
	needRig(t, true)
	w := newWorld(t, plan{definition: defined})
	t.Run("ExitCodes", func(t *testing.T) { exitCodes(t, w) })
	t.Run("Environment", func(t *testing.T) { environment(t, w) })
	t.Run("Resize", func(t *testing.T) { resize(t, w) })
	t.Run("MillionLines", func(t *testing.T) { millionLines(t, w) })
	t.Run("LargeFile", func(t *testing.T) { largeFile(t, w) })
	t.Run("HundredSessions", func(t *testing.T) { hundredSessions(t, w) })
}

// exitCodes are the command's own, 255 where it has none, 229 when it could not
// be started. 65 is in TestRestart, where file transfer is switched off.
func exitCodes(t *testing.T, w *world) {
	for command, want := range map[string]int{
		"true": 0, "exit 7": 7, "exit 255": 255, "kill -KILL $$": 255, "#!/no/such/interpreter\n": 229, "no-such-program": 127, "#!/bin/sh\nexit 9": 9,
	} {
		if got := w.ssh(t, rig.Name, command); got.code != want {
			t.Errorf("%q: %+v, want exit code %d", command, got, want)
		}
	}
	if got := w.ssh(t, "-s", rig.Name, "no-such-subsystem"); got.code != 1 {
		t.Errorf("unknown subsystem: %+v", got)
	}
}

// split reads NAME=value lines that end with a zero byte.
func split(text string) map[string]string {
	result := map[string]string{}
	for line := range strings.SplitSeq(text, "\x00") {
		if name, value, found := strings.Cut(line, "="); found {
			result[name] = value
		}
	}
	return result
}

// environment: each variable of the protocol (docs, 5.3) and ours, nothing of
// the agent's own settings, and nothing that steers the server.
func environment(t *testing.T, w *world) {
	_, err := w.onClient(t.Context(), "ssh-keygen -q -t ed25519 -N '' -f /tmp/any")
	must(t, err)
	script := "ssh-agent ssh -A -tt -o BatchMode=yes -o SetEnv='FROM_CLIENT=yes CODER_SSH_SESSION_TYPE=vscode coder_container=x CODER_CONTAINER_USER=y' " +
		rig.Name + " 'stty raw; env -0'"
	cmd := w.On(within(t, patience), "bash", "-ec", script)
	cmd.Env = append(os.Environ(), "TERM=vt220")
	got := split(ended(t, cmd).stdout)

	var listed struct {
		Workspaces []struct{ ID string }
	}
	output, err := w.Admin(within(t, patience), "workspace", "list", "--json")
	must(t, err)
	must(t, json.Unmarshal([]byte(output), &listed))
	if len(listed.Workspaces) != 1 {
		t.Fatalf("workspaces: %s", output)
	}
	want := map[string]string{}
	for _, variable := range os.Environ() {
		if name, value, _ := strings.Cut(variable, "="); !strings.HasPrefix(name, "CAUSEWAY_AGENT_") {
			want[name] = value
		}
	}
	ours := map[string]string{
		"CODER": "true", "CODER_WORKSPACE_NAME": rig.Workspace, "CODER_WORKSPACE_AGENT_NAME": rig.Agent, "CODER_WORKSPACE_OWNER_NAME": rig.Owner,
		"CODER_WORKSPACE_ID": listed.Workspaces[0].ID, "CODER_AGENT_TOKEN": w.agentToken,
		"GIT_SSH_COMMAND": w.Path("causeway-agent") + " gitssh --", "CS_DISABLE_GETTING_STARTED_OVERRIDE": "true",
		"VSCODE_PROXY_URI": "https://{{port}}--main.example.com", "USER": "root", "LOGNAME": "root", "HOME": "/root", "SHELL": "/bin/bash",
		"SSH_CLIENT": "0.0.0.0 0 0", "SSH_CONNECTION": "0.0.0.0 0 0.0.0.0 0", "TERM": "vt220", "SSH_AUTH_SOCK": got["SSH_AUTH_SOCK"],
		"EXPANDED": "home is /tmp", // the agent expands with its own environment
		"RAW":      "raw $HOME", "FROM_CLIENT": "yes", "PATH": got["PATH"],
		"CAUSEWAY_GIT_DIR": "/tmp/.local/state/causeway-agent/git",
	}
	maps.Copy(want, ours)
	if !strings.Contains(got["SSH_AUTH_SOCK"], "causeway-ssh-agent-") || !strings.HasSuffix(got["PATH"], ":/opt/defined:"+os.Getenv("PATH")) ||
		!strings.HasPrefix(got["PATH"], "/tmp/.local/state/causeway-agent/") {
		t.Errorf("SSH_AUTH_SOCK=%q, PATH=%q", got["SSH_AUTH_SOCK"], got["PATH"])
	}
	for _, ofShell := range []string{"PWD", "OLDPWD", "SHLVL", "_"} {
		delete(got, ofShell)
		delete(want, ofShell)
	}
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("%s=%q, want %q", name, got[name], want[name])
		}
	}
	for name, value := range got {
		if _, expected := want[name]; !expected {
			t.Errorf("%s=%q is not wanted", name, value)
		}
	}
	figure(t, "%d variables of the protocol, the definition and ours as they should be, none besides", len(ours))
}

// resize: the window of a real terminal, and each change of it.
func resize(t *testing.T, w *world) {
	cmd := w.sshCommand(within(t, patience), "-t", rig.Name, "trap 'stty size' WINCH; stty size; echo ready; while :; do sleep 0.1; done")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	screen, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 80})
	must(t, err)
	seen := &transcript{}
	go func() { _, _ = io.Copy(seen, screen) }()
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait(); screen.Close() }()
	seen.wait(t, "24 80")
	seen.wait(t, "ready")
	for _, size := range [][2]uint16{{50, 132}, {1, 1}, {500, 300}} {
		must(t, pty.Setsize(screen, &pty.Winsize{Rows: size[0], Cols: size[1]}))
		// OpenSSH's client looks at the signal before it begins to wait: one that comes
		// in between is seen with the next event, and here is none.
		nudge := time.AfterFunc(5*time.Second, func() { _ = cmd.Process.Signal(syscall.SIGWINCH) })
		seen.wait(t, fmt.Sprintf("\n%d %d\r", size[0], size[1]))
		nudge.Stop()
	}
}

// transcript is what a program has printed on a terminal.
type transcript struct {
	mu   sync.Mutex
	text strings.Builder
}

func (s *transcript) Write(data []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(data)
}

func (s *transcript) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func (s *transcript) wait(t *testing.T, text string) {
	t.Helper()
	for end := time.Now().Add(patience); !strings.Contains(s.String(), text); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no %q in %q", text, s.String())
		}
	}
}

// millionLines: all of them, in order, from the workspace and into it, with a
// terminal and without.
func millionLines(t *testing.T, w *world) {
	hash := func(end string) string {
		sum := sha256.New()
		for line := 1; line <= 1_000_000; line++ {
			fmt.Fprintf(sum, "%d%s", line, end)
		}
		return hex.EncodeToString(sum.Sum(nil))
	}
	began := time.Now()
	sameSum(t, "from the workspace", w.client(t, "ssh -o BatchMode=yes "+rig.Name+" seq 1000000 | sha256sum"), hash("\n"))
	took := time.Since(began)
	sameSum(t, "with a terminal", w.client(t, "ssh -tt -o BatchMode=yes "+rig.Name+" seq 1000000 </dev/null 2>/dev/null | sha256sum"), hash("\r\n"))
	sameSum(t, "into the workspace", w.client(t, "seq 1000000 | ssh -o BatchMode=yes "+rig.Name+" sha256sum"), hash("\n"))
	figure(t, "a million lines from the workspace in %.2f s, none lost", took.Seconds())
}

// largeFile: 1 GiB with the real sftp, both ways; 32 MiB in the sample.
func largeFile(t *testing.T, w *world) {
	mebibytes := 32
	if whole() {
		mebibytes = 1024
	}
	// On the disk: memory is what the rest of this machine needs.
	shared, err := os.MkdirTemp("/var/tmp", "causeway-large-")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(shared) })
	want := random(t, w.client, shared+"/source", mebibytes)
	for _, step := range []string{"put " + shared + "/source " + shared + "/there", "get " + shared + "/there " + shared + "/back"} {
		cmd := w.On(within(t, 5*time.Minute), "sftp", "-q", "-b", "-", rig.Name)
		cmd.Stdin = strings.NewReader(step + "\n")
		began := time.Now()
		if got := ended(t, cmd); got.code != 0 {
			t.Fatalf("%s: %+v", step, got)
		}
		took := time.Since(began)
		figure(t, "sftp %s: %d MiB in %.1f s, %.0f MB/s", firstWord(step), mebibytes, took.Seconds(), float64(mebibytes)*1.048576/took.Seconds())
		word := strings.Fields(step)[2]
		sameSum(t, step, w.client(t, "sha256sum < "+word), want)
	}
}

// hundredSessions are open at the same time, each a process of OpenSSH with a
// connection of its own, and the control plane counts them.
func hundredSessions(t *testing.T, w *world) {
	const count = 100
	w.workspace(t, "mkdir -p /tmp/clients/many")
	began := time.Now()
	var work sync.WaitGroup
	for index := range count {
		work.Go(func() {
			command := fmt.Sprintf("touch /tmp/clients/many/%d; until [ -e /tmp/clients/go ]; do sleep 0.2; done; cat; exit 3", index)
			cmd := w.sshCommand(within(t, 2*patience), rig.Name, command)
			cmd.Stdin = strings.NewReader(fmt.Sprintln("session", index))
			if got := ended(t, cmd); got.code != 3 || got.stdout != fmt.Sprintln("session", index) {
				t.Errorf("session %d: %+v", index, got)
			}
		})
	}
	var resident string
	func() {
		defer work.Wait()
		defer w.workspace(t, "touch /tmp/clients/go")
		eventually(t, "all sessions", func() bool {
			got, err := w.onAgent(t.Context(), "ls /tmp/clients/many | wc -l")
			return err == nil && strings.TrimSpace(got) == fmt.Sprint(count)
		})
		figure(t, "%d sessions, each with its own OpenSSH and connection, are open after %.1f s", count, time.Since(began).Seconds())
		eventually(t, "the control plane to count them", func() bool { return len(w.connections(t, "--open")) == count })
		resident = w.workspace(t, fmt.Sprintf("grep VmRSS /proc/%d/status", w.Agent.PID()))
	}()
	figure(t, "the agent has %s with %d sessions open", strings.Join(strings.Fields(resident), " "), count)
	eventually(t, "their ends", func() bool { return len(w.connections(t, "--open")) == 0 })
	ends := 0
	for _, each := range w.connections(t) {
		if each.Type == "ssh" && each.StatusCode != nil && *each.StatusCode == 3 {
			ends++
		}
	}
	if ends < count {
		t.Errorf("%d ends with code 3 are listed", ends)
	}
}

// connection is one of causeway-server agent connections.
type connection struct {
	Type, Reason string
	StatusCode   *int `json:"status_code"`
}

func (w *world) connections(t *testing.T, args ...string) []connection {
	t.Helper()
	output, err := w.Admin(within(t, patience), append([]string{"agent", "connections", agentPath, "--json"}, args...)...)
	must(t, err)
	var answer struct{ Connections []connection }
	must(t, json.Unmarshal([]byte(output), &answer))
	return answer.Connections
}
