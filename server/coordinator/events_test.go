package coordinator

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// TestEvents has every row of the table of events, from a pair with a tunnel
// from c1 to a1.
func TestEvents(t *testing.T) {
	tests := []struct {
		name string
		do   func(r *rig)
		want map[string]string
	}{
		{"node update reaches the partner behind the tunnel", func(r *rig) { r.update("c1", 2) },
			map[string]string{"a1": "NODE c1 v2 (node update)", "c1": ""}},
		{"node update reaches the partner before the tunnel", func(r *rig) { r.update("a1", 2) },
			map[string]string{"c1": "NODE a1 v2 (node update)", "a1": ""}},
		{"an equal node is not repeated", func(r *rig) { r.update("c1", 1); r.update("a1", 1) },
			map[string]string{"a1": "", "c1": ""}},
		{"add tunnel again is silent", func(r *rig) { r.open("c1", "a1") },
			map[string]string{"a1": "", "c1": ""}},
		{"add tunnel tells both", func(r *rig) { r.connect("c2"); r.update("c2", 7); r.open("c2", "a1") },
			map[string]string{"a1": "NODE c2 v7 (add tunnel)", "c2": "NODE a1 v1 (add tunnel)", "c1": ""}},
		{"add tunnel without an own node tells only the source", func(r *rig) { r.connect("c2"); r.open("c2", "a1") },
			map[string]string{"a1": "", "c2": "NODE a1 v1 (add tunnel)"}},
		{"update and tunnel in one request", func(r *rig) {
			r.connect("c2")
			r.send("c2", &tailnetv2.CoordinateRequest{UpdateSelf: updateSelf(r.node("c2", 3)).UpdateSelf, AddTunnel: addTunnel(r.id("a1")).AddTunnel})
		}, map[string]string{"a1": "NODE c2 v3 (add tunnel)", "c2": "NODE a1 v1 (add tunnel)"}},
		{"all parts keep their order", func(r *rig) {
			r.send("c1", &tailnetv2.CoordinateRequest{
				UpdateSelf: updateSelf(r.node("c1", 4)).UpdateSelf, RemoveTunnel: removeTunnel(r.id("a1")).RemoveTunnel, Disconnect: disconnect().Disconnect,
			})
		}, map[string]string{"a1": "NODE c1 v4 (node update); DISCONNECTED c1 (remove tunnel)", "c1": "DISCONNECTED a1 (remove tunnel); EOF"}},
		{"remove tunnel tells both", func(r *rig) { r.shut("c1", "a1"); r.update("a1", 2) },
			map[string]string{"a1": "DISCONNECTED c1 (remove tunnel)", "c1": "DISCONNECTED a1 (remove tunnel)"}},
		{"remove of a tunnel that the other opened does nothing", func(r *rig) { r.shut("a1", "c1"); r.update("a1", 2) },
			map[string]string{"c1": "NODE a1 v2 (node update)", "a1": ""}},
		{"remove of an unknown tunnel does nothing", func(r *rig) { r.shut("c1", "a9") },
			map[string]string{"a1": "", "c1": ""}},
		{"after remove and add an equal node goes out again", func(r *rig) { r.shut("c1", "a1"); r.quiet("a1", "c1"); r.open("c1", "a1") },
			map[string]string{"a1": "NODE c1 v1 (add tunnel)", "c1": "NODE a1 v1 (add tunnel)"}},
		{"disconnect", func(r *rig) { r.send("c1", disconnect()) },
			map[string]string{"a1": "DISCONNECTED c1 (graceful disconnect)", "c1": "EOF"}},
		{"disconnect drops the tunnels of the source", func(r *rig) { r.send("c1", disconnect()); r.connect("c1"); r.update("c1", 2) },
			map[string]string{"a1": "DISCONNECTED c1 (graceful disconnect)", "c1": ""}},
		{"disconnect keeps the tunnels to the peer", func(r *rig) { r.send("a1", disconnect()); r.connect("a1"); r.update("a1", 1) },
			map[string]string{"c1": "DISCONNECTED a1 (graceful disconnect); NODE a1 v1 (node update)", "a1": "NODE c1 v1 (init)"}},
		{"disconnect with ready for handshake", func(r *rig) {
			r.send("a1", &tailnetv2.CoordinateRequest{Disconnect: disconnect().Disconnect, ReadyForHandshake: ready(r.id("c1")).ReadyForHandshake})
		}, map[string]string{"c1": "DISCONNECTED a1 (graceful disconnect)", "a1": "EOF"}},
		{"lost", func(r *rig) { r.peers["c1"].Close() },
			map[string]string{"a1": "LOST c1 (lost)", "c1": "EOF"}},
		{"lost agent comes back, also with an equal node", func(r *rig) { r.peers["a1"].Close(); r.connect("a1"); r.update("a1", 1) },
			map[string]string{"c1": "LOST a1 (lost); NODE a1 v1 (node update)", "a1": "NODE c1 v1 (init)"}},
		{"lost without ever a node is silent", func(r *rig) { r.connect("c2"); r.open("c2", "a1"); r.peers["c2"].Close() },
			map[string]string{"a1": "", "c2": "NODE a1 v1 (add tunnel); EOF"}},
		{"takeover", func(r *rig) {
			old := r.peers["c1"]
			r.connect("c1")
			if got := r.heardOn(old); got != "error: peer ID overwritten by new connection; EOF" {
				r.t.Errorf("old connection heard %q", got)
			}
			old.Close() // its late cleanup must not touch the new one
			if err := old.Send(disconnect()); !errors.Is(err, ErrEnded) {
				r.t.Errorf("old connection sends: %v", err)
			}
			r.update("c1", 2)
		}, map[string]string{"c1": "NODE a1 v1 (init)", "a1": "NODE c1 v2 (node update)"}},
		{"takeover with the same node is silent to partners", func(r *rig) { r.connect("c1"); r.update("c1", 1) },
			map[string]string{"c1": "NODE a1 v1 (init)", "a1": ""}},
		{"takeover and then lost before a node", func(r *rig) { r.connect("c1").Close() },
			map[string]string{"a1": "LOST c1 (lost)"}},
		{"coordinator close", func(r *rig) { r.c.Close() },
			map[string]string{"c1": "LOST a1 (coordinator close); error: coordinator closed; EOF"}},
		{"ready for handshake", func(r *rig) { r.send("a1", ready(r.id("c1"))) },
			map[string]string{"c1": "READY_FOR_HANDSHAKE a1", "a1": ""}},
		{"ready for handshake along the tunnel's direction", func(r *rig) {
			r.connect("s1")
			r.open("s1", "a1")
			r.quiet("s1")
			r.send("s1", ready(r.id("a1")))
		}, map[string]string{"a1": "READY_FOR_HANDSHAKE s1"}},
		{"ready for handshake to a partner that is away", func(r *rig) {
			r.connect("s1")
			r.open("s1", "a9")
			r.send("s1", ready(r.id("a9")))
		}, map[string]string{"s1": ""}},
		{"revoked", func(r *rig) { r.peers["c1"].End(Gone, "token revoked") },
			map[string]string{"a1": "DISCONNECTED c1 (token revoked)", "c1": "error: token revoked; EOF"}},
		{"tunnel to oneself is nothing", func(r *rig) { r.connect("s1"); r.update("s1", 1); r.open("s1", "s1") },
			map[string]string{"s1": ""}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			r.pair()
			test.do(r)
			for name, want := range test.want {
				// Who closes first hears LOST about the others: order is open.
				if test.name == "coordinator close" {
					got := r.heard("c1") + " " + r.heard("a1")
					if strings.Count(got, "LOST") != 1 || strings.Count(got, "error: coordinator closed; EOF") != 2 {
						t.Errorf("heard %q", got)
					}
					continue
				}
				r.expect(name, want)
			}
		})
	}
}

