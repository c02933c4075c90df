package tailnet

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/google/uuid"
	"tailscale.com/types/key"

	"github.com/causewayhq/causeway/proto"
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

	// maxPeers bounds the peers of which we keep a record, about 1 KB each:
	// five times the largest deployment that we plan for.
	maxPeers = 50_000
	// maxPlaceholders bounds those of them of which nothing but readiness is
	// known, and that we do not tunnel to.
	maxPlaceholders = 4096
	// maxAtOnce bounds the peers that are programmed as soon as they are known,
	// about 6 KB each. Further ones are programmed when they are needed.
	maxAtOnce = 4096
)

// change is one thing to do to the data plane: to program what is recorded of a
// peer, or (record nil) to take the peer out.
type change struct {
	id      uuid.UUID
	record  *record
	created time.Time
	// shake says that somebody waits for a session with the peer.
	shake bool
	// anew says that it is to be programmed again although nothing changed.
	anew bool
}

// self is who we are, which no peer may say it is.
type self struct {
	node  parsed
	addrs map[[16]byte]bool
	// lazy says that peers we tunnel to are programmed only when a packet, or a
	// person, wants to reach them.
	lazy bool
	// agents says that every peer is an agent, whose addresses follow from its id.
	agents bool
}

func selfOf(config Config) self {
	made := self{
		node:  parsed{key: config.Identity.Node.Public(), disco: config.Identity.Disco.Public()},
		addrs: map[[16]byte]bool{}, lazy: config.Device != nil, agents: config.Device != nil,
	}
	for _, prefix := range config.Addresses {
		made.addrs[prefix.Addr().As16()] = true
	}
	return made
}

// roster knows who exists and who is to be programmed, and decides; it touches
// nothing. Times come in as arguments, changes go out as results. It is not
// safe for concurrent use.
type roster struct {
	self self
	// handshake is the last handshake with a key, zero if there was none.
	handshake func(key.NodePublic) time.Time

	peers  map[uuid.UUID]*entry
	claims claims
	// waiting are those of peers that have a deadline.
	waiting deadlines
	// destinations are the peers that we tunnel to. The mark outlives the
	// entry, so that a peer that comes back is gated again.
	destinations map[uuid.UUID]struct{}
	// expected are peers to shake hands with that are not known yet.
	expected map[uuid.UUID]struct{}
	// placeholders and given count those of peers.
	placeholders, given int
}

// entry is one peer.
type entry struct {
	id uuid.UUID
	// record is the last good node, nil for a placeholder.
	record *record
	// given is what the data plane has, nil if nothing.
	given    *record
	created  time.Time
	deadline time.Time // ends the life of a lost peer, else the wait for readiness
	slot     int       // place in the deadlines, from 1; 0 is none
	// ready peers may be given to WireGuard.
	ready bool
	lost  bool
	// lazy peers are given to WireGuard only when they are wanted.
	lazy, wanted bool
	// shake says that somebody waits for a session.
	shake bool
}

func newRoster(self self, handshake func(key.NodePublic) time.Time) *roster {
	return &roster{
		self: self, handshake: handshake, peers: map[uuid.UUID]*entry{}, claims: newClaims(),
		destinations: map[uuid.UUID]struct{}{}, expected: map[uuid.UUID]struct{}{},
	}
}

// setDestination marks a peer that we are about to tunnel to.
func (r *roster) setDestination(id uuid.UUID) { r.destinations[id] = struct{}{} }

// clearDestination forgets the mark. A peer that is there stays as it is.
func (r *roster) clearDestination(id uuid.UUID) { delete(r.destinations, id) }

func (r *roster) destination(id uuid.UUID) bool {
	_, marked := r.destinations[id]
	return marked
}

// update applies one peer update. Changes may come with an error that is a
// warning.
func (r *roster) update(now time.Time, update *tailnetv2.CoordinateResponse_PeerUpdate) ([]change, error) {
	id, err := uuid.FromBytes(update.GetId())
	if err != nil {
		return nil, fmt.Errorf("read peer id of %d bytes: want 16", len(update.GetId()))
	}
	var changes []change
	switch update.GetKind() {
	case tailnetv2.CoordinateResponse_PeerUpdate_NODE:
		changes, err = r.seen(now, id, update.GetNode())
	case tailnetv2.CoordinateResponse_PeerUpdate_READY_FOR_HANDSHAKE:
		changes, err = r.acknowledged(now, id)
	case tailnetv2.CoordinateResponse_PeerUpdate_LOST:
		if peer := r.peers[id]; peer != nil {
			r.lose(now, peer)
		}
	case tailnetv2.CoordinateResponse_PeerUpdate_DISCONNECTED:
		changes = r.remove(r.peers[id])
	default:
		err = fmt.Errorf("kind %d is unknown", update.GetKind())
	}
	if err != nil {
		err = fmt.Errorf("update peer %s: %w", id, err)
	}
	return changes, err
}

