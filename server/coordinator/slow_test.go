package coordinator

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"
)

func (r *rig) fill(name, from string) {
	r.t.Helper()
	for i := r.peers[name].queued(); i < queueLimit; i++ {
		r.update(from, 1000+i)
	}
	if got := r.peers[name].queued(); got != queueLimit {
		r.t.Fatalf("%d queued, want %d", got, queueLimit)
	}
}

func TestSlowPeerCostsOnlyItself(t *testing.T) {
	for name, last := range map[string]func(r *rig){
		"node update": func(r *rig) { r.update("c1", 2) },
		// Upstream ends the sender here.
		"ready for handshake": func(r *rig) {
			if err := r.peers["s1"].Send(ready(r.id("a1"))); err != nil {
				r.t.Errorf("sender got %v", err)
			}
		},
		"two at once": func(r *rig) { r.send("s1", ready(r.id("a1"), r.id("a1"))) },
		"lost":        func(r *rig) { r.peers["c1"].Close() },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.pair()
			r.connect("s1")
			r.open("s1", "a1")
			r.quiet("s1")
			r.fill("a1", "c1")
			last(r)
			r.expect("a1", "error: failed to update tunnel peer mapping; EOF")
			r.expect("s1", "DISCONNECTED a1 (failed update)")
			if name != "lost" {
				r.expect("c1", "DISCONNECTED a1 (failed update)")
				r.update("c1", 3)
			}
			if got := r.c.Snapshot(); got.TooSlow != 1 {
				t.Errorf("%d too slow", got.TooSlow)
			}
			// It may come back.
			r.connect("a1")
			r.update("a1", 8)
			r.expect("s1", "NODE a1 v8 (node update)")
		})
	}
}

// TestCascade fills the queues of a chain in which the removal of each peer is
// what the next one cannot take any more.
func TestCascade(t *testing.T) {
	r := newRig(t)
	const length = 6
	name := func(i int) string { return fmt.Sprintf("s%d", i) }
	for i := range length {
		r.connect(name(i))
		r.update(name(i), 1)
	}
	r.connect("feeder")
	for i := range length {
		if i > 0 {
			r.open(name(i-1), name(i))
			r.open(name(i), name(i-1)) // both ways: removal must not meet a pair twice
		}
		r.open(name(i), "feeder")
	}
	r.connect("watcher")
	r.update("watcher", 1)
	r.open("watcher", name(length-1))
	for round := 0; ; round++ {
		full := 0
		for i := range length {
			if r.peers[name(i)].queued() == queueLimit {
				full++
			}
		}
		if full == length {
			break
		}
		// The first update that somebody cannot take is the one under test: top
		// up each queue by hand to the brim.
		for i := range length {
			for r.peers[name(i)].queued() < queueLimit {
				r.peers[name(i)].push(response{wire: ErrorResponse("filler")})
			}
		}
	}
	r.quiet("feeder", "watcher")
	r.send(name(0), disconnect())
	for i := 1; i < length; i++ {
		if got := r.heard(name(i)); got != "error: failed to update tunnel peer mapping; EOF" {
			t.Errorf("%s heard %.80q", name(i), got)
		}
	}
	r.expect("watcher", "DISCONNECTED s5 (failed update)")
	if got := r.c.Snapshot(); len(got.Peers) != 2 || got.TooSlow != length-1 {
		t.Errorf("left %d peers, %d too slow", len(got.Peers), got.TooSlow)
	}
}

func TestInitIsSplit(t *testing.T) {
	r := newRig(t)
	const clients = 2*updatesLimit + 10
	for i := range clients {
		name := fmt.Sprintf("c%d", i)
		r.connect(name)
		r.update(name, i)
		r.open(name, "a1")
	}
	s := r.connect("a1")
	total, responses := 0, 0
	for total < clients {
		response, err := s.Recv(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		responses++
		if got := len(response.GetPeerUpdates()); got > updatesLimit {
			t.Errorf("%d updates in one response", got)
		}
		total += len(response.GetPeerUpdates())
	}
	if total != clients || responses != 3 {
		t.Errorf("%d updates in %d responses", total, responses)
	}
}

func TestRecvMergesAndKeepsErrorsApart(t *testing.T) {
	r := newRig(t)
	r.pair()
	for i := range 5 {
		r.update("c1", 10+i)
	}
	r.send("a1", ready(uuid.New()))
	r.update("c1", 20)
	for i, want := range []struct{ updates, errors int }{{5, 0}, {0, 1}, {1, 0}} {
		response, err := r.peers["a1"].Recv(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		hasError := 0
		if response.GetError() != "" {
			hasError = 1
		}
		if len(response.GetPeerUpdates()) != want.updates || hasError != want.errors {
			t.Errorf("response %d is %v", i, response)
		}
	}
}

// TestQueueIsBoundedInBytes: nodes of the largest size fill a queue long before
// it has 512 of them.
func TestQueueIsBoundedInBytes(t *testing.T) {
	r := newRig(t)
	r.pair()
	r.connect("c2")
	r.update("c2", 1)
	r.open("c2", "a1")
	r.quiet("a1", "c1", "c2")
	sent := 0
	for ; r.c.Connected(r.id("c1")) && sent < queueLimit; sent++ {
		node := r.node("a1", 100+sent)
		node.Endpoints = []string{strings.Repeat("x", MaxNodeSize-1024)}
		r.send("a1", updateSelf(node))
		r.quiet("c2")
	}
	if held := sent * (MaxNodeSize - 1024); sent == queueLimit || held > queueBytes+2*MaxNodeSize || held < queueBytes-2*MaxNodeSize {
		t.Errorf("removed after %d nodes, %d bytes; the limit is %d", sent, held, queueBytes)
	}
	r.expect("c1", "error: failed to update tunnel peer mapping; EOF")
	if r.peers["c2"].queued() != 0 || !r.c.Connected(r.id("c2")) || !r.c.Connected(r.id("a1")) {
		t.Error("it cost the others something")
	}
	// What was read counts no more.
	for range 2 * queueBytes / MaxNodeSize {
		node := r.node("a1", sent)
		sent++
		node.Endpoints = []string{strings.Repeat("y", MaxNodeSize-1024)}
		r.send("a1", updateSelf(node))
		r.quiet("c2")
	}
	if !r.c.Connected(r.id("c2")) {
		t.Error("a peer that reads was removed")
	}
}
