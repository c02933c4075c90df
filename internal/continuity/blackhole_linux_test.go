package continuity

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/causewayhq/causeway/internal/rig"
)

// TestBlackhole leaves the control plane away for as long as other clients
// need to give up for ever: CAUSEWAY_BLACKHOLE, 20 minutes in `make blackhole`.
func TestBlackhole(t *testing.T) {
	if sample(t) {
		t.Skip("not in the sample: make blackhole runs it")
	}
	length := 2 * time.Minute
	if asked := os.Getenv("CAUSEWAY_BLACKHOLE"); asked != "" {
		var err error
		length, err = time.ParseDuration(asked)
		must(t, err)
	}
	h := build(t)
	h.startLoad(t, 50, 10)
	h.measureQuiet(t, 10*time.Second)
	before := h.daemon(t)
	began := time.Now()
	must(t, h.Net.Server.Cut(t.Context(), everywhere...))
	h.isCut = true
	warm, late := h.watchDials(t, began, length)
	h.alive(t)
	hold(t, length-time.Since(began))
	h.healed(t)
	healed := time.Now()
	allowed := redial(0)
	at, err := h.load.Healthy(within(t, allowed.limit+30*time.Second), healed, 3*time.Second)
	got := h.load.Cost(began)
	if err != nil {
		t.Fatalf("not healthy again: %v\n%v\n%s", err, got, strings.Join(got.Told, "\n"))
	}
	figure(t, "%.0f s without the control plane: %v, p99 quiet %s", healed.Sub(began).Seconds(), got, rig.Milliseconds(h.quiet))
	figure(t, "healthy %.2f s after its end, bound %v", at.Sub(healed).Seconds(), allowed)
	if got.Failed+got.Wrong+got.Broken > 0 {
		t.Errorf("%v\n%s", got, strings.Join(got.Told, "\n"))
	}
	if at.Sub(healed) > allowed.limit+reach {
		t.Errorf("healthy after %v, the bound is %v", at.Sub(healed), allowed)
	}
	noticedInTime(t, h, began, healed)
	h.unchanged(t, before, warm, late)
}

// logged is how the daemon tells of a dial that failed.
const logged = "control plane not reached"

// watchDials reads both counters of dials, ours at the server and the daemon's
// log, and what the daemon uses, at a half and at 95 percent of the time.
func (h *house) watchDials(t *testing.T, began time.Time, length time.Duration) (warm, late process) {
	t.Helper()
	var swallowed, failed [2]int
	var used [2]process
	for i, share := range []time.Duration{50, 95} {
		hold(t, length*share/100-time.Since(began))
		var err error
		swallowed[i], err = h.Net.Server.Attempts(t.Context())
		must(t, err)
		failed[i] = strings.Count(h.Daemon.Log(), logged)
		used[i] = h.daemon(t)
		figure(t, "after %.0f s: %d dials have failed by the daemon's log, %d packets that open a connection were swallowed", time.Since(began).Seconds(), failed[i], swallowed[i])
	}
	// A dial takes 10 s, and the wait before the next counts from its start.
	least := int((length * 45 / 100) / (pause + dial + dial))
	if more := failed[1] - failed[0]; more < least || swallowed[1]-swallowed[0] < least {
		t.Errorf("%d dials and %d packets in the second half, want at least %d", more, swallowed[1]-swallowed[0], least)
	}
	return used[0], used[1]
}

var goroutine = regexp.MustCompile(`(?m)^goroutine \d+ \[([^\]]+)\]:\n`)

// alive finds the control loop among the stacks of the daemon.
func (h *house) alive(t *testing.T) {
	t.Helper()
	must(t, h.signalDaemon(t.Context(), "USR1"))
	must(t, h.Daemon.WaitFor(within(t, 10*time.Second), "end of the stacks"))
	log := h.Daemon.Log()
	dump := log[strings.LastIndex(log, "causewayd: the stacks of"):]
	header, _, _ := strings.Cut(dump, "\n")
	for _, stack := range strings.Split(dump, "\n\n") {
		if !strings.Contains(stack, "control.(*Loop).Run(") {
			continue
		}
		state := goroutine.FindStringSubmatch(stack)
		if state == nil {
			continue
		}
		var calls []string
		for line := range strings.Lines(stack) {
			if name, _, found := strings.Cut(line, "("); found && !strings.HasPrefix(line, "\t") && strings.Contains(line, "causeway/control.(") {
				calls = append(calls, strings.TrimSuffix(line[strings.LastIndex(name, "/")+1:], "\n"))
			}
		}
		figure(t, "goroutine dump (%s): the control loop is alive, [%s] in %s", strings.TrimPrefix(strings.TrimSuffix(header, ":"), "causewayd: "), state[1], arguments.ReplaceAllString(strings.Join(calls, " < "), ""))
		return
	}
	t.Errorf("no control loop among the stacks:\n%s", shorten(dump))
}

var arguments = regexp.MustCompile(`\((0x|\{|\.\.\.)[^<]*`)

// process is what the kernel says of the daemon.
type process struct {
	pid string
	rss int           // kB
	cpu time.Duration // all threads, in ticks of 10 ms
	at  time.Time
}

func (h *house) daemon(t *testing.T) process {
	t.Helper()
	output, err := h.Client(t.Context(), "sh", "-ec", `pid=$(pgrep -x causewayd); echo $pid; grep VmRSS /proc/$pid/status; cut -d' ' -f14,15 /proc/$pid/stat`)
	must(t, err)
	var p process
	var user, system int
	if _, err := fmt.Sscanf(output, "%s\nVmRSS: %d kB\n%d %d", &p.pid, &p.rss, &user, &system); err != nil {
		t.Fatalf("read the daemon's figures: %v: %q", err, output)
	}
	p.cpu, p.at = time.Duration(user+system)*10*time.Millisecond, time.Now()
	return p
}

// growthLimit is what the daemon may grow by in ten minutes without a control
// plane, in kB: the bar for an idle one is 2 MB, and it carries the load. What
// the load itself wants it has got by half of the time.
const growthLimit = 2 << 10

// unchanged wants the same daemon as before, the agents reached directly, and
// no more memory for a longer absence.
func (h *house) unchanged(t *testing.T, before, warm, late process) {
	t.Helper()
	lasted := late.at.Sub(warm.at)
	figure(t, "daemon under the load: RSS %.1f MB before, %.1f MB after %.0f s, %.1f MB after %.0f s; CPU %.1f %% of a core", float64(before.rss)/1024,
		float64(warm.rss)/1024, warm.at.Sub(before.at).Seconds(), float64(late.rss)/1024, late.at.Sub(before.at).Seconds(),
		100*(late.cpu-before.cpu).Seconds()/late.at.Sub(before.at).Seconds())
	if growth := late.rss - warm.rss; lasted >= 5*time.Minute && growth > growthLimit {
		t.Errorf("the daemon grew by %d kB in %v", growth, lasted)
	}
	after := h.daemon(t)
	if after.pid != before.pid {
		t.Errorf("the daemon is process %s, it was %s", after.pid, before.pid)
	}
	for _, name := range []string{rig.Name, spareName} {
		began := time.Now()
		_, err := h.Causeway(within(t, 40*time.Second), "ping", name, "--until-direct", "-c", "200")
		must(t, err)
		figure(t, "%s reached directly %.2f s later, by the same process %s", name, time.Since(began).Seconds(), after.pid)
	}
}
