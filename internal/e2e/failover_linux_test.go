package e2e

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causewayhq/causeway/internal/rig"
	"github.com/causewayhq/causeway/internal/testnet"
)

const (
	// fromClient and toClient select packets on the client's router.
	fromClient = `iifname "lan0"`
	toClient   = `oifname "lan0"`
	// condemned is what an engine logs when it gives up a direct path.
	condemned = "direct path is dead"
)

// dropUDP drops the UDP packets that the client's router forwards and that
// match, until the function that it returns is called.
func dropUDP(t *testing.T, stack *rig.Stack, matches ...string) (heal func()) {
	t.Helper()
	var rules strings.Builder
	for _, match := range matches {
		fmt.Fprintf(&rules, " meta l4proto udp %s drop;", match)
	}
	_, err := stack.Net.ClientRouter.Shell(t.Context(),
		"printf %s 'table inet thin { chain forward { type filter hook forward priority -10;"+rules.String()+" }; }' | nft -f -")
	must(t, err)
	return func() {
		t.Helper()
		_, err := stack.Net.ClientRouter.Run(within(t, 10*time.Second), "nft", "delete", "table", "inet", "thin")
		must(t, err)
	}
}

// download follows a session that prints a counted line each 100 ms, and
// returns the longest silence up to then when it is asked to stop.
func download(t *testing.T, stack *rig.Stack) (stop func() (time.Duration, error)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	session := ssh(ctx, stack, rig.Name, `n=0; while :; do n=$((n+1)); echo $n; sleep 0.1; done`)
	output, err := session.StdoutPipe()
	must(t, err)
	must(t, session.Start())
	read := &lines{}
	var done sync.WaitGroup
	done.Go(func() { read.follow(bufio.NewScanner(output)) })
	must(t, rig.Eventually(within(t, 20*time.Second), func() error {
		if count, err := read.count(); err != nil || count > 0 {
			return err
		}
		return errors.New("no session yet")
	}))
	return func() (time.Duration, error) {
		t.Helper()
		gap := read.gap()
		_, err := read.count()
		cancel()
		session.Wait()
		done.Wait()
		return gap, err
	}
}

// upload sends a counted line each 100 ms into a session that notes on the
// agent's side when each one came.
func upload(t *testing.T, stack *rig.Stack) (stop func() (time.Duration, error)) {
	t.Helper()
	session := ssh(t.Context(), stack, rig.Name,
		`f=$(mktemp); while read -r n; do echo "$n $(date +%s%3N)" >>"$f"; done; cat "$f"; rm "$f"`)
	input, err := session.StdinPipe()
	must(t, err)
	var noted bytes.Buffer
	session.Stdout = &noted
	must(t, session.Start())
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		defer input.Close()
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for number := 1; ctx.Err() == nil; number++ {
			fmt.Fprintln(input, number)
			<-tick.C
		}
	})
	return func() (time.Duration, error) {
		t.Helper()
		cancel()
		done.Wait()
		if err := session.Wait(); err != nil {
			return 0, fmt.Errorf("wait for session: %w", err)
		}
		var longest, last, wanted int64
		for text := range strings.Lines(noted.String()) {
			var number, at int64
			_, err := fmt.Sscan(text, &number, &at)
			if wanted++; err != nil || number != wanted {
				return 0, fmt.Errorf("line %q, want number %d: %w", text, wanted, err)
			}
			if last != 0 {
				longest = max(longest, at-last)
			}
			last = at
		}
		if wanted == 0 {
			return 0, errors.New("no line came")
		}
		return time.Duration(longest) * time.Millisecond, nil
	}
}

var directions = map[string]func(*testing.T, *rig.Stack) func() (time.Duration, error){"download": download, "upload": upload}

// TestFailover takes the direct path away under sessions that send one way
// only, in either direction and in both.
func TestFailover(t *testing.T) {
	needRig(t, false)
	for name, dropped := range map[string][]string{
		"to the agent": {fromClient}, "to the client": {toClient}, "both ways": {""},
	} {
		for direction, begin := range directions {
			t.Run("nothing passes "+name+", "+direction, func(t *testing.T) {
				stack := newStack(t, testnet.EasyNAT, testnet.EasyNAT)
				upAndReach(t, stack)
				expectPath(t, stack, topology{direct: true})
				stop := begin(t, stack)
				time.Sleep(2 * time.Second)
				heal := dropUDP(t, stack, dropped...)
				time.Sleep(8 * time.Second)
				must(t, pathIs(t, stack, "relay"))
				gap, err := stop()
				must(t, err)
				figure(t, "longest silence %v", gap)
				if gap > 4*time.Second {
					t.Errorf("silent for %v, allowed are 4 s", gap)
				}
				heal()
				must(t, rig.Eventually(within(t, 20*time.Second), func() error { return pathIs(t, stack, "direct") }))
			})
		}
	}
}

// TestLossyPathIsKept lets a third of the packets of the direct path get lost
// for a while: that is no reason to leave it.
func TestLossyPathIsKept(t *testing.T) {
	needRig(t, false)
	stack := newStack(t, testnet.EasyNAT, testnet.EasyNAT)
	upAndReach(t, stack)
	for direction, begin := range directions {
		t.Run(direction, func(t *testing.T) {
			expectPath(t, stack, topology{direct: true})
			before := strings.Count(stack.Logs(), condemned)
			stop := begin(t, stack)
			heal := dropUDP(t, stack, fromClient+" numgen random mod 100 < 30", toClient+" numgen random mod 100 < 30")
			time.Sleep(time.Minute)
			given := strings.Count(stack.Logs(), condemned) - before
			heal()
			// TCP itself may give up a connection that loses so much.
			gap, err := stop()
			figure(t, "given up %d times by both sides in a minute of 30 %% loss, longest silence %v, error %v", given, gap, err)
			if given > 2 {
				t.Errorf("the path was given up %d times, allowed are 2", given)
			}
		})
	}
}
