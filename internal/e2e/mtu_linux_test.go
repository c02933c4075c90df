package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/causewayhq/causeway/internal/rig"
	"github.com/causewayhq/causeway/internal/testnet"
)

// holed is the problem that the status shows.
const holed = "path-mtu"

// digHole makes the client's router drop what is longer than 1300 bytes with
// its IP header, and the messages that would tell the sender: an MTU hole.
// Matches narrow the packets.
func digHole(t *testing.T, stack *rig.Stack, matches string) (fill func()) {
	t.Helper()
	_, err := stack.Net.ClientRouter.Shell(t.Context(), `printf %s 'table inet hole {
	chain forward { type filter hook forward priority -10; meta l4proto udp meta length > 1300 `+matches+` drop; icmp type destination-unreachable drop; }
	chain output { type filter hook output priority -10; icmp type destination-unreachable drop; }
}' | nft -f -`)
	must(t, err)
	return func() {
		t.Helper()
		_, err := stack.Net.ClientRouter.Run(within(t, 10*time.Second), "nft", "delete", "table", "inet", "hole")
		must(t, err)
	}
}

// fetch copies a file through the tunnel and says how long it took.
func fetch(t *testing.T, stack *rig.Stack, mebibytes int) time.Duration {
	t.Helper()
	path, want := agentFile(t, stack, mebibytes)
	began := time.Now()
	output, err := ssh(within(t, 90*time.Second), stack, rig.Name, "cat "+path+" | sha256sum; cat "+path).Output()
	must(t, err)
	if got := firstWord(string(output)); got != want || len(output) < mebibytes<<20 {
		t.Errorf("%d bytes with checksum %s, want %s", len(output), got, want)
	}
	return time.Since(began)
}

// saysHole says whether the status has the problem with the agent's name.
func saysHole(t *testing.T, stack *rig.Stack) error {
	output, err := stack.Causeway(within(t, 10*time.Second), "status", "--json")
	if err != nil {
		return err
	}
	if !strings.Contains(output, holed) || !strings.Contains(output, rig.Agent+"."+rig.Workspace) {
		return fmt.Errorf("no %s of the agent in the status: %s", holed, output)
	}
	return nil
}

// TestSmallPathIsNotChosen starts with a hole: the direct path is never used
// for data, the status says why, and it is used as soon as it is large enough.
func TestSmallPathIsNotChosen(t *testing.T) {
	needRig(t, false)
	for name, matches := range map[string]string{"both ways": "", "to the agent": fromClient, "to the client": toClient} {
		t.Run(name, func(t *testing.T) {
			stack := newStack(t, testnet.EasyNAT, testnet.EasyNAT)
			fill := digHole(t, stack, matches)
			upAndReach(t, stack)
			figure(t, "20 MiB over ssh in %v past the hole", fetch(t, stack, 20))
			if name == "both ways" {
				must(t, pathIs(t, stack, "relay"))
				began := time.Now()
				must(t, rig.Eventually(within(t, 60*time.Second), func() error { return saysHole(t, stack) }))
				figure(t, "the status says why %v later", time.Since(began))
				_, err := stack.Causeway(within(t, 10*time.Second), "ping", rig.Name, "-c", "5")
				must(t, err)
				must(t, pathIs(t, stack, "relay"))
			}
			fill()
			began := time.Now()
			must(t, rig.Eventually(within(t, 40*time.Second), func() error {
				if err := pathIs(t, stack, "direct"); err != nil {
					return err
				}
				if saysHole(t, stack) == nil {
					return errors.New("the status still says " + holed)
				}
				return nil
			}))
			figure(t, "direct %v after the hole was filled", time.Since(began))
		})
	}
}

