package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causewayhq/causeway/internal/rig"
	"github.com/causewayhq/causeway/internal/testnet"
)

// revocationLimit is how soon after its token is revoked nothing flows to or
// from a client any more.
const revocationLimit = 10 * time.Second

// TestRevocation takes the client's token away under an open session, by a
// subcommand beside the running server: the session goes silent, the names stay,
// the status says what to do, and doing it mends everything.
func TestRevocation(t *testing.T) {
	for name, path := range map[string]string{"Direct": "direct", "Relay": "relay"} {
		t.Run(name, func(t *testing.T) {
			needRig(t, true)
			stack := newStack(t, testnet.EasyNAT, testnet.EasyNAT)
			if path == "relay" {
				must(t, stack.Net.ClientRouter.BlockUDP(t.Context()))
			}
			upAndReach(t, stack)
			must(t, rig.Eventually(within(t, 30*time.Second), func() error { return pathIs(t, stack, path) }))
			signInUnder(t, stack)
			revokeUnder(t, stack)
			restore(t, stack)
		})
	}
}

// openSession opens a session that prints ten lines a second, of which there
// are some when it returns. The function that it returns cuts the session off.
func openSession(t *testing.T, stack *rig.Stack) (read *lines, cut func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	session := ssh(ctx, stack, rig.Name, `n=0; while :; do n=$((n+1)); echo $n; sleep 0.1; done`)
	output, err := session.StdoutPipe()
	must(t, err)
	must(t, session.Start())
	read = &lines{}
	var done sync.WaitGroup
	done.Go(func() { read.follow(bufio.NewScanner(output)) })
	cut = func() {
		cancel()
		_ = session.Wait() // it was cut off
		done.Wait()
	}
	t.Cleanup(cut)
	must(t, rig.Eventually(within(t, 30*time.Second), func() error {
		if count, err := read.count(); count < 20 {
			return fmt.Errorf("%d lines: %w", count, err)
		}
		return nil
	}))
	return read, cut
}

// newToken makes another token of the client's user.
func newToken(t *testing.T, stack *rig.Stack) string {
	t.Helper()
	var answer struct {
		Token string `json:"token"`
	}
	output, err := stack.Admin(t.Context(), "token", "create", rig.Owner, "--json")
	must(t, err)
	must(t, json.Unmarshal([]byte(output), &answer))
	return answer.Token
}

// silenceLimit is the longest pause of a session that prints ten lines a second
// while the client signs in again: a lost packet's worth on a busy machine.
const silenceLimit = 2 * time.Second

// signInUnder signs in with another token while the one in use is still good:
// an open session notices nothing.
func signInUnder(t *testing.T, stack *rig.Stack) {
	t.Helper()
	read, cut := openSession(t, stack)
	defer cut()
	token := newToken(t, stack)
	defer namesNeverDark(t, stack)()
	read.gap()
	must(t, stack.Login(within(t, 30*time.Second), token))
	time.Sleep(3 * time.Second)
	silence := read.gap()
	figure(t, "the longest silence of a session during a sign-in: %.2f s", silence.Seconds())
	if _, err := read.count(); err != nil || silence > silenceLimit {
		t.Errorf("the session was silent for %v, allowed are %v; %v", silence, silenceLimit, err)
	}
}

// revokeUnder revokes the client's token while a session prints lines.
func revokeUnder(t *testing.T, stack *rig.Stack) {
	t.Helper()
	read, cut := openSession(t, stack)
	defer cut()
	revoked := time.Now()
	revokeTokens(t, stack, rig.Owner)
	must(t, rig.Eventually(within(t, 40*time.Second), func() error {
		if silence := read.gap(); silence < 5*time.Second {
			return fmt.Errorf("a line %v ago", silence)
		}
		return nil
	}))
	read.mu.Lock()
	took := read.lastTime.Sub(revoked)
	read.mu.Unlock()
	figure(t, "last line %.2f s after the revocation", took.Seconds())
	if took > revocationLimit {
		t.Errorf("the session went on for %v after the revocation, allowed are %v", took, revocationLimit)
	}
	expectSignedOut(t, stack)
	// And it stays silent: the client does not find another way.
	before, _ := read.count()
	time.Sleep(5 * time.Second)
	if after, _ := read.count(); after != before {
		t.Errorf("%d further lines", after-before)
	}
}