func (r *roster) seen(now time.Time, id uuid.UUID, wire *tailnetv2.Node) ([]change, error) {
	node, left, err := readNode(wire)
	if err != nil {
		return nil, err
	}
	if err := r.own(id, node); err != nil {
		return nil, err
	}
	next := newRecord(node)
	rivals, err := r.rivals(id, next)
	if err != nil {
		return nil, err
	}
	peer := r.peers[id]
	if peer == nil {
		if len(r.peers)-len(rivals) >= maxPeers {
			return nil, fmt.Errorf("%d peers are known, no more are taken", len(r.peers))
		}
		peer = r.add(now, id)
		peer.ready = !r.destination(id)
	} else if peer.record == nil {
		r.placeholders--
	}
	var changes []change
	for _, rival := range rivals {
		changes = append(changes, r.remove(rival)...)
	}
	peer.lost = false
	if peer.record == nil || !peer.record.equal(next) {
		r.claims.drop(peer)
		peer.record = next
		r.claims.put(peer)
	}
	if peer.ready {
		r.waiting.set(peer, time.Time{})
		changes = append(changes, r.program(peer)...)
	} else {
		r.waiting.set(peer, now.Add(handshakeWait))
	}
	if left.error != nil {
		return changes, left
	}
	return changes, nil
}

// add makes an entry without a record.
func (r *roster) add(now time.Time, id uuid.UUID) *entry {
	peer := &entry{id: id, created: now, lazy: r.self.lazy && r.destination(id)}
	if _, expected := r.expected[id]; expected {
		delete(r.expected, id)
		peer.wanted, peer.shake = true, true
	}
	r.peers[id] = peer
	return peer
}

// own refuses a node that says it is us, and an agent under an address that is
// not its own.
func (r *roster) own(id uuid.UUID, node parsed) error {
	switch {
	case node.key == r.self.node.key:
		return errors.New("the node key is our own")
	case node.disco == r.self.node.disco:
		return errors.New("the disco key is our own")
	}
	agent := r.self.agents || r.destination(id)
	derived := proto.AgentAddrs(id)
	for _, list := range [][]netip.Addr{node.addresses, node.allowed} {
		for _, addr := range list {
			switch {
			case r.self.addrs[addr.As16()]:
				return fmt.Errorf("address %s is our own", addr)
			case agent && addr != derived[0] && addr != derived[1] && addr != proto.LegacyAgentAddr:
				return fmt.Errorf("address %s does not follow from the agent's id, want %s or %s", addr, derived[0], derived[1])
			}
		}
	}
	return nil
}

func (r *roster) acknowledged(now time.Time, id uuid.UUID) ([]change, error) {
	peer := r.peers[id]
	if peer == nil {
		if !r.destination(id) && r.placeholders >= maxPlaceholders || len(r.peers) >= maxPeers {
			return nil, fmt.Errorf("ready before its node, as %d others: no more are remembered", r.placeholders)
		}
		peer = r.add(now, id)
		r.placeholders++
	}
	peer.ready = true
	if peer.lost || peer.record == nil {
		return nil, nil
	}
	r.waiting.set(peer, time.Time{})
	return r.program(peer), nil
}

// want is for somebody who waits for a session with a peer, now or as soon as
// it is known.
func (r *roster) want(id uuid.UUID) []change {
	peer := r.peers[id]
	if peer == nil {
		r.expected[id] = struct{}{}
		return nil
	}
	peer.wanted, peer.shake = true, true
	return r.program(peer)
}

// need is for a packet that is on its way to an address. It makes a session by
// itself, unless it comes too early.
func (r *roster) need(addr netip.Addr) []change {
	peer := r.claims.owner(addr)
	if peer == nil {
		return nil
	}
	peer.wanted = true
	peer.shake = peer.shake || !peer.ready
	return r.program(peer)
}

// knock is for a packet from the owner of a key that the data plane does not
// have. It is lost; a handshake of our own makes up for it.
func (r *roster) knock(public key.NodePublic) []change {
	peer := r.claims.byKey[public]
	if peer == nil || !peer.ready || peer.given != nil {
		return nil
	}
	peer.wanted, peer.shake = true, true
	return r.program(peer)
}

// program gives a peer to the data plane, or its new node, if that is due.
func (r *roster) program(peer *entry) []change {
	switch {
	case peer.record == nil || !peer.ready:
		return nil
	case peer.given == nil && !peer.wanted && (peer.lazy || r.given >= maxAtOnce):
		return nil
	case peer.given == peer.record && !peer.shake:
		return nil
	}
	if peer.given == nil {
		r.given++
	}
	made := change{id: peer.id, record: peer.record, created: peer.created, shake: peer.shake}
	peer.given, peer.shake = peer.record, false
	return []change{made}
}

func (r *roster) remove(peer *entry) []change {
	if peer == nil {
		return nil
	}
	r.claims.drop(peer)
	r.waiting.set(peer, time.Time{})
	delete(r.peers, peer.id)
	if peer.record == nil {
		r.placeholders--
	}
	if peer.given == nil {
		return nil
	}
	r.given--
	return []change{{id: peer.id}}
}
