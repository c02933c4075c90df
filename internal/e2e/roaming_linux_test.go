package e2e

import (
	"bufio"
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causewayhq/causeway/internal/rig"
	"github.com/causewayhq/causeway/internal/testnet"
)

// lines is a session that prints a counted line each 100 ms, and when each
// line arrived here.
type lines struct {
	mu       sync.Mutex
	last     int
	lastTime time.Time
	longest  time.Duration
	broken   error
}

// follow reads the session's lines until it ends. A number that is not the
// next one is a break: something was lost or repeated.
func (l *lines) follow(scanner *bufio.Scanner) {
	for scanner.Scan() {
		number, err := strconv.Atoi(scanner.Text())
		now := time.Now()
		l.mu.Lock()
		if err != nil || number != l.last+1 {
			l.broken = fmt.Errorf("line %q after %d", scanner.Text(), l.last)
		}
		if !l.lastTime.IsZero() {
			l.longest = max(l.longest, now.Sub(l.lastTime))
		}
		l.last, l.lastTime = number, now
		l.mu.Unlock()
	}
}

// gap returns the longest silence since it was last asked, including one that
// goes on.
func (l *lines) gap() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	longest := max(l.longest, time.Since(l.lastTime))
	l.longest = 0
	return longest
}

func (l *lines) count() (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last, l.broken
}

// TestSessionSurvivesBlockedUDP takes the direct path away from under an open
// session and gives it back.
func TestSessionSurvivesBlockedUDP(t *testing.T) {
	needRig(t, true)
	stack := newStack(t, testnet.EasyNAT, testnet.EasyNAT)
	upAndReach(t, stack)
	expectPath(t, stack, topology{direct: true})

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	session := ssh(ctx, stack, rig.Name, `n=0; while :; do n=$((n+1)); echo $n; sleep 0.1; done`)
	output, err := session.StdoutPipe()
	must(t, err)
	must(t, session.Start())
	read := &lines{}
	var done sync.WaitGroup
	done.Go(func() { read.follow(bufio.NewScanner(output)) })
	more := func(wanted int) {
		t.Helper()
		from, _ := read.count()
		must(t, rig.Eventually(within(t, 40*time.Second), func() error {
			now, err := read.count()
			if now < from+wanted {
				return fmt.Errorf("%d lines, want %d more than %d: %w", now, wanted, from, err)
			}
			return nil
		}))
	}
	more(10)
	figure(t, "longest silence while direct %v", read.gap().Round(10*time.Millisecond))

	must(t, stack.Net.ClientRouter.BlockUDP(ctx))
	more(30)
	must(t, rig.Eventually(within(t, 30*time.Second), func() error { return pathIs(t, stack, "relay") }))
	figure(t, "longest silence after UDP was blocked %v", read.gap().Round(10*time.Millisecond))

	must(t, stack.Net.ClientRouter.UnblockUDP(ctx))
	began := time.Now()
	must(t, rig.Eventually(within(t, 40*time.Second), func() error { return pathIs(t, stack, "direct") }))
	more(10)
	figure(t, "direct again %.2f s after UDP came back, longest silence %v", time.Since(began).Seconds(), read.gap().Round(10*time.Millisecond))

	if _, err := read.count(); err != nil {
		t.Errorf("the session lost or repeated something: %v", err)
	}
	cancel()
	session.Wait()
	done.Wait()
}

// pathIs asks once for the path.
func pathIs(t *testing.T, stack *rig.Stack, want string) error {
	t.Helper()
	output, err := stack.Causeway(within(t, 10*time.Second), "ping", rig.Name, "-c", "1", "--timeout", "5s")
	if err == nil && !strings.Contains(output, want) {
		err = fmt.Errorf("path is not %s: %s", want, output)
	}
	return err
}
