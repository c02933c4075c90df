package coordinator

import (
	"fmt"

	"github.com/google/uuid"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/causewayhq/causeway/proto/tailnetv2"
)

const (
	kindNode         = tailnetv2.CoordinateResponse_PeerUpdate_NODE
	kindDisconnected = tailnetv2.CoordinateResponse_PeerUpdate_DISCONNECTED
	kindLost         = tailnetv2.CoordinateResponse_PeerUpdate_LOST
	kindReady        = tailnetv2.CoordinateResponse_PeerUpdate_READY_FOR_HANDSHAKE
)

// Field numbers of CoordinateResponse and its PeerUpdate.
const (
	fieldPeerUpdates = 1
	fieldError       = 2

	fieldUpdateID     = 1
	fieldUpdateNode   = 2
	fieldUpdateKind   = 3
	fieldUpdateReason = 4
)

// marshalNode writes equal nodes as equal bytes, which is what suppression
// compares.
func marshalNode(node *tailnetv2.Node) ([]byte, error) {
	wire, err := proto.MarshalOptions{Deterministic: true}.Marshal(node)
	if err != nil {
		return nil, fmt.Errorf("marshal node: %w", err)
	}
	if wire == nil {
		wire = []byte{}
	}
	return wire, nil
}

// appendUpdate appends a response that holds one peer update; node is a
// marshalled node, or nil for none. Responses put one behind another are one
// response with the updates of all, as protobuf concatenation is a merge.
func appendUpdate(out []byte, id uuid.UUID, node []byte, kind tailnetv2.CoordinateResponse_PeerUpdate_Kind, reason string) []byte {
	size := protowire.SizeTag(fieldUpdateID) + protowire.SizeBytes(len(id)) +
		protowire.SizeTag(fieldUpdateKind) + protowire.SizeVarint(uint64(kind))
	if node != nil {
		size += protowire.SizeTag(fieldUpdateNode) + protowire.SizeBytes(len(node))
	}
	if reason != "" {
		size += protowire.SizeTag(fieldUpdateReason) + protowire.SizeBytes(len(reason))
	}
	if out == nil {
		out = make([]byte, 0, protowire.SizeTag(fieldPeerUpdates)+protowire.SizeBytes(size))
	}
	out = protowire.AppendTag(out, fieldPeerUpdates, protowire.BytesType)
	out = protowire.AppendVarint(out, uint64(size))
	out = protowire.AppendTag(out, fieldUpdateID, protowire.BytesType)
	out = protowire.AppendBytes(out, id[:])
	if node != nil {
		out = protowire.AppendTag(out, fieldUpdateNode, protowire.BytesType)
		out = protowire.AppendBytes(out, node)
	}
	out = protowire.AppendTag(out, fieldUpdateKind, protowire.VarintType)
	out = protowire.AppendVarint(out, uint64(kind))
	if reason != "" {
		out = protowire.AppendTag(out, fieldUpdateReason, protowire.BytesType)
		out = protowire.AppendString(out, reason)
	}
	return out
}

// ErrorResponse is the marshalled response that carries only an error.
func ErrorResponse(text string) []byte {
	out := protowire.AppendTag(nil, fieldError, protowire.BytesType)
	return protowire.AppendString(out, text)
}
