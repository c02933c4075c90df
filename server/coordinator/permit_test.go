package coordinator

import (
	"container/list"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
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
				if r.c.Lingers(r.id("c1")) || len(r.c.permits.served.byID) != 0 || r.c.permits.served.pairs != 0 {
					t.Error("something is left")
				}
				r.c.Close()
			})
		})
	}
}

// TestRevokedAfterItsReturn: a peer that came back is taken away before it has
// opened its tunnels again. Its partners serve it from before, and hear it, once.
func TestRevokedAfterItsReturn(t *testing.T) {
	for name, back := range map[string]func(r *rig, leaver string){
		"without a node":            func(*rig, string) {},
		"with a node":               func(r *rig, leaver string) { r.update(leaver, 2) },
		"with another key":          func(r *rig, leaver string) { r.keysOf(leaver, "fresh"); r.update(leaver, 2) },
		"and a tunnel":              func(r *rig, leaver string) { r.update(leaver, 2); r.reopen(leaver) },
		"and a tunnel, and no node": func(r *rig, leaver string) { r.reopen(leaver) },
		"and was taken over":        func(r *rig, leaver string) { r.update(leaver, 2); r.connect(leaver) },
		"and was lost again": func(r *rig, leaver string) {
			r.update(leaver, 2)
			r.peers[leaver].Close()
			r.connect(leaver)
		},
	} {
		for leaver, stays := range map[string]string{"c1": "a1", "a1": "c1"} {
			t.Run(name+"/"+leaver, func(t *testing.T) {
				r := newRig(t)
				r.pair()
				r.peers[leaver].Close()
				r.connect(leaver)
				back(r, leaver)
				r.quiet(stays)
				r.peers[leaver].End(Gone, "token revoked")
				r.expect(stays, "DISCONNECTED "+leaver+" (token revoked)")
				if r.c.Lingers(r.id(leaver)) {
					t.Error("something is left")
				}
			})
		}
	}
}

// reopen opens the client's tunnel again.
func (r *rig) reopen(name string) {
	if name == "c1" {
		r.open("c1", "a1")
	}
}

// TestServedPairsAreBounded: the pairs of the longest lost go first.
func TestServedPairsAreBounded(t *testing.T) {
	v := served{byID: map[uuid.UUID]*list.Element{}}
	now := time.Now()
	const each = pairLimit / 8
	id := func(i int) uuid.UUID { return uuid.UUID{byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)} }
	some := func(yield func(uuid.UUID) bool) {
		for i := range each {
			if !yield(id(i)) {
				return
			}
		}
	}
	for i := range 8 {
		v.add(id(i), some, now.Add(time.Duration(i)))
	}
	v.add(id(0), some, now.Add(9)) // the same pairs, later
	v.forget(id(5), id(2))
	v.forget(id(5), id(2))
	if v.pairs != pairLimit-2 || len(v.byID) != 8 { // 2 was lost too, and 5 its partner
		t.Fatalf("%d pairs of %d peers", v.pairs, len(v.byID))
	}
	v.add(id(100), some, now.Add(10))
	if v.pairs > pairLimit || v.byID[id(1)] != nil || v.byID[id(0)] == nil || len(v.byID) != 8 || v.order.Len() != 8 {
		t.Errorf("%d pairs of %d peers; the oldest is there: %v", v.pairs, len(v.byID), v.byID[id(1)] != nil)
	}
	v.add(id(200), some, now.Add(permitLife+20))
	if v.pairs != each || len(v.byID) != 1 {
		t.Errorf("a day later: %d pairs of %d peers", v.pairs, len(v.byID))
	}
}
