package tunnel

import (
	"maps"
	"sync"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// recorder is the data plane, with a memory of the last node of each peer.
type recorder struct {
	Engine
	mu    sync.Mutex
	nodes map[uuid.UUID][]byte // wire form, which is small
}

func newRecorder(engine Engine, kept map[uuid.UUID][]byte) *recorder {
	r := &recorder{Engine: engine, nodes: map[uuid.UUID][]byte{}}
	maps.Copy(r.nodes, kept)
	return r
}

// UpdatePeers remembers what passes by.
func (r *recorder) UpdatePeers(updates []*tailnetv2.CoordinateResponse_PeerUpdate) error {
	r.mu.Lock()
	for _, update := range updates {
		if len(update.GetId()) != 16 {
			continue
		}
		id := uuid.UUID(update.GetId())
		switch update.GetKind() {
		case tailnetv2.CoordinateResponse_PeerUpdate_NODE:
			if wire, err := proto.Marshal(update.GetNode()); err == nil {
				r.nodes[id] = wire
			}
		case tailnetv2.CoordinateResponse_PeerUpdate_DISCONNECTED:
			delete(r.nodes, id)
		case tailnetv2.CoordinateResponse_PeerUpdate_KIND_UNSPECIFIED, tailnetv2.CoordinateResponse_PeerUpdate_LOST,
			tailnetv2.CoordinateResponse_PeerUpdate_READY_FOR_HANDSHAKE:
			// A lost peer may still be there, and the others say nothing of its node.
		}
	}
	r.mu.Unlock()
	return r.Engine.UpdatePeers(updates)
}

// nodesOf gives the nodes of some peers, for the disk.
func (r *recorder) nodesOf(ids []uuid.UUID) map[uuid.UUID][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	nodes := make(map[uuid.UUID][]byte, len(ids))
	for _, id := range ids {
		if wire, known := r.nodes[id]; known {
			nodes[id] = wire
		}
	}
	return nodes
}

// replay programs peers as an earlier process knew them. They are not marked
// as destinations: nobody may be there to say that they are ready.
func (r *recorder) replay(ids []uuid.UUID) {
	var updates []*tailnetv2.CoordinateResponse_PeerUpdate
	for id, wire := range r.nodesOf(ids) {
		var node tailnetv2.Node
		if proto.Unmarshal(wire, &node) == nil {
			updates = append(updates, &tailnetv2.CoordinateResponse_PeerUpdate{
				Id: id[:], Node: &node, Kind: tailnetv2.CoordinateResponse_PeerUpdate_NODE, Reason: "known from before",
			})
		}
	}
	if len(updates) > 0 {
		// A node that the data plane refuses is no loss: a new one comes.
		_ = r.Engine.UpdatePeers(updates)
	}
}
