package tailnet

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	protobuf "google.golang.org/protobuf/proto"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// announce makes a destination known and ready.
func (e deviceEngine) announce(tb testing.TB, id uuid.UUID, node *tailnetv2.Node) {
	tb.Helper()
	e.SetTunnelDestination(id)
	e.tell(tb, nodeUpdate(id, node), readyUpdate(id))
}

// TestWhatProgramsAPeer: nothing but need makes more of a destination than a record.
func TestWhatProgramsAPeer(t *testing.T) {
	for name, need := range map[string]func(e deviceEngine, id uuid.UUID){
		"packet to the service address":   func(e deviceEngine, id uuid.UUID) { e.send(proto.AgentAddrs(id)[1]) },
		"packet to the Tailscale address": func(e deviceEngine, id uuid.UUID) { e.send(proto.AgentAddrs(id)[0]) },
		"packet to the legacy address":    func(e deviceEngine, _ uuid.UUID) { e.send(proto.LegacyAgentAddr) },
		"handshake":                       func(e deviceEngine, id uuid.UUID) { e.Handshake([]uuid.UUID{id}) },
		"ping": func(e deviceEngine, id uuid.UUID) {
			ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
			defer cancel()
			_, _ = e.Ping(ctx, proto.AgentAddrs(id)[1])
		},
		"packet from it through a relay": func(e deviceEngine, id uuid.UUID) {
			known, _ := e.peers.look(id)
			e.fromRelay(1, known.record.key, []byte("anything"))
		},
		"handshake from it": func(e deviceEngine, id uuid.UUID) {
			known, _ := e.peers.look(id)
			if _, found := e.allowed(known.record.key); found {
				t.Error("a peer that is not programmed may send")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := newDeviceEngine(t, nil)
			id, other := uuid.New(), uuid.New()
			node := testNode(id)
			node.AllowedIps = append(node.AllowedIps, proto.LegacyAgentAddr.String()+"/128")
			e.announce(t, id, node)
			e.announce(t, other, testNode(other))
			e.send(proto.AgentAddrs(uuid.New())[0])             // nobody's
			e.send(netip.MustParseAddr("2001:db8::1"))          // not of the tunnel
			e.tell(t, nodeUpdate(id, node))                     // again
			e.tell(t, nodeUpdate(other, testNode(other)))       // changed
			e.device.Outbound <- []byte{0x60, 0, 0, 0, 0, 0, 0} // no packet at all
			if e.programmed(id) || e.programmed(other) {
				t.Fatal("programmed before anybody needed it")
			}
			need(e, id)
			soon(t, "programming", func() bool { return e.programmed(id) })
			if _, tried := e.upstream.PeerByKey(e.directory.peer(id).node.Key); !tried {
				// What is there but a session that begins?
				soon(t, "WireGuard's own peer", func() bool {
					_, tried := e.upstream.PeerByKey(e.directory.peer(id).node.Key)
					return tried
				})
			}
			if e.programmed(other) {
				t.Error("another peer was programmed too")
			}
		})
	}
}

// TestNeedBeforeReadiness: who needs a peer too early gets it when it is ready.
func TestNeedBeforeReadiness(t *testing.T) {
	for name, need := range map[string]func(e deviceEngine, id uuid.UUID){
		"packet":    func(e deviceEngine, id uuid.UUID) { e.send(proto.AgentAddrs(id)[1]) },
		"handshake": func(e deviceEngine, id uuid.UUID) { e.Handshake([]uuid.UUID{id}) },
	} {
		t.Run(name, func(t *testing.T) {
			e := newDeviceEngine(t, nil)
			id := uuid.New()
			e.SetTunnelDestination(id)
			e.tell(t, nodeUpdate(id, testNode(id)))
			need(e, id)
			soon(t, "the need is noted", func() bool { known, _ := e.peers.look(id); return known.shake })
			if e.programmed(id) {
				t.Fatal("programmed before it was ready")
			}
			e.tell(t, readyUpdate(id))
			if !e.programmed(id) {
				t.Fatal("ready, and needed, but not programmed")
			}
			soon(t, "a session that begins", func() bool {
				_, tried := e.upstream.PeerByKey(e.directory.peer(id).node.Key)
				return tried
			})
		})
	}
}

// TestHandshakeExpected: the peer is not even known yet.
func TestHandshakeExpected(t *testing.T) {
	e := newDeviceEngine(t, nil)
	id := uuid.New()
	e.Handshake([]uuid.UUID{id})
	e.announce(t, id, testNode(id))
	if !e.programmed(id) {
		t.Error("not programmed although somebody waits for it")
	}
}

