package vpnmanager

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/causewayhq/causeway/internal/rig"
	"github.com/causewayhq/causeway/internal/testnet"
)

// The exit codes of causewayd, as JSON has numbers.
const (
	stateUsed     = 11.0
	managerFailed = 23.0
)

// bin holds the programs, built once for all tests.
var bin string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if os.Getenv("CAUSEWAY_RIGS") == "" {
		return m.Run()
	}
	if bin = os.Getenv("CAUSEWAY_BIN"); bin != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("/var/tmp", "causeway-vpnmanager-") // hosts have a /tmp of their own
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := rig.Build(context.Background(), dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	bin = dir
	return m.Run()
}

func needRig(t *testing.T, sample bool) {
	t.Helper()
	switch asked := os.Getenv("CAUSEWAY_RIGS"); {
	case asked == "":
		t.Skip("a rig: make test runs a sample, make e2e all")
	case asked == "sample" && !sample:
		t.Skip("not in the sample: make e2e runs it")
	}
	if os.Geteuid() != 0 {
		t.Fatal("rigs need root")
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func within(t *testing.T, limit time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

// host is a network with a server, an agent and a client on which nothing of ours
// runs yet.
type host struct {
	t      *testing.T
	stack  *rig.Stack
	script string
	token  string
	before string
}

func newHost(t *testing.T) *host {
	t.Helper()
	net, err := testnet.New(t.Context(), testnet.Public, testnet.Public)
	must(t, err)
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
	ctx := within(t, 60*time.Second)
	must(t, stack.StartServer(ctx))
	h := &host{t: t, stack: stack}
	h.token, err = stack.AddUser(ctx, rig.Owner)
	must(t, err)
	agent, err := stack.AddAgent(ctx, rig.Owner, rig.Workspace, rig.Agent)
	must(t, err)
	must(t, stack.StartAgent(ctx, agent))
	h.script, err = filepath.Abs("manager.py")
	must(t, err)
	h.before = h.state()
	return h
}

// hostState is everything on the client that a tunnel could have changed.
const hostState = `
for what in link addr "route show table all" "-6 route show table all" rule "-6 rule"; do
  echo "== ip $what"; ip -d $what | sed -E 's/ (valid_lft|preferred_lft|expires) [0-9a-z]+//g'
done
for file in /etc/resolv.conf /etc/hosts /etc/nsswitch.conf; do echo "== $file"; stat -c '%F %a %U' $file; cat $file; done
echo "== processes"; for exe in /proc/[0-9]*/exe; do [ "$(readlink $exe)" = "$1" ] && [ "$(readlink /proc/self/ns/net)" = "$(readlink ${exe%exe}ns/net)" ] && echo "$1 runs"; done; true
`

func (h *host) state() string {
	h.t.Helper()
	output, err := h.stack.Client(context.WithoutCancel(h.t.Context()), "sh", "-c", hostState, "sh", h.stack.Path("causewayd"))
	must(h.t, err)
	return output
}

// changed are the lines by which the host differs from before.
func (h *host) changed() []string {
	now := map[string]int{}
	for line := range strings.Lines(h.before) {
		now[line]--
	}
	for line := range strings.Lines(h.state()) {
		now[line]++
	}
	maps.DeleteFunc(now, func(_ string, count int) bool { return count == 0 })
	return slices.Sorted(maps.Keys(now))
}

func (h *host) expectSame(when string) {
	h.t.Helper()
	err := rig.Eventually(within(h.t, 15*time.Second), func() error {
		if lines := h.changed(); len(lines) > 0 {
			return fmt.Errorf("%s the host differs from before:\n%s", when, strings.Join(lines, ""))
		}
		return nil
	})
	if err != nil {
		h.t.Error(err)
	}
}

// told is one line of the manager.
type told map[string]any

// script is a manager that runs.
type script struct {
	*host
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines *bufio.Scanner
}

func (h *host) run(ctx context.Context, scenario string, extra ...string) *script {
	h.t.Helper()
	args := append([]string{h.script, scenario, h.stack.Path("causewayd"), h.stack.URL, h.token, rig.Name}, extra...)
	s := &script{host: h, cmd: h.stack.On(ctx, "python3", args...)}
	s.cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	var err error
	s.in, err = s.cmd.StdinPipe()
	must(h.t, err)
	out, err := s.cmd.StdoutPipe()
	must(h.t, err)
	s.cmd.Stderr = os.Stderr
	must(h.t, s.cmd.Start())
	h.t.Cleanup(func() { _ = s.cmd.Cancel(); _ = s.cmd.Wait() })
	s.lines = bufio.NewScanner(out)
	s.lines.Buffer(nil, 1<<20)
	return s
}

// next is the next line, which must be of this kind.
func (s *script) next(event string) told {
	s.t.Helper()
	if !s.lines.Scan() {
		s.t.Fatalf("the manager ended before %q: %v", event, s.cmd.Wait())
	}
	var line told
	if err := json.Unmarshal(s.lines.Bytes(), &line); err != nil {
		s.t.Fatalf("%v: %s", err, s.lines.Text())
	}
	if line["event"] != event {
		s.t.Fatalf("the manager says %s, want %q", s.lines.Text(), event)
	}
	return line
}

// expect holds the next line to fields.
func (s *script) expect(event string, want told) told {
	s.t.Helper()
	line := s.next(event)
	for name, value := range want {
		if !reflect.DeepEqual(line[name], value) {
			s.t.Errorf("%s: %s is %#v, want %#v in %v", event, name, line[name], value, line)
		}
	}
	return line
}

// started expects the answer to a start request.
func (s *script) started(which, failure string) {
	s.t.Helper()
	line := s.expect("start", told{"case": which, "success": failure == ""})
	if text, _ := line["error"].(string); !strings.HasPrefix(text, failure) || failure == "" && text != "" {
		s.t.Errorf("start %s: error %q, want %q", which, text, failure)
	}
}

func (s *script) goOn() {
	s.t.Helper()
	_, err := io.WriteString(s.in, "\n")
	must(s.t, err)
}

// done expects the manager to end with this error text, "" for none.
func (s *script) done(failure string) {
	s.t.Helper()
	for s.lines.Scan() {
		s.t.Errorf("the manager also says %s", s.lines.Text())
	}
	err := s.cmd.Wait()
	var exit *exec.ExitError
	if text := fmt.Sprint(err); failure == "" && err != nil || failure != "" && (!errors.As(err, &exit) || text != failure) {
		s.t.Errorf("the manager ended with %v, want %q", err, failure)
	}
}

// addressed expects the one address of the rig's agent, and returns it.
func (s *script) addressed() string {
	s.t.Helper()
	line := s.next("resolved")
	list, _ := line["addresses"].([]any)
	if len(list) != 1 || !strings.HasPrefix(fmt.Sprint(list[0]), "fd60:627a:a42b:") {
		s.t.Fatalf("resolved to %v", list)
	}
	return fmt.Sprint(list[0])
}

// agentsOf are the agents of an update by name of their workspace's first FQDN.
func agentsOf(line told, list string) map[string]map[string]any {
	agents := map[string]map[string]any{}
	entries, _ := line[list].([]any)
	for _, entry := range entries {
		agent := entry.(map[string]any)
		names, _ := agent["fqdn"].([]any)
		key := agent["id"].(string)
		if len(names) > 0 {
			key = fmt.Sprint(names[0])
		}
		agents[key] = agent
	}
	return agents
}

// TestSession is the whole life of a tunnel under a manager in another language.
func TestSession(t *testing.T) {
	needRig(t, true)
	h := newHost(t)
	s := h.run(within(t, 90*time.Second), "session")
	s.expect("header", told{"text": "codervpn tunnel 1.3\n"})
	s.expect("peers before start", told{"kind": "peers", "body": map[string]any{"workspaces": []any{}, "agents": []any{}, "gone_workspaces": []any{}, "gone_agents": []any{}}})
	s.expect("wake before start", told{"kind": "wake"})
	s.started("no url", "missing coder url")
	s.started("no token", "missing api token")
	s.started("bad url", `parse "http://host:port": invalid port ":port" after host`)
	s.started("away", "not reached yet")
	s.started("bad token", "get "+h.stack.URL+"/api/v2/users/me: HTTP 401")
	s.expect("state", told{"running": false})
	s.started("good", "")
	t.Logf("figure: %v s from start to its answer", s.next("started")["seconds"])

	agent := agentsOf(s.next("update"), "agents")["myws.coder."]
	if agent == nil || !reflect.DeepEqual(agent["fqdn"], []any{"myws.coder.", "main.myws.me.coder.", "main.myws.admin.coder."}) || agent["ping"] != nil {
		t.Errorf("first update: %v", agent)
	}
	addr := s.addressed()
	if !reflect.DeepEqual(agent["ips"], []any{addr}) {
		t.Errorf("addresses of the update %v, the name is %s", agent["ips"], addr)
	}
	s.expect("ssh", told{"exit": 0.0, "out": "agent", "err": ""})
	s.expect("ping", told{"exit": 0.0})
	if lines := h.changed(); len(lines) == 0 {
		t.Error("the running tunnel shows nowhere in the state that is compared")
	}
	s.started("the same", "")
	s.started("another", "tunnel is running already; stop it first")
	s.expect("wake", told{"kind": "wake"})
	s.expect("wake again", told{"kind": "wake"})
	s.expect("unknown", told{"kind": "", "rpc": true})
	if agentsOf(s.next("peers"), "agents")["myws.coder."] == nil {
		t.Error("asked for peers, the agent is not there")
	}
	measured := agentsOf(s.next("measured"), "agents")["myws.coder."]
	last, _ := measured["ping"].(map[string]any)
	if last == nil || last["p2p"] != true || last["latency"].(float64) <= 0 || last["derp"] == "" || measured["handshake"].(float64) < float64(time.Now().Add(-time.Minute).Unix()) {
		t.Errorf("measured: %v", measured)
	}

	s.next("add a workspace")
	_, err := h.stack.AddAgent(t.Context(), rig.Owner, "second", "main")
	must(t, err)
	s.goOn()
	s.next("added")
	s.addressed()
	s.next("delete the workspace")
	_, err = h.stack.Admin(t.Context(), "workspace", "delete", rig.Owner+"/second")
	must(t, err)
	s.goOn()
	gone := agentsOf(s.next("deleted"), "gone_agents")["second.coder."]
	if gone == nil || gone["handshake"] != nil || gone["ping"] != nil {
		t.Errorf("deleted: %v, want it with its names and nothing measured", gone)
	}
	logs := s.expect("logs", told{"critical": []any{"unknown request", "unknown request"}, "secret": false})
	if !strings.Contains(fmt.Sprint(logs["levels"]), "INFO") {
		t.Errorf("levels of the log records: %v", logs["levels"])
	}
	s.expect("stopped", told{"success": true, "error": "", "exit": 0.0, "stderr": "", "after": []any{}})
	s.done("")
	h.expectSame("after the stop")
}

// TestBrokenManagers break the protocol, hang up or are killed: the tunnel ends
// and the host is as before.
func TestBrokenManagers(t *testing.T) {
	needRig(t, true)
	h := newHost(t)
	t.Run("handshakes", func(t *testing.T) {
		s := h.run(within(t, 30*time.Second), "handshakes")
		for _, want := range []string{`role "tunnel", want "manager"`, "no version in common", "malformed header: 2 parts", "over 256 bytes", "malformed header: it begins with"} {
			line := s.expect("refused", told{"exit": managerFailed, "after": []any{}})
			if text := fmt.Sprint(line["stderr"]); !strings.Contains(text, "handshake failed") || !strings.Contains(text, want) && !strings.Contains(text, "4 parts") {
				t.Errorf("%s: %s, want %q", line["case"], text, want)
			}
		}
		s.done("")
	})
	t.Run("oversize", func(t *testing.T) {
		s := h.run(within(t, 30*time.Second), "oversize")
		s.started("good", "")
		line := s.expect("ended", told{"exit": managerFailed})
		if !strings.Contains(fmt.Sprint(line["stderr"]), "16777217 bytes, the limit is 16777216") {
			t.Errorf("%v", line)
		}
		s.done("")
		h.expectSame("after a message that is too long")
	})
	t.Run("hangup", func(t *testing.T) {
		s := h.run(within(t, 30*time.Second), "hangup")
		s.started("good", "")
		s.addressed()
		line := s.expect("ended", told{"exit": managerFailed})
		if !strings.Contains(fmt.Sprint(line["stderr"]), "manager hung up: unexpected EOF") {
			t.Errorf("%v", line)
		}
		s.done("")
		h.expectSame("after the hang-up")
	})
	t.Run("killed", func(t *testing.T) {
		s := h.run(within(t, 30*time.Second), "killed")
		s.started("good", "")
		s.addressed()
		s.done("signal: killed")
		h.expectSame("after the manager was killed")
	})
}

// TestOlderManagers speak 1.0 to 1.2, over descriptors named by the environment.
func TestOlderManagers(t *testing.T) {
	needRig(t, false)
	h := newHost(t)
	s := h.run(within(t, 90*time.Second), "versions")
	for _, version := range []string{"1.0", "1.1", "1.2"} {
		s.expect("version", told{"version": version, "start": true, "wake": "", "pings": version == "1.2", "stopped": true, "exit": 0.0})
	}
	s.done("")
	h.expectSame("after all of them")
}

// TestDeafManager reads nothing: the tunnel carries all the same, and a signal
// ends it.
func TestDeafManager(t *testing.T) {
	needRig(t, false)
	h := newHost(t)
	s := h.run(within(t, 60*time.Second), "deaf")
	s.started("good", "")
	s.addressed()
	s.expect("still there", told{"ssh": map[string]any{"exit": 0.0, "out": "agent", "err": ""}})
	s.expect("ended", told{"exit": 0.0, "prompt": true})
	s.done("")
	h.expectSame("after the signal")
}

// TestOneTunnelOnly: the service and a managed tunnel exclude each other, also
// while the service has nothing to do.
func TestOneTunnelOnly(t *testing.T) {
	needRig(t, false)
	h := newHost(t)
	must(t, h.stack.StartDaemon(within(t, 30*time.Second)))
	s := h.run(within(t, 30*time.Second), "refused")
	line := s.expect("refused", told{"header": "", "exit": stateUsed, "after": []any{}})
	if text := fmt.Sprint(line["stderr"]); !strings.Contains(text, "another daemon uses it") || !strings.Contains(text, "remedy: stop the other daemon") {
		t.Errorf("%s", text)
	}
	s.done("")
}
