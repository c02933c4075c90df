package coordinator

import (
	"container/list"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"tailscale.com/types/key"

	"github.com/causewayhq/causeway/proto/tailnetv2"
)

var (
	// ErrClosed is what a closed coordinator answers to Connect. Its text is
	// what the peer is to be told.
	ErrClosed = errors.New("coordinator closed")
	// ErrEnded is what Send answers on a stream that has ended.
	ErrEnded = errors.New("coordination stream ended")
)

// Coordinator introduces peers to each other. It starts no goroutine that
// outlives a call, but for the watch on the context of each stream.
type Coordinator struct {
	logger *slog.Logger

	mu     sync.Mutex
	closed bool
	peers  map[uuid.UUID]*Stream
	// links[a][b] exists while a tunnel exists between a and b in either
	// direction, and then links[b][a] does too. The peers need not be connected.
	links map[uuid.UUID]map[uuid.UUID]*link
	// doomed are peers whose queue was full when they had to hear something;
	// settle removes them once the change at hand is done. This keeps removal
	// from calling itself.
	doomed     []*Stream
	agents     map[[10]byte]int // host parts of connected agents' addresses
	clients    map[[10]byte]int // host parts of clients' addresses
	overwrites uint64
	tooSlow    uint64
	permits    permits

	watches sync.WaitGroup // running context watches
}

// link is what one peer has to do with one tunnel partner.
type link struct {
	out  bool   // this peer opened a tunnel to the partner
	in   bool   // the partner opened one to this peer
	sent []byte // node of the partner that this peer last heard; nil: none
}

// New makes an empty coordinator.
func New(logger *slog.Logger) *Coordinator {
	return &Coordinator{
		logger:  logger,
		peers:   map[uuid.UUID]*Stream{},
		links:   map[uuid.UUID]map[uuid.UUID]*link{},
		agents:  map[[10]byte]int{},
		clients: map[[10]byte]int{},
		permits: permits{byKey: map[key.NodePublic][]*claim{}, byID: map[uuid.UUID]*claim{}, served: served{byID: map[uuid.UUID]*list.Element{}}},
	}
}

// Connect makes a stream for the peer of that id, which the caller has
// authenticated; name is for the debug page. When a stream of the same id
// exists, the new one takes over its tunnels and the old one ends. The first
// responses hold the nodes of all tunnel partners. When ctx ends the peer is
// lost. On a closed coordinator the answer is ErrClosed.
func (c *Coordinator) Connect(ctx context.Context, id uuid.UUID, name string, auth Auth) (*Stream, error) {
	s := &Stream{
		owner: c, ctx: ctx, id: id, name: name, auth: auth, class: classOf(auth), since: time.Now(),
		ready: make(chan struct{}, 1), done: make(chan struct{}),
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ErrClosed
	}
	if old := c.peers[id]; old != nil {
		c.overwrites++
		c.retire(old)
		old.finish("peer ID overwritten by new connection", false)
	}
	c.peers[id] = s
	if s.class == classAgent {
		c.claimAgentAddrs(s)
	}
	c.sendInit(s)
	c.settle()
	// The watch starts last: with a context that has ended it runs at once, and
	// then waits for the lock.
	c.watches.Add(1)
	watch := context.AfterFunc(ctx, func() {
		defer c.watches.Done()
		c.lose(s, context.Cause(ctx).Error())
	})
	s.stop = func() bool {
		stopped := watch()
		if stopped {
			c.watches.Done()
		}
		return stopped
	}
	if s.removed {
		s.stop()
	}
	return s, nil
}

// sendInit tells a new connection the nodes of all its tunnel partners.
func (c *Coordinator) sendInit(s *Stream) {
	batch := response{}
	for partner, l := range c.links[s.id] {
		peer := c.peers[partner]
		if peer == nil || peer.node == nil {
			continue
		}
		l.sent = peer.node
		if batch.updates == updatesLimit || len(batch.wire)+len(peer.node) > responseLimit {
			c.push(s, batch)
			batch = response{}
		}
		batch.wire = appendUpdate(batch.wire, partner, peer.node, kindNode, "init")
		batch.updates++
	}
	if batch.updates > 0 {
		c.push(s, batch)
	}
}

// Close ends every stream with the error "coordinator closed", after it told
// all partners, and refuses new ones. It waits for the context watches.
func (c *Coordinator) Close() error {
	c.mu.Lock()
	c.closed = true
	all := make([]*Stream, 0, len(c.peers))
	for _, s := range c.peers {
		all = append(all, s)
	}
	for _, s := range all {
		c.remove(s, departure{kind: kindLost, reason: "coordinator close", text: ErrClosed.Error()})
	}
	c.settle()
	c.mu.Unlock()
	c.watches.Wait()
	return nil
}

// Node is a copy of the newest node of a connected peer; nil if the peer is
// not connected or has not announced a node.
func (c *Coordinator) Node(id uuid.UUID) *tailnetv2.Node {
	c.mu.Lock()
	s := c.peers[id]
	var wire []byte
	if s != nil {
		wire = s.node
	}
	c.mu.Unlock()
	if wire == nil {
		return nil
	}
	node := &tailnetv2.Node{}
	if err := proto.Unmarshal(wire, node); err != nil {
		c.logger.Error("unmarshal node of connected peer", slog.String("peer", id.String()), slog.Any("error", err))
		return nil
	}
	return node
}

