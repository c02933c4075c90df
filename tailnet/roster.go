package tailnet

import (
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"

	"github.com/causewayhq/causeway/proto/tailnetv2"
)

const (
	// lostAfter is how long a lost peer stays programmed after its last
	// handshake: the control plane may come back while the tunnel still works.
	lostAfter = 15 * time.Minute
	// handshakeWait is how long a peer that we tunnel to gets to acknowledge
	// our node before we start anyway; a handshake before that would only be
	// dropped at its end.
	handshakeWait = 5 * time.Second
)

// change is one thing to do to the engine: program a node, or (node nil) take
// old out of it.
type change struct {
	id        uuid.UUID
	node, old *tailcfg.Node
}

// roster knows who exists and who is to be programmed, and decides; it touches
// nothing. Times come in as arguments, changes go out as results. It is not
// safe for concurrent use.
type roster struct {
	self key.NodePublic
	// direct is false if peers are to be programmed without endpoints.
	direct bool
	// handshake is the last handshake with a key, zero if there was none.
	handshake func(key.NodePublic) time.Time

	peers map[uuid.UUID]*entry
	// waiting holds those of peers that have a deadline.
	waiting map[uuid.UUID]*entry
	byKey   map[key.NodePublic]*entry
	byNode  map[tailcfg.NodeID]*entry
	// destinations are the peers that we tunnel to. The mark outlives the
	// entry, so that a peer that comes back is gated again.
	destinations map[uuid.UUID]struct{}
}

// entry is one peer.
type entry struct {
	id uuid.UUID
	// wire and node are the last good node, nil for a placeholder.
	wire *tailnetv2.Node
	node *tailcfg.Node
	// programmed is the node that the engine has, nil if none.
	programmed *tailcfg.Node
	created    time.Time
	// ready peers may be given to WireGuard.
	ready bool
	lost  bool
	// deadline ends the life of a lost peer, else the wait for readiness.
	deadline time.Time
}

func newRoster(self key.NodePublic, direct bool, handshake func(key.NodePublic) time.Time) *roster {
	return &roster{
		self: self, direct: direct, handshake: handshake,
		peers: map[uuid.UUID]*entry{}, waiting: map[uuid.UUID]*entry{},
		byKey: map[key.NodePublic]*entry{}, byNode: map[tailcfg.NodeID]*entry{},
		destinations: map[uuid.UUID]struct{}{},
	}
}

// setDestination marks a peer that we are about to tunnel to.
func (r *roster) setDestination(id uuid.UUID) { r.destinations[id] = struct{}{} }

// clearDestination forgets the mark. A peer that is there stays as it is.
func (r *roster) clearDestination(id uuid.UUID) { delete(r.destinations, id) }

// update applies one peer update.
func (r *roster) update(now time.Time, update *tailnetv2.CoordinateResponse_PeerUpdate) ([]change, error) {
	id, err := uuid.FromBytes(update.GetId())
	if err != nil {
		return nil, fmt.Errorf("read peer id of %d bytes: want 16", len(update.GetId()))
	}
	switch update.GetKind() {
	case tailnetv2.CoordinateResponse_PeerUpdate_NODE:
		return r.seen(now, id, update.GetNode())
	case tailnetv2.CoordinateResponse_PeerUpdate_READY_FOR_HANDSHAKE:
		return r.acknowledged(now, id), nil
	case tailnetv2.CoordinateResponse_PeerUpdate_LOST:
		if peer := r.peers[id]; peer != nil {
			r.lose(now, peer)
		}
		return nil, nil
	case tailnetv2.CoordinateResponse_PeerUpdate_DISCONNECTED:
		return r.remove(r.peers[id]), nil
	case tailnetv2.CoordinateResponse_PeerUpdate_KIND_UNSPECIFIED:
	}
	return nil, fmt.Errorf("update peer %s: kind %d is unknown", id, update.GetKind())
}