// TestPathThatBecomesSmallIsLeft digs the hole under a path in use, while a
// session of small packets goes on well over it.
func TestPathThatBecomesSmallIsLeft(t *testing.T) {
	needRig(t, false)
	stack := newStack(t, testnet.EasyNAT, testnet.EasyNAT)
	upAndReach(t, stack)
	expectPath(t, stack, topology{direct: true})
	stop := download(t, stack)
	time.Sleep(3 * time.Second)
	fill := digHole(t, stack, "")
	began := time.Now()
	figure(t, "20 MiB over ssh in %v after the hole was dug", fetch(t, stack, 20))
	must(t, rig.Eventually(within(t, 20*time.Second), func() error { return pathIs(t, stack, "relay") }))
	figure(t, "over the relay %v after it", time.Since(began))
	must(t, rig.Eventually(within(t, 60*time.Second), func() error { return saysHole(t, stack) }))
	gap, err := stop()
	must(t, err)
	figure(t, "longest silence of the other session %v", gap)
	if gap > 4*time.Second {
		t.Errorf("silent for %v, allowed are 4 s", gap)
	}
	fill()
	began = time.Now()
	must(t, rig.Eventually(within(t, 40*time.Second), func() error { return pathIs(t, stack, "direct") }))
	figure(t, "direct %v after the hole was filled", time.Since(began))
}

// TestHoleUnderIdlePath digs the hole under a path over which nothing goes but
// heartbeats, which are small: only pings can notice.
func TestHoleUnderIdlePath(t *testing.T) {
	needRig(t, false)
	for name, test := range map[string]struct {
		matches string
		idle    time.Duration
	}{
		"both ways":           {"", 10 * time.Second},
		"to the agent":        {fromClient, 10 * time.Second},
		"to the client":       {toClient, 10 * time.Second},
		"idle for 2 minutes":  {"", 2 * time.Minute},
		"idle for 6 minutes":  {"", 6 * time.Minute},
		"nobody asks a while": {"", 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			stack := newStack(t, testnet.EasyNAT, testnet.EasyNAT)
			upAndReach(t, stack)
			expectPath(t, stack, topology{direct: true})
			fetch(t, stack, 1) // a path that carried data is kept open for 5 minutes
			time.Sleep(test.idle)
			fill := digHole(t, stack, test.matches)
			if name == "nobody asks a while" {
				time.Sleep(40 * time.Second)
			}
			answersSoon(t, stack)
			figure(t, "5 MiB over ssh in %v after it", fetch(t, stack, 5))
			if test.matches == "" {
				must(t, pathIs(t, stack, "relay"))
				began := time.Now()
				must(t, rig.Eventually(within(t, 30*time.Second), func() error { return saysHole(t, stack) }))
				figure(t, "the status says why %v later", time.Since(began))
			}
			fill()
			wellSoon(t, stack)
		})
	}
}

// answersSoon pings right after the hole was dug. The failover takes 0.25 s to
// look, 1 s at most for its own ping to be late, 0.4 s for the ten that follow,
// 0.2 s for the last of them and a round trip to withdraw the path; the ping
// itself is repeated each second. Twice that is for a machine under load.
func answersSoon(t *testing.T, stack *rig.Stack) {
	t.Helper()
	const allowed = 2 * 3 * time.Second
	began := time.Now()
	must(t, rig.Eventually(within(t, 90*time.Second), func() error {
		_, err := stack.Causeway(within(t, 10*time.Second), "ping", rig.Name, "-c", "1", "--timeout", "5s")
		return err
	}))
	took := time.Since(began)
	figure(t, "a ping is answered %v after the hole was dug", took)
	if took > allowed {
		t.Errorf("a ping is answered after %v, allowed are %v", took, allowed)
	}
}

// wellSoon expects the direct path back, and the status without the problem.
// Upstream looks for a path every 5 s with heartbeats of 3 s, and the tunnel
// judges its agents every 5 s.
func wellSoon(t *testing.T, stack *rig.Stack) {
	t.Helper()
	const allowed = 15 * time.Second
	began := time.Now()
	must(t, rig.Eventually(within(t, 90*time.Second), func() error { return pathIs(t, stack, "direct") }))
	figure(t, "direct %v after the hole was filled", time.Since(began))
	must(t, rig.Eventually(within(t, 90*time.Second), func() error {
		if saysHole(t, stack) == nil {
			return errors.New("the status still says " + holed)
		}
		return nil
	}))
	took := time.Since(began)
	figure(t, "the status is well %v after it", took)
	if took > allowed {
		t.Errorf("well after %v, allowed are %v", took, allowed)
	}
}
