package tailnet

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/uuid"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"

	"github.com/causewayhq/causeway/proto"
)

// claims find a peer by what only one peer can have. A node that claims what
// another peer has is refused, so that no lie about one peer can take another's
// traffic away; see rivals for who gives way.
type claims struct {
	byKey  map[key.NodePublic]*entry
	byNode map[tailcfg.NodeID]*entry
	byAddr map[[16]byte]*entry
	// legacy are the peers that announce the legacy address, which has no one owner.
	legacy map[*entry]struct{}
}

func newClaims() claims {
	return claims{
		byKey: map[key.NodePublic]*entry{}, byNode: map[tailcfg.NodeID]*entry{},
		byAddr: map[[16]byte]*entry{}, legacy: map[*entry]struct{}{},
	}
}

// put notes what a peer's record claims; nobody else has any of it.
func (c *claims) put(peer *entry) {
	c.byKey[peer.record.key], c.byNode[peer.record.node] = peer, peer
	for _, addr := range peer.record.addrs {
		c.byAddr[addr] = peer
	}
	if peer.record.shared {
		c.legacy[peer] = struct{}{}
	}
}

func (c *claims) drop(peer *entry) {
	if peer.record == nil {
		return
	}
	delete(c.byKey, peer.record.key)
	delete(c.byNode, peer.record.node)
	for _, addr := range peer.record.addrs {
		delete(c.byAddr, addr)
	}
	delete(c.legacy, peer)
}

// owner is the peer that has an address, nil if there is none. The legacy
// address is that of the ready peer that has been known for the longest time.
func (c *claims) owner(addr netip.Addr) *entry {
	if addr != proto.LegacyAgentAddr {
		return c.byAddr[addr.As16()]
	}
	var first *entry
	for peer := range c.legacy {
		if peer.ready && (first == nil || peer.created.Before(first.created)) {
			first = peer
		}
	}
	return first
}

// derived says that a node id is the one that follows from a peer's id, as with
// every agent. Such a peer gets it back from one that took it while it was away.
func derived(node tailcfg.NodeID, id uuid.UUID) bool { return int64(node) == proto.NodeIDFromUUID(id) }

// rivals are the peers that a node has to take the place of. It is an error if
// one of them does not give way: a peer gives way when it is lost, or is the
// same machine under another id, but never to a peer that matters less, as one
// that we do not tunnel to; to one that matters more it always does.
func (r *roster) rivals(id uuid.UUID, next *record) ([]*entry, error) {
	var found []*entry
	check := func(rival *entry, what string) error {
		if rival == nil || rival.id == id {
			return nil
		}
		ours, theirs := r.destination(id), r.destination(rival.id)
		gives := rival.lost || rival.record.sameMachine(next)
		if theirs && !ours || ours == theirs && !gives {
			return fmt.Errorf("%s belongs to peer %s", what, rival.id)
		}
		if !slices.Contains(found, rival) {
			found = append(found, rival)
		}
		return nil
	}
	if err := check(r.claims.byKey[next.key], "the node key"); err != nil {
		return nil, err
	}
	if rival := r.claims.byNode[next.node]; rival != nil && rival.id != id {
		if derived(next.node, id) && !derived(next.node, rival.id) {
			if !slices.Contains(found, rival) {
				found = append(found, rival)
			}
		} else if err := check(rival, fmt.Sprintf("node id %d", next.node)); err != nil {
			return nil, err
		}
	}
	for _, addr := range next.addrs {
		if rival := r.claims.byAddr[addr]; rival != nil && rival.id != id {
			if err := check(rival, "address "+textOf(addr)); err != nil {
				return nil, err
			}
		}
	}
	return found, nil
}
