package userspace_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// TestHandshakeAgainWhenAcknowledged: a node whose first handshake met a peer
// that did not know it yet tries again when the peer says that it does, and
// does not wait for WireGuard's timer of 5 s.
func TestHandshakeAgainWhenAcknowledged(t *testing.T) {
	relays := startRelay(t, nil)
	a, b := newUserspace(t, relays, nil), newUserspace(t, relays, nil)
	var nodeA, nodeB atomic.Pointer[tailnetv2.Node]
	a.engine.SetNodeCallback(func(node *tailnetv2.Node) { nodeA.Store(node) })
	b.engine.SetNodeCallback(func(node *tailnetv2.Node) { nodeB.Store(node) })
	eventually(t, "own nodes", func() bool { return nodeA.Load() != nil && nodeB.Load() != nil })
	a.engine.SetNodeCallback(nil)
	b.engine.SetNodeCallback(nil)
	update := func(to, about peer, kind tailnetv2.CoordinateResponse_PeerUpdate_Kind, node *tailnetv2.Node) {
		t.Helper()
		err := to.engine.UpdatePeers([]*tailnetv2.CoordinateResponse_PeerUpdate{{Id: about.id[:], Kind: kind, Node: node}})
		if err != nil {
			t.Fatal(err)
		}
	}
	a.engine.Handshake([]uuid.UUID{b.id})
	update(a, b, tailnetv2.CoordinateResponse_PeerUpdate_NODE, nodeB.Load())
	eventually(t, "a lost initiation", func() bool {
		status, found := a.engine.Peer(b.id)
		return found && status.TxBytes > 0
	})
	update(b, a, tailnetv2.CoordinateResponse_PeerUpdate_NODE, nodeA.Load())
	update(a, b, tailnetv2.CoordinateResponse_PeerUpdate_READY_FOR_HANDSHAKE, nil)
	began := time.Now()
	eventually(t, "handshake", func() bool {
		status, found := a.engine.Peer(b.id)
		return found && !status.LastHandshake.IsZero()
	})
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("handshake %v after the acknowledgement", took)
	}
}
