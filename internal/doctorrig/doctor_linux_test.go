package doctorrig

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/causewayhq/causeway/internal/testnet"
)

// TestDoctor: a healthy host is called so, by root and by the owner, and then
// each planted fault is found and named, and mended where it is ours.
func TestDoctor(t *testing.T) {
	asked := os.Getenv("CAUSEWAY_RIGS")
	if asked == "" {
		t.Skip("a rig: make test runs a sample, make e2e all")
	}
	if os.Geteuid() != 0 {
		t.Fatal("rigs need root")
	}
	h := build(t, testnet.Resolved)
	t.Run("Healthy", func(t *testing.T) {
		r := h.healthy(t)
		t.Logf("figure: doctor on a healthy host takes %.1f s", r.took.Seconds())
		as := h.doctor(t, asUser)
		if len(as.blamed()) > 0 || as.exit != 0 {
			t.Errorf("as the owner: %v, exit %d: %+v", as.blamed(), as.exit, as.Checks)
		}
		for _, check := range append(r.Checks, as.Checks...) {
			if check.Result == "skipped" {
				t.Errorf("%s is skipped on a healthy host: %s%s", check.ID, check.Cause, check.Because)
			}
		}
	})
	for _, fault := range faults() {
		if asked == "sample" && !fault.sample {
			continue
		}
		t.Run(fault.name, func(t *testing.T) { h.examine(t, fault) })
	}
}

// TestHealthyElsewhere: nothing is blamed on hosts that have no
// systemd-resolved, nor while the daemon is restarted.
func TestHealthyElsewhere(t *testing.T) {
	if os.Getenv("CAUSEWAY_RIGS") != "all" {
		t.Skip("a rig: make e2e runs it")
	}
	for _, flavour := range []testnet.Flavour{testnet.Plain, testnet.NetworkManager} {
		t.Run(string(flavour), func(t *testing.T) {
			h := build(t, flavour)
			h.healthy(t)
			for range 3 {
				h.sh(t, "systemctl restart --no-block "+unit)
				if r := h.doctor(t, nil); len(r.blamed()) > 0 || r.exit != 0 {
					t.Errorf("during a restart: %v, exit %d: %+v", r.blamed(), r.exit, r.Checks)
				}
			}
		})
	}
}

// examine plants one fault, has it found, and mended if that is ours to do.
func (h *house) examine(t *testing.T, f fault) {
	h.healthy(t)
	undo := f.plant(t, h)
	undone := false
	back := func() {
		if !undone && undo != nil {
			undo()
		}
		undone = true
	}
	defer back()
	before := h.sh(t, foreign)
	r := h.doctor(t, f.as)
	h.judge(t, f, r)
	if f.fixable {
		h.fix(t, f, before)
	} else if f.exit != 0 || f.result == "warning" {
		h.leave(t, f, before)
	}
	back()
	began := time.Now()
	h.healthy(t)
	t.Logf("figure: healthy again %.1f s after the fault was taken away", time.Since(began).Seconds())
}

// judge compares what doctor says with what was planted.
func (h *house) judge(t *testing.T, f fault, r report) {
	t.Helper()
	blamed := r.blamed()
	words := f.words
	t.Logf("figure: found in %.1f s: %s", r.took.Seconds(), r.cause(f.check))
	if blamed[f.check] != f.result {
		t.Errorf("%s is %q, want %q", f.check, blamed[f.check], f.result)
	}
	for _, word := range words {
		if !strings.Contains(r.cause(f.check), word) {
			t.Errorf("%s does not name %q: %s", f.check, word, r.cause(f.check))
		}
	}
	if r.exit != f.exit {
		t.Errorf("exit code %d, want %d", r.exit, f.exit)
	}
	for _, id := range slices.Sorted(maps.Keys(blamed)) {
		if id != f.check && !slices.Contains(f.also, id) {
			t.Errorf("%s is blamed too: %s", id, r.cause(id))
		}
	}
}

// fix has it mended, and looks that nothing else was touched.
func (h *house) fix(t *testing.T, f fault, before string) {
	t.Helper()
	if f.as != nil && f.needsRoot {
		r := h.doctor(t, f.as, "--fix")
		if len(r.Mended) != 1 || !r.Mended[0].NeedsRoot || r.Mended[0].Done {
			t.Errorf("--fix without root: %+v", r.Mended)
		}
	}
	r := h.doctor(t, nil, "--fix")
	mended := slices.ContainsFunc(r.Mended, func(m struct {
		Check, Action, Error string
		Done                 bool
		NeedsRoot            bool `json:"needs_root"`
	}) bool {
		return m.Check == f.check && m.Done
	})
	t.Logf("figure: --fix took %.1f s: %+v", r.took.Seconds(), r.Mended)
	if !mended || r.exit != 0 {
		t.Errorf("--fix: exit %d, %v, mended %+v", r.exit, r.blamed(), r.Mended)
	}
	h.untouched(t, before)
}

// leave looks that --fix keeps its hands off what is not ours.
func (h *house) leave(t *testing.T, f fault, before string) {
	t.Helper()
	r := h.doctor(t, nil, append([]string{"--fix"}, f.flags...)...)
	for _, one := range r.Mended {
		if f.inVain && one.Check == f.check && !one.Done && strings.Contains(one.Error, "did not help") {
			continue
		}
		t.Errorf("--fix did something about %s: %+v", one.Check, one)
	}
	h.untouched(t, before)
}

func (h *house) untouched(t *testing.T, before string) {
	t.Helper()
	after := h.sh(t, foreign)
	if after == before {
		return
	}
	old, now := strings.Split(before, "\n"), strings.Split(after, "\n")
	for _, line := range old {
		if !slices.Contains(now, line) {
			t.Errorf("--fix took away: %s", line)
		}
	}
	for _, line := range now {
		if !slices.Contains(old, line) {
			t.Errorf("--fix made: %s", line)
		}
	}
}
