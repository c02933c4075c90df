package rig

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// load makes a monitor that has read what a load would have told: good ticks
// until now, and the events given, each so long ago.
func told(t *testing.T, ticks int, events ...Event) *Load {
	t.Helper()
	file := filepath.Join(t.TempDir(), "load.log")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	m := &Load{program: &Program{LogFile: file}, streams: 2}
	m.events = append(m.events, Event{At: ago(time.Hour), Kind: "control", Connected: true})
	m.events = append(m.events, events...)
	for number := range ticks {
		at := ago(time.Duration(ticks-number) * 10 * time.Millisecond)
		m.events = append(m.events, Event{At: at, Kind: "tick", Micros: []int64{900, 1100}, Open: 2, Silence: 90})
	}
	return m
}

func ago(d time.Duration) int64 { return time.Now().Add(-d).UnixNano() }

// canaryless makes the canary silent in the last tick.
func canaryless(m *Load) *Load {
	m.events[len(m.events)-1].CanaryGap = 1200
	return m
}

// TestJudge holds that the rig calls only that healthy which is, and counts
// what was not.
func TestJudge(t *testing.T) {
	from := time.Now().Add(-10 * time.Second)
	for name, test := range map[string]struct {
		m    *Load
		well string        // part of what is not well; empty: all is
		at   time.Duration // how long ago it became so
		cost string
	}{
		"quiet":        {told(t, 8), "", 10 * time.Second, "16 lookups, 0 failed, 0 wrong, 0 slow, p99 1.1 ms; flows broken 0, longest silence 0.09 s"},
		"just begun":   {told(t, 3), "2 of 2 flows open", 0, "6 lookups, 0 failed"},
		"silent":       {told(t, 0), "the load is silent", 0, "0 lookups"},
		"failed":       {told(t, 8, Event{At: ago(4 * time.Second), Kind: "failed", Seconds: 5}), "", 4 * time.Second, "17 lookups, 1 failed, 0 wrong"},
		"wrong":        {told(t, 8, Event{At: ago(4 * time.Second), Kind: "wrong"}), "", 4 * time.Second, "17 lookups, 0 failed, 1 wrong"},
		"slow":         {told(t, 8, Event{At: ago(4 * time.Second), Kind: "slow", Seconds: 2}), "", 4 * time.Second, "0 wrong, 1 slow"},
		"stalled":      {told(t, 8, Event{At: ago(3 * time.Second), Kind: "stall", Of: "tcp1", Seconds: 6}), "", 3 * time.Second, "longest silence 6.00 s"},
		"broken":       {told(t, 8, Event{At: ago(3 * time.Second), Kind: "broken"}, Event{At: ago(2 * time.Second), Kind: "open"}), "", 2 * time.Second, "flows broken 1"},
		"long ago":     {told(t, 8, Event{At: ago(20 * time.Second), Kind: "broken"}), "", 10 * time.Second, "flows broken 0"},
		"disconnected": {told(t, 8, Event{At: ago(3 * time.Second), Kind: "control"}), "control plane not connected", 0, "0 failed"},
		"reconnected": {
			told(t, 8, Event{At: ago(3 * time.Second), Kind: "control"}, Event{At: ago(2 * time.Second), Kind: "control", Connected: true},
				Event{At: ago(time.Second), Kind: "control", Connected: true, Of: "degraded"}), "", 2 * time.Second, "0 failed",
		},
		"one flow lost":   {told(t, 0, Event{At: ago(9 * time.Millisecond), Kind: "tick", Micros: []int64{1}, Open: 1}), "1 of 2 flows open", 0, "1 lookups"},
		"flow silent":     {told(t, 0, Event{At: ago(9 * time.Millisecond), Kind: "tick", Micros: []int64{1}, Open: 2, Silence: 1500}), "longest silence 1500 ms", 0, "longest silence 1.50 s"},
		"lookups hang":    {told(t, 0, Event{At: ago(9 * time.Millisecond), Kind: "tick", Open: 2}), "0 lookups in the last", 0, "0 lookups"},
		"canary silent":   {canaryless(told(t, 8)), "the canary has had no answer for 1200 ms", 0, "16 lookups"},
		"canary wrong":    {told(t, 8, Event{At: ago(900 * time.Millisecond), Kind: "canary-wrong"}), "the canary is not well", 0, "0 wrong"},
		"canary was slow": {told(t, 8, Event{At: ago(2 * time.Second), Kind: "canary-slow", Seconds: 2}), "", 10 * time.Second, "0 slow"},
		"broken and open": {told(t, 8, Event{At: ago(3 * time.Second), Kind: "open"}), "", 3 * time.Second, "flows broken 0"},
	} {
		t.Run(name, func(t *testing.T) {
			at, err := test.m.wellSince(from)
			switch {
			case test.well == "" && err != nil:
				t.Errorf("not well: %v", err)
			case test.well != "" && (err == nil || !strings.Contains(err.Error(), test.well)):
				t.Errorf("well since %v: %v, want %q", at, err, test.well)
			case test.well == "":
				if since := time.Since(at) - test.at; since < -500*time.Millisecond || since > 500*time.Millisecond {
					t.Errorf("well since %v ago, want %v", time.Since(at), test.at)
				}
			}
			if got := test.m.Cost(from).String(); !strings.Contains(got, test.cost) {
				t.Errorf("cost %q, want %q", got, test.cost)
			}
		})
	}
}

// TestCanary: what became of it is counted apart from the user's names.
func TestCanary(t *testing.T) {
	last := ago(2 * time.Second)
	m := told(t, 8, Event{At: ago(4 * time.Second), Kind: "tick", Open: 2, CanaryGap: 700}, Event{At: ago(3 * time.Second), Kind: "canary-wrong"},
		Event{At: ago(3 * time.Second), Kind: "canary-failed", Seconds: 5}, Event{At: last, Kind: "canary-slow", Seconds: 2})
	got := m.Cost(time.Now().Add(-10 * time.Second))
	if want := (Class{Failed: 1, Wrong: 1, Gap: 700 * time.Millisecond, Last: time.Unix(0, last)}); got.Canary != want || got.Failed+got.Wrong+got.Slow != 0 {
		t.Errorf("%+v, want %+v", got, want)
	}
}
