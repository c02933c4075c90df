package tailnet

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
	"tailscale.com/types/views"
)

// directory is the live source of peers that upstream asks on the data path:
// it may be called under upstream's locks and never calls upstream.
type directory struct {
	mu    sync.RWMutex
	byID  map[uuid.UUID]*member
	byKey map[key.NodePublic]*member
	// byAddr lists the peers that claim an address, the first one has it. Every
	// agent may announce the legacy address, so claims overlap.
	byAddr map[netip.Addr][]*member
	// self is our own node.
	self tailcfg.NodeView
	own  map[netip.Addr]bool
}

// member is one programmed peer. Only session changes after it was made.
type member struct {
	id      uuid.UUID
	record  *record
	node    *tailcfg.Node
	view    tailcfg.NodeView
	session *session
}

// session is what we saw of a peer's WireGuard session and path. It survives
// changes of the node.
type session struct {
	// handshake is the last one in Unix nanoseconds, 0 if there was none.
	handshake atomic.Int64
	// tried is when the first handshake began, in Unix nanoseconds, and setup
	// how many nanoseconds it then took to a session.
	tried, setup atomic.Int64
	live         atomic.Bool
	// sent and received are when the last packet went either way, used is when
	// the last one did that carried data, in Unix nanoseconds.
	sent, received, used atomic.Int64
	// repeated is when we last began the handshake anew, in Unix nanoseconds.
	repeated atomic.Int64
	// path is where the last packet went: a UDP endpoint, or upstream's magic
	// relay address with the region as port.
	path atomic.Pointer[netip.AddrPort]
	// measured is when the direct path was last measured while the relay was in
	// use, in Unix nanoseconds, and carried the longest packet that got through,
	// 0 if the path is not known to be too small.
	measured, carried atomic.Int64
	// contact is for the failover.
	contact contact
}

func (s *session) noteHandshake(at time.Time) {
	if at.IsZero() {
		return
	}
	for {
		known := s.handshake.Load()
		if at.UnixNano() <= known || s.handshake.CompareAndSwap(known, at.UnixNano()) {
			return
		}
	}
}

// idlePacket is the largest wire size of what an idle path carries (our own
// nudge with upstream's key advertisement, a bare TCP acknowledgement);
// initiationSize is WireGuard's handshake initiation, the one exception.
const (
	idlePacket     = 112
	initiationSize = 148
)

// notePacket reports whether the path of sent packets changed.
func (s *session) notePacket(now int64, path netip.AddrPort, bytes int, received bool) (moved bool) {
	data := bytes > idlePacket && bytes != initiationSize
	if data {
		s.used.Store(now)
	}
	if received {
		s.received.Store(now)
		s.contact.heard(now, path)
		return false
	}
	s.sent.Store(now)
	if path.Addr() != tailcfg.DerpMagicIPAddr {
		s.contact.said(now, data)
	}
	if known := s.path.Load(); known != nil && *known == path {
		return false
	}
	// A copy, so that the parameter itself stays off the heap.
	changed := path
	s.path.Store(&changed)
	if path.Addr() != tailcfg.DerpMagicIPAddr {
		s.carried.Store(0)
	}
	return true
}

func (s *session) lastHandshake() time.Time {
	if nanoseconds := s.handshake.Load(); nanoseconds != 0 {
		return time.Unix(0, nanoseconds)
	}
	return time.Time{}
}

func newDirectory(self tailcfg.NodeView, addresses []netip.Prefix) *directory {
	d := &directory{
		byID: map[uuid.UUID]*member{}, byKey: map[key.NodePublic]*member{},
		byAddr: map[netip.Addr][]*member{}, self: self, own: map[netip.Addr]bool{},
	}
	for _, prefix := range addresses {
		d.own[prefix.Addr()] = true
	}
	return d
}

// put adds a peer or replaces its node. The record of its session is known if
// it is given, else made.
func (d *directory) put(id uuid.UUID, record *record, node *tailcfg.Node, known *session) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if former := d.byID[id]; former != nil {
		if former.node.Key == node.Key {
			known = former.session
		}
		d.dropLocked(former)
	}
	if known == nil {
		known = &session{}
	}
	added := &member{id: id, record: record, node: node, view: node.View(), session: known}
	d.byID[id], d.byKey[node.Key] = added, added
	for _, prefix := range node.AllowedIPs {
		d.byAddr[prefix.Addr()] = append(d.byAddr[prefix.Addr()], added)
	}
}

// drop removes a peer and returns the record of its session.
func (d *directory) drop(id uuid.UUID) *session {
	d.mu.Lock()
	defer d.mu.Unlock()
	former := d.byID[id]
	if former == nil {
		return nil
	}
	d.dropLocked(former)
	return former.session
}

func (d *directory) dropLocked(former *member) {
	delete(d.byID, former.id)
	if d.byKey[former.node.Key] == former {
		delete(d.byKey, former.node.Key)
	}
	for _, prefix := range former.node.AllowedIPs {
		rest := slices.DeleteFunc(d.byAddr[prefix.Addr()], func(m *member) bool { return m == former })
		if len(rest) == 0 {
			delete(d.byAddr, prefix.Addr())
		} else {
			d.byAddr[prefix.Addr()] = rest
		}
	}
}

func (d *directory) ownerLocked(addr netip.Addr) *member {
	if claims := d.byAddr[addr]; len(claims) > 0 && !d.own[addr] {
		return claims[0]
	}
	return nil
}

// owner is the peer that has an address, nil if there is none.
func (d *directory) owner(addr netip.Addr) *member {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.ownerLocked(addr)
}

func (d *directory) peer(id uuid.UUID) *member {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.byID[id]
}

func (d *directory) withKey(public key.NodePublic) *member {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.byKey[public]
}

// route answers upstream's question which peer gets a packet.
func (d *directory) route(addr netip.Addr) (key.NodePublic, bool) {
	if peer := d.owner(addr); peer != nil {
		return peer.node.Key, true
	}
	return key.NodePublic{}, false
}

// allowed answers which addresses a peer may send from: those of its claims
// that no other peer had before.
func (d *directory) allowed(public key.NodePublic) ([]netip.Prefix, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	peer := d.byKey[public]
	if peer == nil {
		return nil, false
	}
	result := make([]netip.Prefix, 0, len(peer.node.AllowedIPs))
	for _, prefix := range peer.node.AllowedIPs {
		if d.ownerLocked(prefix.Addr()) == peer {
			result = append(result, prefix)
		}
	}
	return result, true
}

// all is every programmed peer.
func (d *directory) all() []*member {
	d.mu.RLock()
	defer d.mu.RUnlock()
	result := make([]*member, 0, len(d.byID))
	for _, peer := range d.byID {
		result = append(result, peer)
	}
	return result
}

// selfNode is our own node in upstream's form.
func selfNode(config Config) *tailcfg.Node {
	return &tailcfg.Node{
		ID: tailcfg.NodeID(config.NodeID), StableID: "self", Name: "self.",
		Key: config.Identity.Node.Public(), DiscoKey: config.Identity.Disco.Public(),
		Addresses: slices.Clone(config.Addresses), AllowedIPs: slices.Clone(config.Addresses),
		MachineAuthorized: true, Hostinfo: (&tailcfg.Hostinfo{}).View(),
	}
}

// SelfAddresses is for tailnet/userspace.
func (e *Engine) SelfAddresses() views.Slice[netip.Prefix] { return e.directory.self.Addresses() }