// TestInboundPeersAtOnce: who tunnels to us may send before we do.
func TestInboundPeersAtOnce(t *testing.T) {
	e := newDeviceEngine(t, nil)
	id := uuid.New()
	e.tell(t, nodeUpdate(id, testNode(id)))
	if !e.programmed(id) {
		t.Error("a peer that we do not tunnel to waits for a packet of ours")
	}
}

func TestNodeWires(t *testing.T) {
	e := newDeviceEngine(t, nil)
	idle, used, unknown := uuid.New(), uuid.New(), uuid.New()
	nodes := map[uuid.UUID]*tailnetv2.Node{idle: testNode(idle), used: testNode(used)}
	for id, node := range nodes {
		e.announce(t, id, node)
	}
	e.Handshake([]uuid.UUID{used})
	wires := e.NodeWires([]uuid.UUID{idle, used, unknown})
	if len(wires) != 2 {
		t.Fatalf("%d nodes, want 2", len(wires))
	}
	// Another engine makes the same of them.
	second := newDeviceEngine(t, nil)
	for id, wire := range wires {
		node := &tailnetv2.Node{}
		if err := protobuf.Unmarshal(wire, node); err != nil {
			t.Fatal(err)
		}
		second.tell(t, nodeUpdate(id, node))
		ours, _ := e.peers.look(id)
		theirs, found := second.peers.look(id)
		if !found || !ours.record.equal(theirs.record) {
			t.Errorf("peer %s came back as another", id)
		}
		got := second.directory.peer(id).node
		if got.HomeDERP != 1 || len(got.Endpoints) != 1 || len(got.Addresses) != 2 {
			t.Errorf("node %+v", got)
		}
	}
}

// TestDirectDisabledLive: endpoints vanish from programmed peers, and come back.
func TestDirectDisabledLive(t *testing.T) {
	e := newDeviceEngine(t, nil)
	id := uuid.New()
	e.announce(t, id, testNode(id))
	e.Handshake([]uuid.UUID{id})
	endpoints := func() int { return len(e.directory.peer(id).node.Endpoints) }
	if endpoints() != 1 {
		t.Fatal("no endpoint to begin with")
	}
	session := e.directory.peer(id).session
	e.SetDirectDisabled(true)
	if endpoints() != 0 || e.directory.peer(id).session != session {
		t.Errorf("direct paths off: %d endpoints", endpoints())
	}
	other := uuid.New()
	e.announce(t, other, testNode(other))
	e.Handshake([]uuid.UUID{other})
	if got := e.directory.peer(other).node.Endpoints; len(got) != 0 {
		t.Errorf("a later peer has endpoints %v", got)
	}
	e.SetDirectDisabled(false)
	if endpoints() != 1 {
		t.Errorf("direct paths on again: %d endpoints", endpoints())
	}
}

// TestPacketsWhilePeersChange: packets, updates, losses and handshakes at the
// same time end, and no lock waits for another's holder.
func TestPacketsWhilePeersChange(t *testing.T) {
	e := newDeviceEngine(t, nil)
	ids, updates := crowd(40)
	for _, id := range ids {
		e.SetTunnelDestination(id)
	}
	e.tell(t, updates...)
	var group sync.WaitGroup
	group.Go(func() {
		for i := range 300 {
			e.send(proto.AgentAddrs(ids[i%len(ids)])[i%2])
		}
	})
	group.Go(func() {
		for range 20 {
			e.tell(t, updates...)
			e.SetAllPeersLost()
		}
		e.tell(t, updates...)
	})
	group.Go(func() {
		for i := range 20 {
			e.Handshake(ids[2*i : 2*i+2])
			if i%5 == 0 {
				e.SetDirectDisabled(i%2 == 0)
			}
		}
	})
	group.Go(func() {
		for i := range 200 {
			i %= len(ids)
			known, _ := e.peers.look(ids[i])
			if known.record != nil {
				e.fromRelay(1, known.record.key, []byte("x"))
			}
			e.Peer(ids[i])
			e.ActivePeers()
		}
	})
	done := make(chan struct{})
	go func() { group.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("somebody waits for ever")
	}
}

// TestRouteAllocatesNothing: it is asked for every packet.
func TestRouteAllocatesNothing(t *testing.T) {
	e := newDeviceEngine(t, nil)
	id := uuid.New()
	e.announce(t, id, testNode(id))
	e.Handshake([]uuid.UUID{id})
	addr, nobody := proto.AgentAddrs(id)[1], proto.AgentAddrs(uuid.New())[1]
	if got := testing.AllocsPerRun(1000, func() {
		if _, found := e.route(addr); !found {
			t.Fatal("no route")
		}
		if _, found := e.route(nobody); found {
			t.Fatal("a route to nobody")
		}
	}); got != 0 {
		t.Errorf("%v allocations", got)
	}
}
