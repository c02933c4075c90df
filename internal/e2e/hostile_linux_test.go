package e2e

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/causewayhq/causeway/internal/rig"
	"github.com/causewayhq/causeway/internal/testnet"
)

// TestSecondUser signs another user in on the client's host: alice's agent
// must not exist for him, by name, by address, or as a packet.
func TestSecondUser(t *testing.T) {
	needRig(t, true)
	stack := newStack(t, testnet.Public, testnet.Public)
	ctx := within(t, 2*time.Minute)
	must(t, stack.StartAll(ctx))
	bringUp(t, stack)
	alices := addressOf(t, stack, rig.Name)

	token, err := stack.AddUser(ctx, "bob")
	must(t, err)
	_, err = stack.Causeway(ctx, "logout")
	must(t, err)
	must(t, stack.Login(ctx, token))
	_, err = stack.Causeway(ctx, "up")
	must(t, err)
	must(t, rig.Eventually(within(t, 20*time.Second), func() error {
		_, err := stack.Client(ctx, "dig", "+short", "+time=2", "+tries=1", "@fd60:627a:a42b::53", "is.coder--connect--enabled--right--now.coder", "AAAA")
		return err
	}))

	output, err := stack.Causeway(ctx, "status", "--json")
	if exitCode(err) == 1 || strings.Contains(output, rig.Workspace) {
		t.Errorf("bob's status shows alice's workspace: %v %s", err, output)
	}
	for _, name := range []string{rig.Name, "main.myws.admin.coder", "main.myws.bob.coder", "myws.coder"} {
		if output, err := stack.Client(ctx, "getent", "ahosts", name); err == nil {
			t.Errorf("bob finds %s: %s", name, output)
		}
	}
	count := agentPackets(t, stack)
	if output, err := stack.Client(ctx, "ping", "-c", "3", "-W", "1", alices); err == nil {
		t.Errorf("bob pings alice's agent: %s", output)
	}
	if err := ssh(within(t, 15*time.Second), stack, "-o", "ConnectTimeout=5", "root@"+alices, "id").Run(); err == nil {
		t.Error("bob has a shell on alice's agent")
	}
	if after := agentPackets(t, stack); after != count {
		t.Errorf("alice's agent received %d packets from the client's address", after-count)
	}
}

// agentPackets counts the packets that came to the agent's host straight from
// the client's address, since it was first asked.
func agentPackets(t *testing.T, stack *rig.Stack) int {
	t.Helper()
	_, err := stack.Net.Agent.Shell(t.Context(), `nft list table inet count >/dev/null 2>&1 || nft 'table inet count { counter fromclient { }; chain in { type filter hook input priority 0; ip saddr 192.0.2.30 counter name fromclient; }; }'`)
	must(t, err)
	output, err := stack.Net.Agent.Run(t.Context(), "nft", "-j", "list", "counter", "inet", "count", "fromclient")
	must(t, err)
	var listed struct {
		Nftables []struct {
			Counter *struct{ Packets int }
		}
	}
	must(t, json.Unmarshal([]byte(output), &listed))
	for _, item := range listed.Nftables {
		if item.Counter != nil {
			return item.Counter.Packets
		}
	}
	t.Fatalf("no counter in %s", output)
	return 0
}
