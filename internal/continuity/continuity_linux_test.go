package continuity

import (
	"strings"
	"testing"
	"time"

	"github.com/causewayhq/causeway/internal/rig"
)

// TestContinuity applies each fault to the running load: first with the direct
// path, then with the relay alone. The daemon and the load are the same all
// the time.
func TestContinuity(t *testing.T) {
	short := sample(t)
	h := build(t)
	h.lengths = long
	if short {
		h.lengths = brief
	}
	h.startLoad(t, 50, 10)
	quiet := 10 * time.Second
	if short {
		quiet = 3 * time.Second
	}
	h.measureQuiet(t, quiet)
	t.Log("head: lasted | lookups | failed | wrong | slow (> 1 s) | refused once | p99 | flows broken of 11 | longest silence of a flow | path of the flows | healthy after its end | bound")
	t.Run("Direct", func(t *testing.T) {
		for _, f := range faults() {
			if f.direct && (f.short && f.name != "RelayRestarted" || !short) {
				t.Run(f.name, func(t *testing.T) { h.endure(t, f, f.bound, f.moves) })
			}
		}
	})
	must(t, h.away.blockUDP(t.Context()))
	at := time.Now()
	back, err := h.load.Healthy(within(t, 2*(trust+dial)+10*time.Second), at, trust)
	must(t, err)
	figure(t, "UDP blocked: flows go on over the relay after %.1f s", back.Sub(at).Seconds())
	t.Run("Relayed", func(t *testing.T) {
		for _, f := range faults() {
			if f.relayed && (f.name == "RelayRestarted" || !short) {
				limit := f.bound
				if f.relayedBound != nil {
					limit = f.relayedBound
				}
				t.Run(f.name, func(t *testing.T) { h.endure(t, f, limit, f.moves || f.path != "") })
			}
		}
	})
}

// measureQuiet is the same load while nothing happens.
func (h *house) measureQuiet(t *testing.T, duration time.Duration) {
	t.Helper()
	began := time.Now()
	hold(t, duration)
	got := h.load.Cost(began)
	h.quiet = got.P99
	figure(t, "quiet for %.0f s: %v", duration.Seconds(), got)
	if got.Failed+got.Wrong+got.Broken > 0 {
		t.Fatalf("the quiet load is not: %s", strings.Join(got.Told, "\n"))
	}
}

// endure applies one fault and prints what it cost. Moves says whether the
// flows can be silent for a while.
func (h *house) endure(t *testing.T, f fault, limit func(time.Duration) bound, moves bool) {
	_, err := h.load.Healthy(within(t, 90*time.Second), time.Now(), time.Second)
	must(t, err)
	began := time.Now()
	healed := f.run(t, h)
	allowed := limit(healed.Sub(began))
	at, err := h.load.Healthy(within(t, max(allowed.limit, f.settle)+30*time.Second), healed, f.settle)
	got := h.load.Cost(began)
	if err != nil {
		t.Fatalf("not healthy again: %v\n%v\n%s", err, got, strings.Join(got.Told, "\n"))
	}
	took := at.Sub(healed)
	path := "kept"
	switch {
	case f.path != "" && moves:
		path = f.path
	case moves:
		path = "another afterwards"
	}
	t.Logf("row: %.0f s | %d | %d | %d | %d | %d | %s | %d | %.2f s | %s | %.2f s | %v", healed.Sub(began).Seconds(), got.Right+got.Failed+got.Wrong,
		got.Failed, got.Wrong, got.Slow, got.Refused, rig.Milliseconds(got.P99), got.Broken, got.Stall.Seconds(), path, took.Seconds(), allowed)
	if !moves && got.Stall > steady {
		t.Errorf("%s was silent for %v, allowed are %v where nobody touched its path", got.StallOf, got.Stall, steady)
	}
	if got.Failed+got.Wrong > 0 {
		t.Errorf("%d lookups failed, %d wrong; allowed are none", got.Failed, got.Wrong)
	}
	if got.Broken > 0 {
		t.Errorf("%d flows broke; allowed are none", got.Broken)
	}
	if took > allowed.limit+reach {
		t.Errorf("healthy after %v, the bound is %v", took, allowed)
	}
	if f.after != nil {
		f.after(t, h, began, healed)
	}
	if t.Failed() {
		t.Log(strings.Join(got.Told, "\n"))
	}
}