func (r *roster) seen(now time.Time, id uuid.UUID, wire *tailnetv2.Node) ([]change, error) {
	node, err := nodeToUpstream(id, wire, r.direct)
	if err == nil && node.Key == r.self {
		err = errors.New("the node key is our own")
	}
	if err != nil {
		return nil, fmt.Errorf("update peer %s: %w", id, err)
	}
	var changes []change
	if rival := r.byNode[node.ID]; rival != nil && rival.id != id && rival.node.Key != node.Key {
		if !rival.lost {
			return nil, fmt.Errorf("update peer %s: node id %d belongs to peer %s", id, node.ID, rival.id)
		}
		changes = r.remove(rival)
	}
	// The same machine under a new peer id: its session goes on.
	if former := r.byKey[node.Key]; former != nil && former.id != id {
		changes = append(changes, r.remove(former)...)
	}
	peer := r.peers[id]
	if peer == nil {
		_, destination := r.destinations[id]
		peer = &entry{id: id, created: now, ready: !destination}
		r.peers[id] = peer
	}
	peer.lost = false
	r.forgetIndexes(peer)
	if peer.wire == nil || !sameNode(peer.wire, wire) {
		node.Created = peer.created
		peer.wire, peer.node = wire, node
	}
	r.byKey[peer.node.Key], r.byNode[peer.node.ID] = peer, peer
	if !peer.ready {
		r.setDeadline(peer, now.Add(handshakeWait))
		return changes, nil
	}
	r.setDeadline(peer, time.Time{})
	return append(changes, r.program(peer)...), nil
}

// sameNode compares all that matters to the engine: the time of a node does not.
func sameNode(left, right *tailnetv2.Node) bool {
	a, b := proto.CloneOf(left), proto.CloneOf(right)
	a.AsOf, b.AsOf = nil, nil
	return proto.Equal(a, b)
}

func (r *roster) acknowledged(now time.Time, id uuid.UUID) []change {
	peer := r.peers[id]
	if peer == nil {
		r.peers[id] = &entry{id: id, created: now, ready: true}
		return nil
	}
	peer.ready = true
	if peer.lost {
		return nil
	}
	r.setDeadline(peer, time.Time{})
	return r.program(peer)
}

// lose starts, or starts again, the life that a lost peer has left.
func (r *roster) lose(now time.Time, peer *entry) {
	peer.lost = true
	r.setDeadline(peer, now.Add(r.remaining(now, peer)))
}

// remaining is at least one nanosecond, so that a removal is never part of the
// update that led to it.
func (r *roster) remaining(now time.Time, peer *entry) time.Duration {
	if peer.node == nil {
		return time.Nanosecond
	}
	last := r.handshake(peer.node.Key)
	if last.IsZero() {
		return time.Nanosecond
	}
	return max(lostAfter-now.Sub(last), time.Nanosecond)
}

// allLost is for the loss of the control connection: nobody can tell us any
// more who leaves. Timers of peers lost before go on.
func (r *roster) allLost(now time.Time) {
	for _, peer := range r.peers {
		if !peer.lost {
			r.lose(now, peer)
		}
	}
}

// next is the earliest deadline.
func (r *roster) next() (time.Time, bool) {
	var earliest time.Time
	for _, peer := range r.waiting {
		if earliest.IsZero() || peer.deadline.Before(earliest) {
			earliest = peer.deadline
		}
	}
	return earliest, !earliest.IsZero()
}

// expire acts on every deadline that has come.
func (r *roster) expire(now time.Time) []change {
	var changes []change
	for _, peer := range r.waiting {
		switch {
		case peer.deadline.After(now):
		case !peer.lost:
			peer.ready = true
			r.setDeadline(peer, time.Time{})
			changes = append(changes, r.program(peer)...)
		default:
			if left := r.remaining(now, peer); left > time.Nanosecond {
				r.setDeadline(peer, now.Add(left))
				continue
			}
			changes = append(changes, r.remove(peer)...)
		}
	}
	return changes
}

func (r *roster) program(peer *entry) []change {
	if peer.node == nil || peer.node == peer.programmed {
		return nil
	}
	made := change{id: peer.id, node: peer.node, old: peer.programmed}
	peer.programmed = peer.node
	return []change{made}
}

func (r *roster) remove(peer *entry) []change {
	if peer == nil {
		return nil
	}
	r.forgetIndexes(peer)
	delete(r.peers, peer.id)
	delete(r.waiting, peer.id)
	if peer.programmed == nil {
		return nil
	}
	return []change{{id: peer.id, old: peer.programmed}}
}

func (r *roster) forgetIndexes(peer *entry) {
	if peer.node == nil {
		return
	}
	if r.byKey[peer.node.Key] == peer {
		delete(r.byKey, peer.node.Key)
	}
	if r.byNode[peer.node.ID] == peer {
		delete(r.byNode, peer.node.ID)
	}
}

func (r *roster) setDeadline(peer *entry, deadline time.Time) {
	peer.deadline = deadline
	if deadline.IsZero() {
		delete(r.waiting, peer.id)
		return
	}
	r.waiting[peer.id] = peer
}