// revokeTokens revokes every token of a user that is still good.
func revokeTokens(t *testing.T, stack *rig.Stack, user string) {
	t.Helper()
	output, err := stack.Admin(t.Context(), "token", "list", user, "--json")
	must(t, err)
	var listed struct {
		Tokens []struct {
			ID        string     `json:"id"`
			RevokedAt *time.Time `json:"revoked_at"`
		} `json:"tokens"`
	}
	must(t, json.Unmarshal([]byte(output), &listed))
	for _, token := range listed.Tokens {
		if token.RevokedAt == nil {
			_, err := stack.Admin(t.Context(), "token", "revoke", token.ID)
			must(t, err)
		}
	}
}

// expectSignedOut holds what is left to a client whose token was revoked: the
// names, and a status that says what to do.
func expectSignedOut(t *testing.T, stack *rig.Stack) {
	t.Helper()
	must(t, rig.Eventually(within(t, 20*time.Second), func() error {
		output, _ := stack.Causeway(t.Context(), "status")
		if !strings.Contains(output, "causeway login") || !strings.Contains(strings.ToLower(output), "sign") {
			return fmt.Errorf("status says %s", output)
		}
		return nil
	}))
	if output, err := stack.Client(t.Context(), "getent", "ahosts", rig.Name); err != nil || !strings.Contains(output, "fd60:627a:a42b:") {
		t.Errorf("the name is gone: %v %s", err, output)
	}
	if output, err := stack.Causeway(t.Context(), "dns", "query", rig.Name); err != nil || !strings.Contains(output, "fd60:627a:a42b:") {
		t.Errorf("our own resolver does not answer: %v %s", err, output)
	}
}

// namesNeverDark looks the name up without a pause until the function that it
// returns is called, and by both ways: each time it has to be there. The status
// never says that the tunnel is down or starting, and the interface stays.
func namesNeverDark(t *testing.T, stack *rig.Stack) (stop func()) {
	t.Helper()
	device := interfaceIndex(t, stack)
	ctx, cancel := context.WithCancel(t.Context())
	var looking sync.WaitGroup
	lookups := 0
	looking.Go(func() {
		for ctx.Err() == nil {
			// Not under the context: one that is cut off proves nothing.
			host, err := stack.Client(t.Context(), "getent", "ahosts", rig.Name)
			if err != nil || !strings.Contains(host, "fd60:627a:a42b:") {
				t.Errorf("look-up %d: %v %s", lookups, err, host)
			}
			own, err := stack.Causeway(t.Context(), "dns", "query", rig.Name)
			if err != nil || !strings.Contains(own, "fd60:627a:a42b:") {
				t.Errorf("our own resolver, look-up %d: %v %s", lookups, err, own)
			}
			// Its exit code tells of the revoked token; the state is what counts.
			status, _ := stack.Causeway(t.Context(), "status")
			if !strings.HasPrefix(status, "connected") && !strings.HasPrefix(status, "degraded") {
				t.Errorf("status says %s", status)
			}
			lookups++
		}
	})
	return func() {
		cancel()
		looking.Wait()
		if after := interfaceIndex(t, stack); after != device {
			t.Errorf("the interface was made anew: index %s, then %s", device, after)
		}
		figure(t, "%d look-ups by both ways during the sign-in, none failed: %v", lookups, !t.Failed())
	}
}

func interfaceIndex(t *testing.T, stack *rig.Stack) string {
	t.Helper()
	output, err := stack.Client(t.Context(), "ip", "-o", "link", "show", "dev", "causeway0")
	must(t, err)
	index, _, _ := strings.Cut(output, ":")
	return index
}

// restore signs in again, which is all that it takes.
func restore(t *testing.T, stack *rig.Stack) {
	t.Helper()
	token := newToken(t, stack)
	// A session of before may have ended with the token; the names have not.
	defer namesNeverDark(t, stack)()
	began := time.Now()
	must(t, stack.Login(within(t, 30*time.Second), token))
	must(t, rig.Eventually(within(t, 40*time.Second), func() error {
		_, err := stack.Causeway(within(t, 10*time.Second), "ping", rig.Name, "-c", "1", "--timeout", "5s")
		return err
	}))
	figure(t, "reached again %.2f s after the sign-in", time.Since(began).Seconds())
	output, err := ssh(within(t, 30*time.Second), stack, rig.Name, "echo back").CombinedOutput()
	if err != nil || strings.TrimSpace(string(output)) != "back" {
		t.Errorf("a new session: %v %s", err, output)
	}
	figure(t, "a new session has ended %.2f s after the sign-in", time.Since(began).Seconds())
}
