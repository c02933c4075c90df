package coordinator

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/tailnetv2"
)

const takenAddr = "authorization: node address is taken"

func TestClientCannotTakeAnAgentsAddress(t *testing.T) {
	for _, prefix := range []string{"service", "tailscale"} {
		address := func(id uuid.UUID) *tailnetv2.CoordinateRequest {
			if prefix == "service" {
				return nodeAt([]string{proto.AddrFromUUID(proto.ServicePrefix, id).String() + "/128"})
			}
			return nodeAt([]string{proto.AddrFromUUID(proto.TailscalePrefix, id).String() + "/128"})
		}
		t.Run(prefix+"/of a connected agent", func(t *testing.T) {
			r := newRig(t)
			r.pair()
			err := r.peers["c1"].Send(address(r.id("a1")))
			if err == nil || err.Error() != takenAddr {
				t.Errorf("error is %v", err)
			}
			r.expect("c1", "error: "+takenAddr+"; EOF")
			r.expect("a1", "LOST c1 (lost)")
		})
		t.Run(prefix+"/of a connected agent without a tunnel", func(t *testing.T) {
			r := newRig(t)
			r.pair()
			r.connect("c2")
			if err := r.peers["c2"].Send(address(r.id("a1"))); err == nil {
				t.Error("accepted")
			}
		})
		t.Run(prefix+"/of a destination that is away", func(t *testing.T) {
			r := newRig(t)
			r.connect("c1")
			r.open("c1", "a7")
			if err := r.peers["c1"].Send(address(r.id("a7"))); err == nil {
				t.Error("accepted")
			}
		})
		t.Run(prefix+"/and then open a tunnel to it", func(t *testing.T) {
			r := newRig(t)
			r.connect("c1")
			r.send("c1", address(r.id("a7")))
			if err := r.peers["c1"].Send(addTunnel(r.id("a7"))); err == nil {
				t.Error("accepted")
			}
		})
		t.Run(prefix+"/before the agent comes", func(t *testing.T) {
			r := newRig(t)
			r.connect("c1")
			r.connect("c2")
			r.update("c2", 1)
			r.send("c1", address(r.id("a7")))
			r.connect("a7")
			r.expect("c1", "error: "+takenAddr+"; EOF")
			r.expect("c2", "")
			r.peers["a7"].Close()
			r.connect("c1")
			r.send("c1", address(r.id("a7"))) // nobody's again
		})
	}
}

// TestStrangerGetsNothing is the second user with a hand-made client: it asks
// for everything, and neither it nor the agent hears a word.
func TestStrangerGetsNothing(t *testing.T) {
	r := newRig(t)
	r.pair()
	victim := r.id("a1")
	for name, req := range map[string]*tailnetv2.CoordinateRequest{
		"tunnel":              addTunnel(victim),
		"tunnel to a client":  addTunnel(r.id("c1")),
		"ready for handshake": ready(victim),
		"tunnel and node":     {AddTunnel: addTunnel(victim).AddTunnel, UpdateSelf: updateSelf(r.node("m", 1)).UpdateSelf},
		"tunnel and goodbye":  {AddTunnel: addTunnel(victim).AddTunnel, Disconnect: disconnect().Disconnect},
	} {
		s, err := r.c.Connect(t.Context(), r.id("m"), "m", ClientOfAgentAuth(r.id("a-of-m")))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Send(req); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if got := r.heardOn(s); strings.Contains(got, "NODE") {
			t.Errorf("%s: heard %q", name, got)
		}
	}
	r.expect("a1", "")
	r.expect("c1", "")
}

func TestMayRelay(t *testing.T) {
	r := newRig(t)
	r.pair()
	r.connect("c2")
	r.update("c2", 1)
	may := func(from, to string, want bool) {
		t.Helper()
		if got := r.c.MayRelay(r.keys[from], r.keys[to]); got != want {
			t.Errorf("may %s send to %s: %v", from, to, got)
		}
	}
	may("c1", "a1", true)
	may("a1", "c1", true)
	may("c2", "a1", false)
	may("a1", "c2", false)
	may("c2", "c1", false)
	r.id("nobody")
	may("nobody", "a1", false)
	if r.c.KnowsKey(r.keys["nobody"]) || !r.c.KnowsKey(r.keys["c2"]) {
		t.Error("knows the wrong keys")
	}

	// A stranger that claims the key of the victim, and has a tunnel to an
	// agent of its own, opens no way between the two.
	r.connect("a-m")
	r.update("a-m", 1)
	r.connect("c-m")
	stolen := r.node("c-m", 1)
	stolen.Key, _ = r.keys["a1"].MarshalBinary()
	r.send("c-m", updateSelf(stolen))
	r.open("c-m", "a-m")
	may("a-m", "a1", false)
	may("c1", "a1", true)
	stolen.Key, _ = r.keys["c1"].MarshalBinary()
	r.send("c-m", updateSelf(stolen))
	may("a-m", "c1", false)
	may("c1", "a1", true)

	r.shut("c1", "a1")
	may("c1", "a1", false)
	r.open("c1", "a1")
	may("c1", "a1", true)
	r.send("c1", disconnect())
	may("c1", "a1", false)
}

