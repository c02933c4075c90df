package tailnet

import (
	"bytes"
	"net/netip"
	"slices"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"

	cwproto "github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// record is what is kept of a peer's node: what others must not have, and the
// rest in wire form, since most peers are never spoken to. It does not change.
type record struct {
	key  key.NodePublic
	node tailcfg.NodeID
	home int
	// addrs are the addresses that are this peer's alone.
	addrs [][16]byte
	// shared says that it announces the legacy address too, as any agent may.
	shared bool
	wire   []byte
}

func newRecord(node parsed) *record {
	// Marshalling fails for invalid UTF-8 only; what we wrote has none.
	wire, _ := proto.MarshalOptions{Deterministic: true}.Marshal(node.toWire())
	made := &record{key: node.key, node: node.id, home: node.home, wire: slices.Clip(wire)}
	made.addrs = make([][16]byte, 0, len(node.allowed))
	for _, addr := range node.allowed {
		if addr == cwproto.LegacyAgentAddr {
			made.shared = true
			continue
		}
		made.addrs = append(made.addrs, addr.As16())
	}
	return made
}

// upstream is the node in upstream's form. It was checked when the record was made.
func (r *record) upstream(id uuid.UUID, direct bool) *tailcfg.Node {
	node := &tailnetv2.Node{}
	_ = proto.Unmarshal(r.wire, node) // our own writing
	read, _, _ := readNode(node)
	return read.toUpstream(id, direct)
}

// sameMachine says that two nodes have all in common that is theirs alone: one
// machine that is known by two peer ids, because it came back without a resume
// token.
func (r *record) sameMachine(other *record) bool {
	if r.key != other.key || r.node != other.node || len(r.addrs) != len(other.addrs) {
		return false
	}
	for _, addr := range r.addrs {
		if !slices.Contains(other.addrs, addr) {
			return false
		}
	}
	return true
}

// textOf is an address as people read it.
func textOf(addr [16]byte) string { return netip.AddrFrom16(addr).String() }

// equal says that nothing differs that matters to the engine; the time of a
// node, and its distance to relays, do not.
func (r *record) equal(other *record) bool { return bytes.Equal(r.wire, other.wire) }
