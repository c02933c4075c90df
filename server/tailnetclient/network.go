package tailnetclient

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/tailnetv2"
	"github.com/causewayhq/causeway/server/coordinator"
	"github.com/causewayhq/causeway/tailnet"
	"github.com/causewayhq/causeway/tailnet/userspace"
)

// network is one life of the peer, from the first agent to the last. Its maps
// are under the client's lock.
type network struct {
	client *Client
	id     uuid.UUID // new with each network, as its keys are
	stack  *userspace.Net
	ctx    context.Context
	stop   context.CancelFunc
	inside *inside
	relay  *http.Server
	work   sync.WaitGroup

	homedOnce    sync.Once
	homed        chan struct{} // closed when our node has been told with its relay
	ended        bool
	stream       *coordinator.Stream // nil between two
	destinations map[uuid.UUID]*destination
}

// destination is an agent that we hold a tunnel to.
type destination struct {
	id        uuid.UUID
	known     chan struct{} // closed while the agent's node is known
	asked     bool          // the tunnel was asked for
	users     int
	idleSince time.Time
	conns     map[*conn]struct{}
	// absentSince is when the agent was first seen without a control connection.
	absentSince time.Time
}

// start makes a network. The caller holds the lock.
func (c *Client) start() (*network, error) {
	n := &network{client: c, id: uuid.New(), inside: newInside(), homed: make(chan struct{}), destinations: map[uuid.UUID]*destination{}}
	var own []netip.Prefix
	for _, addr := range proto.AgentAddrs(n.id) {
		own = append(own, netip.PrefixFrom(addr, addr.BitLen()))
	}
	var err error
	n.stack, err = userspace.New(userspace.Config{
		Logger: c.config.Logger, Identity: tailnet.NewIdentity(), NodeID: proto.NodeIDFromUUID(n.id), Addresses: own,
		DirectDisabled: c.config.DirectDisabled, ForceWebsocket: c.config.ForceWebsocket, Relay: tailnet.RelayDial{Connect: n.inside.dial},
	})
	if err != nil {
		return nil, fmt.Errorf("start the server's own network: %w", err)
	}
	n.ctx, n.stop = context.WithCancel(c.ctx)
	n.relay = serverOf(c.config.Relay)
	n.work.Go(func() {
		// It ends with the listener, which is no news.
		_ = n.relay.Serve(n.inside)
	})
	n.stack.Engine().SetRelayMap(ownRelays(c.config.RelayMap()))
	n.work.Go(n.coordinate)
	c.config.Logger.Debug("the server's own network has started", slog.String("peer", n.id.String()))
	return n, nil
}

// add notes an agent. The caller holds the lock.
func (n *network) add(agent uuid.UUID) *destination {
	made := &destination{id: agent, known: make(chan struct{}), conns: map[*conn]struct{}{}}
	n.destinations[agent] = made
	return made
}

// ask asks for the tunnel to an agent, if nobody has, and gives what is closed
// when its node is known.
func (n *network) ask(to *destination) (known <-chan struct{}) {
	n.client.mu.Lock()
	defer n.client.mu.Unlock()
	if !to.asked {
		to.asked = true
		n.announce(to.id)
	}
	return to.known
}

// announce marks the agent in the data plane first, so that its first node
// already finds the mark. The caller holds the lock.
func (n *network) announce(agent uuid.UUID) {
	n.stack.Engine().SetTunnelDestination(agent)
	if n.stream != nil {
		// A stream that has ended is made anew, with all tunnels.
		_ = n.stream.Send(&tailnetv2.CoordinateRequest{AddTunnel: &tailnetv2.CoordinateRequest_Tunnel{Id: agent[:]}})
	}
}

// drop lets go of an agent. The caller holds the lock.
func (n *network) drop(agent uuid.UUID) {
	delete(n.destinations, agent)
	n.stack.Engine().ClearTunnelDestination(agent)
	if n.stream != nil {
		_ = n.stream.Send(&tailnetv2.CoordinateRequest{RemoveTunnel: &tailnetv2.CoordinateRequest_Tunnel{Id: agent[:]}})
	}
}

// again is the pause before a new stream after one that was ended.
const again = 100 * time.Millisecond

// coordinate keeps a stream of the coordinator until the network ends.
func (n *network) coordinate() {
	for n.ctx.Err() == nil {
		err := n.session()
		n.stack.Engine().SetNodeCallback(nil)
		n.stack.Engine().SetControlConnected(false)
		n.stack.Engine().SetAllPeersLost()
		if n.ctx.Err() != nil || errors.Is(err, coordinator.ErrClosed) {
			return
		}
		n.client.config.Logger.Warn("the server's own coordination ended", slog.Any("error", err))
		pause(n.ctx, again)
	}
}