func TestRelayOutlivesTheLossOfControl(t *testing.T) {
	steps := []struct {
		name string
		do   func(r *rig)
		want bool
	}{
		{"client lost", func(r *rig) { r.peers["c1"].Close() }, true},
		{"agent lost", func(r *rig) { r.peers["a1"].Close() }, true},
		{"both lost", func(r *rig) { r.peers["a1"].Close(); r.peers["c1"].Close() }, true},
		{"client lost and back, tunnel not yet", func(r *rig) { r.peers["c1"].Close(); r.connect("c1"); r.update("c1", 1) }, true},
		{"coordinator closed", func(r *rig) { r.c.Close() }, true},
		{"client lost, then revoked", func(r *rig) { r.peers["c1"].Close(); r.c.Forget(r.id("c1"), "revoked") }, false},
		{"client lost, back, then revoked", func(r *rig) {
			r.peers["c1"].Close()
			r.connect("c1")
			r.update("c1", 1)
			r.peers["c1"].End(Gone, "revoked")
		}, false},
		{"client lost, back, and shut the tunnel", func(r *rig) {
			r.peers["c1"].Close()
			r.connect("c1")
			r.update("c1", 1)
			r.open("c1", "a1")
			r.shut("c1", "a1")
		}, false},
		{"client lost and idle", func(r *rig) { r.peers["c1"].Close(); time.Sleep(permitIdle + time.Second) }, false},
		{"client lost and busy", func(r *rig) {
			r.peers["c1"].Close()
			for range 10 {
				time.Sleep(permitIdle / 2)
				r.c.MayRelay(r.keys["c1"], r.keys["a1"])
			}
		}, true},
		{"client lost and busy for too long", func(r *rig) {
			r.peers["c1"].Close()
			for range 200 {
				time.Sleep(permitIdle / 2)
				r.c.MayRelay(r.keys["c1"], r.keys["a1"])
			}
		}, false},
		{"client back under another id with the same key", func(r *rig) {
			r.keysOf("c5", "c1")
			r.connect("c5")
			r.update("c5", 1)
			r.open("c5", "a1")
			r.peers["c1"].Close()
			time.Sleep(2 * permitIdle)
		}, true},
		{"client changed its key", func(r *rig) {
			node := r.node("c1", 2)
			node.Key, _ = r.keyOf("other").MarshalBinary()
			r.send("c1", updateSelf(node))
		}, false},
	}
	for _, step := range steps {
		t.Run(step.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.pair()
				step.do(r)
				if got := r.c.MayRelay(r.keys["c1"], r.keys["a1"]); got != step.want {
					t.Errorf("may relay: %v", got)
				}
				r.c.Close()
			})
		})
	}
}

func TestLostPeersAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		for round := range 3 {
			for i := range 100 {
				name := "c-" + string(rune('a'+round)) + string(rune('0'+i))
				r.connect(name)
				r.update(name, 1)
				r.peers[name].Close()
				r.connect(name) // and again: one entry in the list
				r.update(name, 1)
				r.peers[name].Close()
			}
			time.Sleep(2 * permitIdle)
		}
		r.connect("c-last")
		r.update("c-last", 1)
		r.peers["c-last"].Close()
		if got := len(r.c.permits.lost); got != 1 {
			t.Errorf("%d lost peers remembered", got)
		}
		if len(r.c.permits.byKey) != 1 || len(r.c.permits.byID) != 1 || len(r.c.links) != 0 {
			t.Errorf("left: %d keys, %d ids, %d links", len(r.c.permits.byKey), len(r.c.permits.byID), len(r.c.links))
		}
		r.c.Close()
	})
}
