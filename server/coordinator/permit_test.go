package coordinator

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestLingers: only what is lost has something left to take away.
func TestLingers(t *testing.T) {
	r := newRig(t)
	r.pair()
	for _, step := range []struct {
		name string
		do   func()
		want bool
	}{
		{"connected", func() {}, false},
		{"lost", func() { r.peers["c1"].Close() }, true},
		{"revoked", func() { r.c.Forget(r.id("c1"), "revoked") }, false},
		{"back", func() { r.connect("c1"); r.update("c1", 1) }, false},
		{"gone by its own word", func() { r.send("c1", disconnect()) }, false},
	} {
		step.do()
		if got := r.c.Lingers(r.id("c1")); got != step.want {
			t.Errorf("%s: %v", step.name, got)
		}
	}
	r.c.Close()
}

// TestRevokedLongAfterTheLoss: the control connection went away long ago, and the
// relay was not used; a direct path may be.
func TestRevokedLongAfterTheLoss(t *testing.T) {
	for name, test := range map[string]struct {
		after time.Duration
		want  string
	}{"an hour": {time.Hour, "DISCONNECTED c1 (revoked)"}, "two days": {2 * permitLife, ""}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.pair()
				r.peers["c1"].Close()
				time.Sleep(test.after)
				for _, other := range []string{"c2", "c3"} { // what is overdue goes when another is lost
					r.connect(other)
					r.update(other, 1)
					r.peers[other].Close()
				}
				r.quiet("a1")
				if r.c.MayRelay(r.keys["c1"], r.keys["a1"]) || r.c.Lingers(r.id("c1")) != (test.want != "") {
					t.Errorf("lingers %v", r.c.Lingers(r.id("c1")))
				}
				r.c.Forget(r.id("c1"), "revoked")
				r.expect("a1", test.want)
				if r.c.Lingers(r.id("c1")) || len(r.c.permits.former) != 0 {
					t.Error("something is left")
				}
				r.c.Close()
			})
		})
	}
}