func TestTunnelToAbsentAgentIsSilentUntilItComes(t *testing.T) {
	r := newRig(t)
	r.connect("c1")
	r.update("c1", 1)
	r.open("c1", "a1")
	r.expect("c1", "")
	r.connect("a1")
	r.expect("a1", "NODE c1 v1 (init)")
	r.update("a1", 5)
	r.expect("c1", "NODE a1 v5 (node update)")
}

func TestMutualTunnels(t *testing.T) {
	r := newRig(t)
	r.connect("s1")
	r.connect("s2")
	r.update("s1", 1)
	r.update("s2", 1)
	r.open("s1", "s2")
	r.open("s2", "s1")
	r.quiet("s1", "s2")
	r.shut("s1", "s2")
	r.expect("s1", "DISCONNECTED s2 (remove tunnel)")
	r.expect("s2", "DISCONNECTED s1 (remove tunnel)")
	// The other tunnel is still there: the next node update announces again.
	r.update("s1", 1)
	r.expect("s2", "NODE s1 v1 (node update)")
	r.shut("s2", "s1")
	r.quiet("s1", "s2")
	r.update("s1", 2)
	r.expect("s2", "")
	if left := r.c.Snapshot().Tunnels; left != 0 {
		t.Errorf("%d tunnels left", left)
	}
}

