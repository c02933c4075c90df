package e2e

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/causewayhq/causeway/internal/rig"
	"github.com/causewayhq/causeway/internal/testnet"
)

// hostState is everything on the client that a daemon could have changed:
// interfaces, addresses, routes, rules, the files that decide how names
// resolve, and the per-link settings of systemd-resolved.
const hostState = `
for what in link addr "route show table all" "-6 route show table all" rule "-6 rule" neigh; do
  echo "== ip $what"; ip -d $what | sed -E 's/ (valid_lft|preferred_lft|expires) [0-9a-z]+//g; s/ (REACHABLE|STALE|DELAY|PROBE)//'
done | grep -vE '^[0-9.]+ dev eth0 lladdr|^fe80'
for file in /etc/resolv.conf /etc/hosts /etc/nsswitch.conf; do echo "== $file"; stat -c '%F %a %U' $file; cat $file; done
echo "== /etc"; find /etc -newer /etc/hosts.reference 2>/dev/null | sort
if command -v resolvectl >/dev/null; then echo "== resolved"; resolvectl status --no-pager | grep -v 'Current DNS Server' | sed 's/^ *//'; fi
`

// diff says which lines are in only one of two states.
func diff(before, after string) []string {
	var lines []string
	count := map[string]int{}
	for line := range strings.Lines(before) {
		count[line]++
	}
	for line := range strings.Lines(after) {
		if count[line]--; count[line] < 0 {
			lines = append(lines, "+ "+strings.TrimSpace(line))
		}
	}
	for line, left := range count {
		for range left {
			lines = append(lines, "- "+strings.TrimSpace(line))
		}
	}
	return lines
}

func state(t *testing.T, stack *rig.Stack) string {
	t.Helper()
	output, err := stack.Client(context.WithoutCancel(t.Context()), "sh", "-c", hostState)
	must(t, err)
	return output
}

// TestNothingIsLeft compares the host before the daemon and after its end, on
// a plain host and on one with systemd-resolved, and shows first that each
// kind of leftover would be noticed.
func TestNothingIsLeft(t *testing.T) {
	t.Run("Plain", func(t *testing.T) {
		needRig(t, true)
		stack := newStack(t, testnet.Public, testnet.Public)
		before := state(t, stack)
		noticesLeftovers(t, stack, before)
		upAndReach(t, stack)
		if len(diff(before, state(t, stack))) == 0 {
			t.Error("the running tunnel shows nowhere in the state that is compared")
		}
		daemon := stack.Daemon
		must(t, daemon.Stop())
		expectSame(t, stack, before)
	})
	t.Run("Killed", func(t *testing.T) {
		needRig(t, false)
		stack := newStack(t, testnet.Public, testnet.Public)
		before := state(t, stack)
		upAndReach(t, stack)
		stack.Daemon.Kill()
		stack.Daemon = nil
		for range 2 {
			output, err := stack.Client(within(t, 30*time.Second), stack.Path("causewayd"), "cleanup")
			if err != nil {
				t.Errorf("cleanup after kill -9: %v %s", err, output)
			}
		}
		expectSame(t, stack, before)
	})
	t.Run("Resolved", func(t *testing.T) {
		needRig(t, false)
		must(t, testnet.BuildSystem(t.Context(), testnet.Resolved, t.Output()))
		stack := newStack(t, testnet.Public, testnet.Public)
		system, err := testnet.Boot(within(t, 3*time.Minute), stack.Net.Client, testnet.Resolved)
		must(t, err)
		must(t, stack.OnSystem(system))
		t.Cleanup(func() {
			if err := system.Close(); err != nil {
				t.Error(err)
			}
		})
		before := state(t, stack)
		_, err = stack.Client(t.Context(), "resolvectl", "domain", "eth0", "~left")
		must(t, err)
		if len(diff(before, state(t, stack))) == 0 {
			t.Error("a resolver setting left behind is not noticed")
		}
		_, err = stack.Client(t.Context(), "resolvectl", "revert", "eth0")
		must(t, err)
		expectSame(t, stack, before)
		upAndReach(t, stack)
		stopOnSystem(t, stack)
		expectSame(t, stack, before)
	})
}

func expectSame(t *testing.T, stack *rig.Stack, before string) {
	t.Helper()
	if lines := diff(before, state(t, stack)); len(lines) > 0 {
		t.Errorf("the host differs from before:\n%s", strings.Join(lines, "\n"))
	}
}

// noticesLeftovers plants one leftover of each kind, and takes it away again.
func noticesLeftovers(t *testing.T, stack *rig.Stack, before string) {
	t.Helper()
	for plant, remove := range map[string]string{
		"ip tuntap add dev causeway0 mode tun":                             "ip tuntap del dev causeway0 mode tun",
		"ip addr add fd60:627a:a42b::1/128 dev lo":                         "ip addr del fd60:627a:a42b::1/128 dev lo",
		"ip route add fd60:627a:a42b::/48 dev lo":                          "ip route del fd60:627a:a42b::/48 dev lo",
		"ip -6 rule add pref 5000 table 52":                                "ip -6 rule del pref 5000",
		"cp -p /etc/hosts /tmp/h; echo '::1 left' >> /etc/hosts":           "cp -p /tmp/h /etc/hosts",
		"cp -p /etc/resolv.conf /tmp/r; echo '# left' >> /etc/resolv.conf": "cp -p /tmp/r /etc/resolv.conf",
		"cp -p /etc/hosts /tmp/m; chmod 600 /etc/hosts":                    "cp -p /tmp/m /etc/hosts",
	} {
		_, err := stack.Client(t.Context(), "sh", "-ec", plant)
		must(t, err)
		if len(diff(before, state(t, stack))) == 0 {
			t.Errorf("leftover not noticed: %s", plant)
		}
		_, err = stack.Client(t.Context(), "sh", "-ec", remove)
		must(t, err)
	}
	expectSame(t, stack, before)
}
