package coordinator

import "testing"

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
