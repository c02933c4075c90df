package hostfaults

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/causewayhq/causeway/internal/testnet"
)

// limits are what a fault may cost. A broken session is allowed nowhere.
type limits struct {
	// failed and wrong are lookups that may be so.
	failed, wrong int
	// silence is the longest that the SSH session may be silent.
	silence time.Duration
	// back is when everything must be well again, from the fault's end on;
	// canary the same for the sentinel's name, 0 if it has to be as soon.
	back, canary time.Duration
	// unhurt: every lookup of the sentinel has to be answered, and rightly.
	unhurt bool
}

// fault is one thing that happens to the host while the load runs.
type fault struct {
	name     string
	flavours []testnet.Flavour
	short    bool // in the short form too
	forward  bool // where our server forwards, listed first in resolv.conf
	// run does it, and returns when it is over: from then on the host has to
	// recover by itself.
	run func(*testing.T, *house) time.Time
	// settle is how long after the end something may still come to light.
	settle time.Duration
	limits
	// after checks what is special, once all is well.
	after func(t *testing.T, h *house, began time.Time)
}

// every is the list of all kinds of hosts.
var every = []testnet.Flavour{
	testnet.Resolved, testnet.NetworkManager, testnet.Dnsmasq, testnet.OpenResolv, testnet.Resolvconf, testnet.Plain,
}

// faults in the order in which they are applied. Each leaves the host as good
// as it was.
func faults() []fault {
	return slices.Concat(daemonFaults(), foreignFaults())
}

const head = "head: fault | lookups | failed | wrong | slow (> 1 s) | p99 | longest gap of our names | of the canary (failed, wrong) | of public names | session broken | longest silence of it | well again after"

// TestHostFaults applies each fault to the running load, on each kind of host.
// The load is the same all the time.
func TestHostFaults(t *testing.T) {
	short := sample(t)
	for number := range 2 * len(every) {
		flavour, forward := every[number%len(every)], number >= len(every)
		var list []fault
		for _, f := range faults() {
			if slices.Contains(f.flavours, flavour) && f.forward == forward && (f.short && flavour == testnet.Resolved || !short) {
				list = append(list, f)
			}
		}
		if len(list) == 0 {
			continue
		}
		name := string(flavour)
		if forward {
			name = "forward-" + name
		}
		t.Run(name, func(t *testing.T) {
			h := build(t, flavour, forward)
			h.startLoad(t, 50)
			h.measureQuiet(t, 3*time.Second)
			t.Log(head)
			for _, f := range list {
				t.Run(f.name, func(t *testing.T) { h.endure(t, f) })
			}
			if !forward && (flavour == testnet.Resolved || flavour == testnet.Plain) {
				t.Run("Commands", h.commands)
			}
		})
	}
}

// measureQuiet is the same load while nothing happens.
func (h *house) measureQuiet(t *testing.T, duration time.Duration) {
	t.Helper()
	began := time.Now()
	hold(t, duration)
	got := h.load.Cost(began)
	figure(t, "quiet for %.0f s: %v; longest gap %d ms, of the canary %d ms, of public names %d ms", duration.Seconds(), got, got.Gap.Milliseconds(), got.Canary.Gap.Milliseconds(), got.PublicGap.Milliseconds())
	if got.Failed+got.Wrong+got.Broken+got.Canary.Failed+got.Canary.Wrong > 0 {
		t.Fatalf("the quiet load is not: %s", strings.Join(got.Told, "\n"))
	}
}

// hold waits.
func hold(t *testing.T, duration time.Duration) {
	t.Helper()
	select {
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	case <-time.After(duration):
	}
}

// settle is how long after each fault something may still come to light, at least.
const settle = 2 * time.Second

// toldLines is how much is told of a fault that cost no more than it may.
const toldLines = 10

// endure applies one fault and prints what it cost.
func (h *house) endure(t *testing.T, f fault) {
	_, err := h.load.Healthy(within(t, time.Minute), time.Now(), time.Second)
	must(t, err)
	began := time.Now()
	over := f.run(t, h)
	at, err := h.load.Healthy(within(t, f.back+settle+30*time.Second), over, max(f.settle, settle))
	got := h.load.Cost(began)
	if err != nil {
		t.Fatalf("not well again: %v\n%v\n%s\n%s", err, got, strings.Join(got.Told, "\n"), h.state())
	}
	took := at.Sub(over)
	t.Logf("row: %s | %d | %d | %d | %d | %.1f ms | %d ms | %d ms (%d, %d) | %d ms | %d | %.2f s | %.2f s", f.name, got.Right+got.Failed+got.Wrong,
		got.Failed, got.Wrong, got.Slow, float64(got.P99.Microseconds())/1000, got.Gap.Milliseconds(), got.Canary.Gap.Milliseconds(), got.Canary.Failed, got.Canary.Wrong, got.PublicGap.Milliseconds(), got.Broken, got.Stall.Seconds(), took.Seconds())
	canary, canaryLimit := got.Canary.Last.Sub(over), cmp.Or(f.canary, f.back)
	for _, fail := range []struct {
		bad  bool
		text string
	}{
		{got.Wrong > f.wrong, fmt.Sprintf("%d lookups were wrong; allowed are %d", got.Wrong, f.wrong)},
		{got.Failed > f.failed, fmt.Sprintf("%d lookups failed; allowed are %d", got.Failed, f.failed)},
		{got.Broken > 0, "the session broke"},
		{got.Stall > f.silence, fmt.Sprintf("the session was silent for %v; allowed are %v", got.Stall, f.silence)},
		{f.unhurt && got.Canary.Failed+got.Canary.Wrong > 0, fmt.Sprintf("%d lookups of the canary failed, %d were wrong", got.Canary.Failed, got.Canary.Wrong)},
		{canary > canaryLimit, fmt.Sprintf("the canary is well after %v; allowed are %v", canary, canaryLimit)},
		{took > f.back, fmt.Sprintf("all is well after %v; allowed are %v", took, f.back)},
	} {
		if fail.bad {
			t.Error(fail.text)
		}
	}
	if f.after != nil {
		f.after(t, h, began)
	}
	if !t.Failed() {
		got.Told = got.Told[:min(len(got.Told), toldLines)]
	}
	t.Log(strings.Join(got.Told, "\n"))
}
