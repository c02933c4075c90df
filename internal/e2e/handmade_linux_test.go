package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/internal/rig"
	"github.com/causewayhq/causeway/internal/testnet"
)

// The UDP ports of the hand-made clients on the client's host, where answers
// would go. Each has its own: an agent still calls a client that has just left.
const (
	alicesPort = 45045
	bobsPort   = 45046
)

type answer struct{ Error, Data string }

type attempt struct {
	PingError string `json:"ping_error"`
	PingPath  string `json:"ping_path"`
	TCPError  string `json:"tcp_error"`
	Banner    string
	Received  uint64
	Sent      uint64
}

type intrusion struct {
	Requests        map[string]answer
	Node            string
	Relayed, Direct attempt
}

// victim is what of alice an intruder could have found out.
type victim struct {
	agent, owner uuid.UUID
	clientAddr   string
	node         string
}

// TestHandmadeClient attacks alice's agent with a hand-made client on the host
// of her own client. It knows every id and the agent's public node with keys
// and endpoints. With alice's token the same program gets everything, with
// bob's nothing.
func TestHandmadeClient(t *testing.T) {
	needRig(t, true)
	stack := newStack(t, testnet.Public, testnet.Public)
	ctx := within(t, 2*time.Minute)
	must(t, stack.StartServer(ctx))
	alice, err := stack.AddUser(ctx, rig.Owner)
	must(t, err)
	agent, err := stack.AddAgent(ctx, rig.Owner, rig.Workspace, rig.Agent)
	must(t, err)
	must(t, stack.StartAgent(ctx, agent, "--log-level", "debug"))
	must(t, stack.StartDaemon(ctx))
	must(t, stack.Login(ctx, alice))
	bringUp(t, stack)
	bob, err := stack.AddUser(ctx, "bob")
	must(t, err)
	target := findVictim(t, stack)
	countPackets(t, stack)

	// The positive control: alice's token, and nothing given but the ids.
	own := intrude(t, stack, alice, target, alicesPort, 20)
	wantEverything(t, own)
	must(t, rig.Eventually(within(t, 20*time.Second), func() error {
		if sshConnections(stack) == 0 {
			return errors.New("the agent's log does not show alice's connections")
		}
		return nil
	}))
	if in, out := packetsOf(t, stack, alicesPort); in == 0 || out == 0 {
		t.Errorf("alice's client sent %d packets straight to the agent and got %d: the counters do not count", in, out)
	}

	target.node = own.Node
	opened := sshConnections(stack)
	his := intrude(t, stack, bob, target, bobsPort, 8)
	wantNothing(t, his)
	in, out := packetsOf(t, stack, bobsPort)
	if in == 0 {
		t.Error("none of bob's packets came to the agent's host: the attempt was none")
	}
	if out != 0 {
		t.Errorf("the agent's host answered bob with %d packets", out)
	}
	if after := sshConnections(stack); after != opened {
		t.Errorf("the agent took %d connections from bob", after-opened)
	}
	figure(t, "%d packets of a stranger at the agent's port, %d answers", in, out)

	// Alice's own tunnel has not noticed.
	_, err = stack.Causeway(ctx, "ping", rig.Name, "-c", "1", "--timeout", "5s")
	must(t, err)
}

// findVictim reads from alice's own client and the server what bob shall know.
func findVictim(t *testing.T, stack *rig.Stack) victim {
	t.Helper()
	ctx := within(t, 20*time.Second)
	var status struct {
		Address string
		Agents  []struct{ ID uuid.UUID }
	}
	output, err := stack.Causeway(ctx, "status", "--json")
	must(t, err)
	must(t, json.Unmarshal([]byte(output), &status))
	var listed struct {
		Users []struct {
			ID   uuid.UUID
			Name string
		}
	}
	output, err = stack.Admin(ctx, "user", "list", "--json")
	must(t, err)
	must(t, json.Unmarshal([]byte(output), &listed))
	for _, user := range listed.Users {
		if user.Name == rig.Owner && len(status.Agents) == 1 && status.Address != "" {
			addr, _, _ := strings.Cut(status.Address, "/")
			return victim{agent: status.Agents[0].ID, owner: user.ID, clientAddr: addr}
		}
	}
	t.Fatalf("alice is not among %s, or her status lacks something", output)
	return victim{}
}

// intrude runs the intruder on the client's host.
func intrude(t *testing.T, stack *rig.Stack, token string, target victim, port, seconds int) intrusion {
	t.Helper()
	order, err := json.Marshal(map[string]any{
		"url": stack.URL, "token": token, "agent": target.agent, "owner": target.owner, "client_addr": target.clientAddr,
		"node": target.node, "port": port, "seconds": seconds,
	})
	must(t, err)
	cmd := stack.On(within(t, time.Minute), stack.Path("intruder"))
	cmd.Stdin = strings.NewReader(string(order))
	var complaint strings.Builder
	cmd.Stderr = &complaint
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("intruder: %v: %s", err, complaint.String())
	}
	var result intrusion
	must(t, json.Unmarshal(output, &result))
	return result
}

