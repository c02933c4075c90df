package agentclients

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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

const patience = rigtest.Patience

// What all rigs have, by short names.
var (
	needRig    = rigtest.Need
	figure     = rigtest.Figure
	must       = rigtest.Must
	within     = rigtest.Within
	eventually = rigtest.Eventually
	whole      = rigtest.Whole
)

// agentPath names the agent to causeway-server.
const agentPath = rig.Owner + "/" + rig.Workspace + "/" + rig.Agent

// world is a desktop with the tunnel up and a workspace behind it. Plain ssh
// knows the workspace from causeway config-ssh and nothing else: an unknown
// host key is refused.
type world struct {
	*rig.Stack
	// agentToken is the agent's, for another start of it.
	agentToken string
}

// plan is what differs between worlds.
type plan struct {
	client, agent testnet.NAT
	// definition is what the agent is to be besides its directory, /root.
	definition string
	// prepare runs when there is a server and no agent yet.
	prepare func(*world)
	// agentArguments are further ones of causeway-agent run.
	agentArguments []string
}

func newWorld(t *testing.T, p plan) *world {
	t.Helper()
	net, err := testnet.New(t.Context(), p.client, p.agent)
	must(t, err)
	w := &world{Stack: rig.New(net, bin, t.TempDir())}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log(w.shortLogs())
		}
		if err := net.Close(); err != nil {
			t.Error(err)
		}
	})
	ctx := within(t, 2*time.Minute)
	// Programs ask the system where home is: here it is private and empty.
	for _, host := range []*testnet.Host{net.Client, net.Agent, net.Proxy} {
		_, err := host.Shell(ctx, "mount -t tmpfs -o mode=700 tmpfs /root; mkdir -m 700 /root/.ssh /tmp/clients; cp /etc/skel/.bashrc /root/ 2>/dev/null || true")
		must(t, err)
	}
	must(t, w.StartServer(ctx))
	user, err := w.AddUser(ctx, rig.Owner)
	must(t, err)
	w.agentToken, err = w.AddAgent(ctx, rig.Owner, rig.Workspace, rig.Agent)
	must(t, err)
	must(t, w.Net.Server.Write(ctx, "/tmp/agent.yaml", "version: 1\ndirectory: /root\n"+p.definition))
	_, err = w.Admin(ctx, "agent", "configure", agentPath, "/tmp/agent.yaml")
	must(t, err)
	if p.prepare != nil {
		p.prepare(w)
	}
	must(t, w.StartAgent(ctx, w.agentToken, p.agentArguments...))
	must(t, w.StartDaemon(ctx))
	must(t, w.Login(ctx, user))
	_, err = w.Causeway(ctx, "up", "--wait")
	must(t, err)
	must(t, rig.Eventually(ctx, func() error {
		_, err := w.Causeway(within(t, 10*time.Second), "ping", rig.Name, "-c", "1", "--timeout", "5s")
		return err
	}))
	_, err = w.onClient(ctx, "HOME=/root XDG_CONFIG_HOME= "+w.Path("causeway")+" config-ssh")
	must(t, err)
	return w
}

// shortLogs are those of the programs, without the daemon's endless details.
func (w *world) shortLogs() string {
	var kept strings.Builder
	for line := range strings.Lines(w.Logs()) {
		if !strings.Contains(line, "msg=upstream") && !strings.Contains(line, "local API call failed") {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

// onClient and onAgent run a script of bash, to its first failure.
func (w *world) onClient(ctx context.Context, script string) (string, error) {
	return w.Client(ctx, "bash", "-ec", script)
}

func (w *world) onAgent(ctx context.Context, script string) (string, error) {
	return w.Net.Agent.Run(ctx, "bash", "-ec", script)
}

// client and workspace are those of which no failure is expected.
func (w *world) client(t *testing.T, script string) string {
	t.Helper()
	output, err := w.onClient(within(t, patience), script)
	must(t, err)
	return output
}

func (w *world) workspace(t *testing.T, script string) string {
	t.Helper()
	output, err := w.onAgent(within(t, patience), script)
	must(t, err)
	return output
}

// result is how a program ended.
type result struct {
	stdout, stderr string
	code           int
}

// ended runs a prepared program.
func ended(t *testing.T, cmd *exec.Cmd) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("run %v: %v", cmd.Args, err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// sshCommand prepares plain OpenSSH: keys of hosts must be known.
func (w *world) sshCommand(ctx context.Context, args ...string) *exec.Cmd {
	return w.On(ctx, "ssh", append([]string{"-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"}, args...)...)
}

// ssh runs it.
func (w *world) ssh(t *testing.T, args ...string) result {
	t.Helper()
	return ended(t, w.sshCommand(within(t, patience), args...))
}

// session runs a command in the workspace, which must succeed.
func (w *world) session(t *testing.T, command string) string {
	t.Helper()
	got := w.ssh(t, rig.Name, command)
	if got.code != 0 {
		t.Fatalf("ssh %q: exit code %d: %s", command, got.code, got.stderr)
	}
	return got.stdout
}

// background runs a program of the client until the end of the test.
func (w *world) background(t *testing.T, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	log := filepath.Join(t.TempDir(), "log")
	file, err := os.Create(log)
	must(t, err)
	defer file.Close()
	if cmd.Stdout == nil {
		cmd.Stdout = file
	}
	cmd.Stderr = file
	must(t, cmd.Start())
	done := make(chan struct{})
	go func() { _ = cmd.Wait(); close(done) }()
	t.Cleanup(func() {
		_ = cmd.Cancel()
		<-done
		if text, err := os.ReadFile(log); err == nil && t.Failed() {
			t.Logf("%s printed:\n%s", strings.Join(cmd.Args, " "), text)
		}
	})
	return cmd
}

// random makes a file of so many MiB and gives its checksum.
func random(t *testing.T, run func(*testing.T, string) string, path string, mebibytes int) string {
	t.Helper()
	return firstWord(run(t, fmt.Sprintf("head -c %dM /dev/urandom > %s; sha256sum < %s", mebibytes, path, path)))
}

func firstWord(text string) string {
	word, _, _ := strings.Cut(text, " ")
	return strings.TrimSpace(word)
}

// sameSum judges what sha256sum printed.
func sameSum(t *testing.T, what, got, want string) {
	t.Helper()
	if got = firstWord(got); got != want {
		t.Errorf("%s: checksum %s, want %s", what, got, want)
	}
}
