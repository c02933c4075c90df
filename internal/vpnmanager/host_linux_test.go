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
	"github.com/causewayhq/causeway/internal/rigtest"
	"github.com/causewayhq/causeway/internal/testnet"
)

// The exit codes of causewayd, as JSON has numbers.
const (
	stateUsed     = 11.0
	managerFailed = 23.0
)

// bin holds the programs, built once for all tests.
var bin string

func TestMain(m *testing.M) { rigtest.Main(m, &bin) }

// What all rigs have, by short names.
var (
	needRig = rigtest.Need
	must    = rigtest.Must
	within  = rigtest.Within
)

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