func TestReadyForHandshakeWithoutTunnelIsNotFatal(t *testing.T) {
	r := newRig(t)
	r.pair()
	r.connect("c2")
	r.send("a1", ready(r.id("c2"), r.id("c1")))
	r.expect("a1", `error: ready for handshake error: you do not share a tunnel with "`+r.id("c2").String()+`"`)
	r.expect("c1", "READY_FOR_HANDSHAKE a1")
	r.expect("c2", "")
	r.update("a1", 9)
	r.expect("c1", "NODE a1 v9 (node update)")
}

func TestContextEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.pair()
		ctx, cancel := context.WithCancel(t.Context())
		r.connectCtx(ctx, "c2")
		r.update("c2", 1)
		r.open("c2", "a1")
		r.quiet("a1", "c2")
		cancel()
		synctest.Wait()
		r.expect("c2", "error: context canceled; EOF")
		r.expect("a1", "LOST c2 (lost)")

		// A context that has ended before.
		r.connectCtx(ctx, "c3")
		synctest.Wait()
		r.expect("c3", "error: context canceled; EOF")
		r.c.Close()
	})
}

func TestClosedCoordinatorAnswersAtOnce(t *testing.T) {
	c := New(slog.New(slog.DiscardHandler))
	c.Close()
	if _, err := c.Connect(t.Context(), uuid.New(), "late", SingleTailnetAuth()); !errors.Is(err, ErrClosed) || err.Error() != "coordinator closed" {
		t.Errorf("connect: %v", err)
	}
	c.Close() // again
}

func TestNode(t *testing.T) {
	r := newRig(t)
	if r.c.Node(r.id("a1")) != nil {
		t.Error("node of an absent peer")
	}
	r.connect("a1")
	if r.c.Node(r.id("a1")) != nil || !r.c.Connected(r.id("a1")) {
		t.Error("node before the first update")
	}
	r.update("a1", 3)
	if got := r.c.Node(r.id("a1")); got.GetPreferredDerp() != 3 {
		t.Errorf("node is %v", got)
	}
	r.peers["a1"].Close()
	if r.c.Node(r.id("a1")) != nil || r.c.Connected(r.id("a1")) {
		t.Error("node of a lost peer")
	}
}

func TestSnapshot(t *testing.T) {
	r := newRig(t)
	r.pair()
	r.connect("c1")
	got := r.c.Snapshot()
	if len(got.Peers) != 2 || got.Tunnels != 1 || got.Overwrites != 1 || got.TooSlow != 0 {
		t.Errorf("snapshot is %+v", got)
	}
	for _, peer := range got.Peers {
		wantTunnels := 0
		if peer.Name == "c1" {
			wantTunnels = 1
		}
		if peer.Partners != 1 || peer.Tunnels != wantTunnels {
			t.Errorf("peer is %+v", peer)
		}
	}
}

func TestEnd(t *testing.T) {
	for name, test := range map[string]struct {
		how     Ending
		partner string
		relays  bool
	}{
		"lost":    {Lost, "LOST c1 (lost)", true},
		"closing": {Closing, "LOST c1 (coordinator close)", true},
		"gone":    {Gone, "DISCONNECTED c1 (why)", false},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.pair()
			s := r.peers["c1"]
			s.End(test.how, "why")
			r.expect("c1", "error: why; EOF")
			r.expect("a1", test.partner)
			if err := s.Err(); err == nil || err.Error() != "why" {
				t.Errorf("ended with %v", err)
			}
			if got := r.c.MayRelay(r.keys["c1"], r.keys["a1"]); got != test.relays {
				t.Errorf("may relay: %v", got)
			}
			// Its successor is another stream.
			r.connect("c1")
			s.End(Gone, "again")
			if !r.c.Connected(r.id("c1")) {
				t.Error("the successor has ended too")
			}
		})
	}
}

// TestLostPeerIsRevoked: partners that only know it as lost are told that it is
// gone, and nothing is relayed for it any more.
func TestLostPeerIsRevoked(t *testing.T) {
	for name, leaver := range map[string]string{"client": "c1", "agent": "a1"} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.pair()
			stays := map[string]string{"c1": "a1", "a1": "c1"}[leaver]
			r.peers[leaver].Close()
			r.expect(stays, "LOST "+leaver+" (lost)")
			r.c.Forget(r.id(leaver), "token revoked")
			r.expect(stays, "DISCONNECTED "+leaver+" (token revoked)")
			if r.c.MayRelay(r.keys["c1"], r.keys["a1"]) {
				t.Error("the relay goes on")
			}
			r.c.Forget(r.id(leaver), "token revoked")
			r.expect(stays, "")
		})
	}
}
