package tunnel

import (
	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// replay programs peers as an earlier process knew them. They are not marked
// as destinations: nobody may be there to say that they are ready.
func replay(engine Engine, ids []uuid.UUID, nodes map[uuid.UUID][]byte) {
	var updates []*tailnetv2.CoordinateResponse_PeerUpdate
	for _, id := range ids {
		wire, known := nodes[id]
		if !known {
			continue
		}
		node := &tailnetv2.Node{}
		if proto.Unmarshal(wire, node) == nil {
			updates = append(updates, &tailnetv2.CoordinateResponse_PeerUpdate{
				Id: id[:], Node: node, Kind: tailnetv2.CoordinateResponse_PeerUpdate_NODE, Reason: "known from before",
			})
		}
	}
	if len(updates) > 0 {
		// A node that the data plane refuses is no loss: a new one comes.
		_ = engine.UpdatePeers(updates)
	}
}