func (n *network) session() error {
	coordinators := n.client.config.Coordinator
	stream, err := coordinators.Connect(n.ctx, n.id, "causeway-server", coordinator.SingleTailnetAuth())
	if err != nil {
		return err
	}
	defer stream.Close()
	n.attach(stream)
	defer n.attach(nil)
	engine := n.stack.Engine()
	engine.SetControlConnected(true)
	engine.SetNodeCallback(func(node *tailnetv2.Node) {
		err := stream.Send(&tailnetv2.CoordinateRequest{UpdateSelf: &tailnetv2.CoordinateRequest_UpdateSelf{Node: node}})
		if err == nil && node.GetPreferredDerp() != 0 {
			n.homedOnce.Do(func() { close(n.homed) })
		}
	})
	for {
		response, err := stream.Recv(n.ctx)
		if err != nil {
			return errors.Join(err, stream.Err())
		}
		if len(response.GetPeerUpdates()) == 0 {
			continue
		}
		if err := engine.UpdatePeers(response.GetPeerUpdates()); err != nil {
			return fmt.Errorf("update peers: %w", err)
		}
		n.follow(response.GetPeerUpdates())
	}
}

// attach takes a new stream into use, which is told all destinations.
func (n *network) attach(stream *coordinator.Stream) {
	n.client.mu.Lock()
	defer n.client.mu.Unlock()
	n.stream = stream
	if stream == nil {
		return
	}
	for id, each := range n.destinations {
		if each.asked {
			n.announce(id)
		}
	}
}

// follow notes which agents can be dialled, and ends what leads to one that has
// left for good. One that is merely lost goes on being served: see tend.
func (n *network) follow(updates []*tailnetv2.CoordinateResponse_PeerUpdate) {
	var orphans []*conn
	n.client.mu.Lock()
	for _, update := range updates {
		id, err := uuid.FromBytes(update.GetId())
		held := n.destinations[id]
		if err != nil || held == nil {
			continue
		}
		switch update.GetKind() {
		case tailnetv2.CoordinateResponse_PeerUpdate_NODE:
			if !held.isKnown() {
				close(held.known)
			}
		case tailnetv2.CoordinateResponse_PeerUpdate_DISCONNECTED:
			if held.isKnown() {
				held.known = make(chan struct{})
			}
			for each := range held.conns {
				orphans = append(orphans, each)
			}
		default:
		}
	}
	n.client.mu.Unlock()
	for _, each := range orphans {
		each.abort(ErrGone)
	}
}

func (d *destination) isKnown() bool {
	select {
	case <-d.known:
		return true
	default:
		return false
	}
}

// dial waits until the agent's node is known, and connects.
func (n *network) dial(ctx context.Context, to *destination, port uint16) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(n.ctx, cancel)()
	n.awaitRelay(ctx)
	select {
	case <-n.ask(to):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	n.meet(ctx, to.id)
	return n.stack.DialTCP(ctx, netip.AddrPortFrom(proto.AddrFromUUID(proto.ServicePrefix, to.id), port))
}

const (
	// relayWait bounds the wait for our relay at the start, and meetWait that for
	// an agent's first answer.
	relayWait, meetWait = 2 * time.Second, 2 * time.Second
	// meetEvery is how often is looked, and of so many looks one begins the
	// handshake anew.
	meetEvery, meetAnew = 50 * time.Millisecond, 5
)

// awaitRelay waits until the agents can answer us: a handshake whose answer is
// lost is repeated after five seconds only. When the time is over, or where there
// is no relay, it is tried all the same.
func (n *network) awaitRelay(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, relayWait)
	defer cancel()
	select {
	case <-n.homed:
	case <-ctx.Done():
	}
	for ctx.Err() == nil && n.stack.Engine().HomeRelay(ctx, false) != nil {
		pause(ctx, meetEvery)
	}
}

func pause(ctx context.Context, wait time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(wait):
	}
}

// meet waits for the first session with an agent: a connection that begins before
// loses its first packet, and repeats it a second later. A handshake whose answer
// was lost, as when the sockets were opened anew meanwhile, is repeated after five
// seconds only; the engine begins one anew for a peer that says it is ready, which
// the agent has said before.
func (n *network) meet(ctx context.Context, agent uuid.UUID) {
	ctx, cancel := context.WithTimeout(ctx, meetWait)
	defer cancel()
	engine, addr := n.stack.Engine(), proto.AddrFromUUID(proto.ServicePrefix, agent)
	ready := []*tailnetv2.CoordinateResponse_PeerUpdate{{Id: agent[:], Kind: tailnetv2.CoordinateResponse_PeerUpdate_READY_FOR_HANDSHAKE}}
	for look := 1; ctx.Err() == nil; look++ {
		status, reachable := engine.Peer(agent)
		if !status.LastHandshake.IsZero() {
			return
		}
		if reachable && look%meetAnew == 0 {
			_ = engine.UpdatePeers(ready)
		}
		once, done := context.WithTimeout(ctx, meetEvery)
		_, _ = engine.Ping(once, addr)
		done()
	}
}

// close ends the network, and tells the agents.
func (n *network) close() {
	n.client.mu.Lock()
	n.ended = true
	var open []*conn
	for _, each := range n.destinations {
		for conn := range each.conns {
			open = append(open, conn)
		}
	}
	if n.stream != nil {
		_ = n.stream.Send(&tailnetv2.CoordinateRequest{Disconnect: &tailnetv2.CoordinateRequest_Disconnect{}})
	}
	n.client.mu.Unlock()
	n.stop()
	for _, each := range open {
		each.abort(ErrClosed)
	}
	if err := n.stack.Close(); err != nil {
		n.client.config.Logger.Warn("the server's own network did not close cleanly", slog.Any("error", err))
	}
	n.inside.Close()
	n.relay.Close()
	n.work.Wait()
}