// Connected says whether a peer of that id has a stream now.
func (c *Coordinator) Connected(id uuid.UUID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.peers[id] != nil
}

// Forget ends what a peer that is lost was left with. Those hear that were its
// partners when it was lost: they may still serve it, with or without the
// relay. A peer that is connected is left alone.
func (c *Coordinator) Forget(id uuid.UUID, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.peers[id] != nil {
		return
	}
	c.tellServing(id, appendUpdate(nil, id, nil, kindDisconnected, reason), nil)
	c.permits.revoke(id)
	c.settle()
}

// tellServing tells those that may still serve a peer from before it was lost
// that it is gone, but for those that were told.
func (c *Coordinator) tellServing(id uuid.UUID, wire []byte, told map[uuid.UUID]struct{}) {
	for partner := range c.permits.served.of(id, time.Now()) {
		if _, knows := told[partner]; !knows {
			c.push(c.peers[partner], response{wire: wire, updates: 1})
		}
	}
}

// Ending is how a stream ends that the control plane ends, and so what partners hear.
type Ending int

// The ways to end a stream.
const (
	// Lost is trouble of this one connection: LOST, "lost".
	Lost Ending = iota
	// Closing is the end of the server: LOST, "coordinator close".
	Closing
	// Gone is the end of the peer's rights: DISCONNECTED, with the reason that
	// the peer hears too. Nothing that MayRelay grants to a lost peer is left.
	Gone
)

// End ends the stream with reason as its error, and drops the tunnels that the
// peer opened. A stream that has ended is left alone, and so is its successor.
func (s *Stream) End(how Ending, reason string) {
	c := s.owner
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.removed {
		return
	}
	switch how {
	case Lost:
		c.remove(s, departure{kind: kindLost, reason: "lost", text: reason})
	case Closing:
		c.remove(s, departure{kind: kindLost, reason: "coordinator close", text: reason})
	case Gone:
		c.remove(s, departure{kind: kindDisconnected, reason: reason, text: reason})
	}
	c.settle()
}

// lose removes a peer whose stream broke, and tells it why if it can still hear.
func (c *Coordinator) lose(s *Stream, text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(s, departure{kind: kindLost, reason: "lost", text: text})
	c.settle()
}

// departure is how a peer leaves.
type departure struct {
	kind   tailnetv2.CoordinateResponse_PeerUpdate_Kind
	reason string // for the partners
	text   string // error for the peer itself, empty for a plain end
	drop   bool   // throw away the peer's queue
}

// remove forgets a peer: its partners hear of it, the tunnels that it opened
// are dropped, its stream ends. Those that lead to it stay. When it is gone for
// good, those hear of it too that serve it from before it was lost. A stream that
// was removed or taken over already is left alone, and so is its successor.
func (c *Coordinator) remove(s *Stream, how departure) {
	if s.removed {
		return
	}
	delete(c.peers, s.id)
	c.leavePermits(s, how.kind == kindLost)
	wire := appendUpdate(nil, s.id, nil, how.kind, how.reason)
	told := map[uuid.UUID]struct{}{}
	for partner, l := range c.links[s.id] {
		mirror := c.links[partner][s.id]
		if mirror.sent != nil {
			mirror.sent = nil
			c.push(c.peers[partner], response{wire: wire, updates: 1})
			told[partner] = struct{}{}
		}
		l.out, mirror.in = false, false
		c.unlinkIfIdle(s.id, partner)
	}
	if how.kind == kindDisconnected {
		c.tellServing(s.id, wire, told)
		c.permits.revoke(s.id)
	}
	c.retire(s)
	s.finish(how.text, how.drop)
}

// retire takes a stream out of everything but the tunnels, which a successor
// inherits without what the stream had been told. It keeps the tunnels'
// partners uninformed, so a takeover is silent to them.
func (c *Coordinator) retire(s *Stream) {
	s.removed = true
	for _, l := range c.links[s.id] {
		l.sent = nil
	}
	if s.class == classAgent {
		decrement(c.agents, hostPart(s.id))
	}
	for _, suffix := range s.suffixes {
		decrement(c.clients, suffix)
	}
	s.suffixes = nil
	if s.stop != nil {
		s.stop()
	}
}

// push queues a response for a peer, which may be nil: then nobody is there to
// hear it.
func (c *Coordinator) push(s *Stream, next response) {
	if s == nil || s.removed {
		return
	}
	if !s.push(next) {
		c.doomed = append(c.doomed, s)
	}
}

// settle removes the peers that turned out to be too slow, and those that
// turned out so by that, until none is left. Every change ends with it.
func (c *Coordinator) settle() {
	for len(c.doomed) > 0 {
		s := c.doomed[len(c.doomed)-1]
		c.doomed = c.doomed[:len(c.doomed)-1]
		if s.removed {
			continue
		}
		c.tooSlow++
		c.logger.Warn("remove peer that does not read its updates", slog.String("peer", s.id.String()), slog.String("name", s.name))
		c.remove(s, departure{kind: kindDisconnected, reason: "failed update", text: "failed to update tunnel peer mapping", drop: true})
	}
	c.doomed = nil
}

func decrement(counts map[[10]byte]int, at [10]byte) {
	if counts[at]--; counts[at] <= 0 {
		delete(counts, at)
	}
}