// refusals are the right errors. Those for alice too are what no client may do.
// The address of another client is not refused: it reaches nobody but partners
// of the same user.
var refusals = map[string]struct{ bob, alice string }{
	"tunnel":               {bob: "authorization: workspace agent not found or you do not have permission"},
	"tunnel by agent path": {bob: "HTTP 404"},
	"workspaces":           {bob: "owner not found or you do not have permission"},
	"ready for handshake":  {bob: "clients may not send ready_for_handshake", alice: "clients may not send ready_for_handshake"},
	"agent's address":      {bob: "node address is taken", alice: "node address is taken"},
	"agent's old address":  {bob: "node address is taken", alice: "node address is taken"},
	"client's address":     {},
}

func wantEverything(t *testing.T, got intrusion) {
	t.Helper()
	for name, want := range refusals {
		answer, found := got.Requests[name]
		if !found || (want.alice == "") != (answer.Error == "") || !strings.Contains(answer.Error, want.alice) {
			t.Errorf("alice, %s: %+v, want error %q", name, answer, want.alice)
		}
		if want.bob != want.alice && answer.Data == "" {
			t.Errorf("alice, %s: nothing answered", name)
		}
	}
	if got.Node == "" {
		t.Fatal("alice was not given the node of her agent")
	}
	for name, try := range map[string]attempt{"relay": got.Relayed, "direct": got.Direct} {
		if (try.PingPath == "relay") != (name == "relay") || try.PingPath == "" || try.Banner != "SSH-" || try.Received == 0 {
			t.Errorf("alice, %s: %+v", name, try)
		}
	}
}

func wantNothing(t *testing.T, got intrusion) {
	t.Helper()
	for name, want := range refusals {
		answer, found := got.Requests[name]
		if !found || (want.bob == "") != (answer.Error == "") || !strings.Contains(answer.Error, want.bob) {
			t.Errorf("bob, %s: %+v, want error %q", name, answer, want.bob)
		}
		if answer.Data != "" {
			t.Errorf("bob, %s: was told %s", name, answer.Data)
		}
	}
	if got.Node != "" {
		t.Errorf("bob was given the agent's node: %s", got.Node)
	}
	for name, try := range map[string]attempt{"relay": got.Relayed, "direct": got.Direct} {
		if try.PingError == "" || try.PingPath != "" || try.TCPError == "" || try.Banner != "" || try.Received != 0 {
			t.Errorf("bob, %s: got an answer: %+v", name, try)
		}
		if try.Sent == 0 {
			t.Errorf("bob, %s: nothing was sent: the attempt was none", name)
		}
	}
}

// sshConnections counts those that the agent took so far. The intruder hangs
// up after the banner, which the agent calls a failed handshake.
func sshConnections(stack *rig.Stack) int {
	return strings.Count(stack.Agent.Log(), "ssh connection taken")
}

// packetsOf counts the packets that came from a port of the client's host to
// the agent's host, and those that went there, since countPackets.
func packetsOf(t *testing.T, stack *rig.Stack, port int) (in, out int) {
	t.Helper()
	output, err := stack.Net.Agent.Run(within(t, 10*time.Second), "nft", "-j", "list", "counters", "table", "inet", "intruder")
	must(t, err)
	var listed struct {
		Nftables []struct {
			Counter *struct {
				Name    string
				Packets int
			}
		}
	}
	must(t, json.Unmarshal([]byte(output), &listed))
	for _, item := range listed.Nftables {
		switch {
		case item.Counter == nil:
		case item.Counter.Name == fmt.Sprintf("from%d", port):
			in = item.Counter.Packets
		case item.Counter.Name == fmt.Sprintf("to%d", port):
			out = item.Counter.Packets
		}
	}
	return in, out
}

// countPackets starts the counters of packetsOf on the agent's host.
func countPackets(t *testing.T, stack *rig.Stack) {
	t.Helper()
	for _, port := range []int{alicesPort, bobsPort} {
		_, err := stack.Net.Agent.Shell(within(t, 10*time.Second), fmt.Sprintf(`nft 'table inet intruder {
	counter from%[1]d { }
	counter to%[1]d { }
	chain in%[1]d { type filter hook input priority 0; udp sport %[1]d counter name from%[1]d; }
	chain out%[1]d { type filter hook output priority 0; udp dport %[1]d counter name to%[1]d; }
}'`, port))
		must(t, err)
	}
}
