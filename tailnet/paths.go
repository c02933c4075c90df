package tailnet

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/google/uuid"
	"tailscale.com/ipn/ipnstate"
	"tailscale.com/tailcfg"
	"tailscale.com/types/ipproto"
	"tailscale.com/types/key"
	"tailscale.com/wgengine"
)

const (
	// activeWindow is how long a peer counts as active after its last packet,
	// the time that upstream keeps a direct path warm.
	activeWindow = 45 * time.Second
	// keepAliveInterval is WireGuard's customary persistent keepalive.
	keepAliveInterval = 25 * time.Second
	// keepAliveWindow is how long after the last packet from a peer its path is
	// kept open.
	keepAliveWindow = 5 * time.Minute
)

// PingResult is one answer to a disco ping.
type PingResult struct {
	Latency time.Duration
	// Direct says that the answer came from Endpoint over UDP; else it came
	// through the relay of RelayRegion.
	Direct      bool
	Endpoint    netip.AddrPort
	RelayRegion int
}

// PeerStatus is what is known of one peer.
type PeerStatus struct {
	// LastHandshake is zero if there was none in this process.
	LastHandshake time.Time
	// Direct says that the last packet to it went to Endpoint over UDP; else
	// it went, or would go, through the relay of RelayRegion.
	Direct      bool
	Endpoint    netip.AddrPort
	RelayRegion int
	// Setup is how long the first session took from the first try; 0 if there
	// was none, or the peer began it.
	Setup time.Duration
	// RxBytes and TxBytes count since WireGuard made the peer: it forgets a
	// peer that was idle for about 9 minutes.
	RxBytes, TxBytes uint64
	// Active says that a packet went either way in the last 45 seconds.
	Active bool
	// PathMTU is what the direct path carries, in bytes, if the relay is used
	// because that is less than FullMTU; else 0.
	PathMTU int
	// Lost says that the control plane no longer vouches for it.
	Lost bool
}

// Ping sends a disco ping to the peer that has an address and waits for the
// answer. It asks again every second until ctx ends, since pings get lost. A
// peer without a session gets one: only packets of a session make upstream
// invite the peer to open its NAT for us.
func (e *Engine) Ping(ctx context.Context, addr netip.Addr) (PingResult, error) {
	if e.directory.owner(addr) == nil {
		e.peers.need(addr)
	}
	peer := e.directory.owner(addr)
	if peer == nil {
		peer = &member{session: &session{}} // upstream says what is wrong
	} else if !peer.session.live.Load() {
		e.nudge(peer)
	}
	answers := make(chan *ipnstate.PingResult, 8)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		e.expect(peer)
		e.upstream.Ping(addr, tailcfg.PingDisco, 0, func(answer *ipnstate.PingResult) {
			peer.session.contact.pinged(answer)
			select {
			case answers <- answer:
			default:
			}
		})
		select {
		case answer := <-answers:
			result, err := e.pingResult(addr, answer)
			if err == nil && result.Direct == peer.session.relayed() {
				e.refresh(peer)
			}
			return result, err
		case <-ctx.Done():
			return PingResult{}, fmt.Errorf("ping %s: %w", addr, ctx.Err())
		case <-tick.C:
			if peer.session.relayed() { // perhaps no longer
				e.refresh(peer)
			}
		}
	}
}

// expect has the failover look at a path that is about to be pinged. Upstream
// sends the ping to the path that it trusts and nowhere else, and each ping has
// it go on with its heartbeats. Those are small, so that a path that has become
// too small for the ping answers them and is trusted for as long as somebody
// pings. The failover otherwise looks at paths that carry data only.
func (e *Engine) expect(peer *member) {
	if path := peer.session.path.Load(); path != nil && path.Addr() != tailcfg.DerpMagicIPAddr {
		peer.session.contact.wanted.Store(time.Now().UnixNano())
		e.failover.sent(peer)
	}
}

// refresh sends a packet if there is a session: pings change upstream's path,
// but only packets tell which one that is.
func (e *Engine) refresh(peer *member) {
	if peer.session.live.Load() {
		e.nudge(peer)
	}
}

func (e *Engine) pingResult(addr netip.Addr, answer *ipnstate.PingResult) (PingResult, error) {
	if answer.Err != "" {
		return PingResult{}, fmt.Errorf("ping %s: %w", addr, errors.New(answer.Err))
	}
	result := PingResult{
		Latency: time.Duration(answer.LatencySeconds * float64(time.Second)), RelayRegion: answer.DERPRegionID,
	}
	if answer.Endpoint != "" {
		endpoint, err := netip.ParseAddrPort(answer.Endpoint)
		if err != nil {
			return PingResult{}, fmt.Errorf("ping %s: read answering endpoint: %w", addr, err)
		}
		result.Direct, result.Endpoint = true, endpoint
	}
	return result, nil
}

// Peer is the state of one peer that can be reached, whether or not it is
// programmed. It is cheap, whatever their number.
func (e *Engine) Peer(id uuid.UUID) (PeerStatus, bool) {
	known, found := e.peers.look(id)
	if !found || known.record == nil || !known.ready {
		return PeerStatus{}, false
	}
	peer := e.directory.peer(id)
	if peer == nil {
		return PeerStatus{RelayRegion: known.record.home, Lost: known.lost}, true
	}
	status := PeerStatus{RelayRegion: peer.node.HomeDERP, Lost: known.lost}
	if active, found := e.upstream.PeerByKey(peer.node.Key); found {
		peer.session.noteHandshake(active.LastHandshake())
		status.RxBytes, status.TxBytes = active.RxBytes(), active.TxBytes()
	}
	status.LastHandshake, status.Setup = peer.session.lastHandshake(), time.Duration(peer.session.setup.Load())
	since := time.Now().Add(-activeWindow).UnixNano()
	status.Active = peer.session.sent.Load() > since || peer.session.received.Load() > since
	status.PathMTU = int(peer.session.carried.Load())
	if path := peer.session.path.Load(); path != nil {
		if path.Addr() == tailcfg.DerpMagicIPAddr {
			status.RelayRegion = int(path.Port())
		} else {
			status.Direct, status.Endpoint = true, *path
		}
	}
	return status, true
}

// ActivePeers are the peers that had a session in this process: after a
// restart they go on using it and have to be told, see Handshake.
func (e *Engine) ActivePeers() []uuid.UUID {
	var result []uuid.UUID
	for _, peer := range e.directory.all() {
		if !e.lastHandshake(peer.node.Key).IsZero() {
			result = append(result, peer.id)
		}
	}
	return result
}

// Handshake starts handshakes with these peers, now or as soon as they become known.
func (e *Engine) Handshake(ids []uuid.UUID) {
	for _, id := range ids {
		e.peers.want(id)
	}
}

// nudge sends a small packet through the tunnel, which makes a session if
// there is none and keeps the path open; the peer's engine swallows it.
func (e *Engine) nudge(peer *member) {
	e.upstream.Ping(peer.node.Addresses[0].Addr(), tailcfg.PingTSMP, 0, func(*ipnstate.PingResult) {})
}

// keepAlive stands for WireGuard's persistent keepalive, which upstream does
// not configure: it keeps the path to peers that were in use a moment ago open.
func (e *Engine) keepAlive(ctx context.Context) {
	tick := time.NewTicker(keepAliveInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			for _, peer := range e.directory.all() {
				if peer.session.needsKeepAlive(now) {
					e.nudge(peer)
				}
			}
			e.measureRelayed(ctx, now)
		}
	}
}

// needsKeepAlive says that a live session had traffic lately but nothing was
// sent for most of an interval.
func (s *session) needsKeepAlive(now time.Time) bool {
	quiet := now.Sub(time.Unix(0, s.sent.Load()))
	return s.live.Load() && quiet > keepAliveInterval/2 && now.Sub(time.Unix(0, s.used.Load())) < keepAliveWindow
}

// Home is our home relay region, 0 if there is none yet, and the measured
// latency of every relay region that answered.
func (e *Engine) Home() (region int, latency map[int]time.Duration) {
	plan, latency := e.homing.current()
	if !plan.measured {
		latency = e.magic.GetDERPRegionLatency()
	}
	return e.publisher.home(), latency
}

// peerForIP answers upstream's questions outside the data path.
func (e *Engine) peerForIP(addr netip.Addr) (wgengine.PeerForIP, bool) {
	if e.directory.own[addr] {
		return wgengine.PeerForIP{Node: e.directory.self, IsSelf: true, Route: netip.PrefixFrom(addr, addr.BitLen())}, true
	}
	peer := e.directory.owner(addr)
	if peer == nil {
		return wgengine.PeerForIP{}, false
	}
	return wgengine.PeerForIP{Node: peer.view, Route: netip.PrefixFrom(addr, addr.BitLen())}, true
}

// sessionChanged is called under WireGuard's locks: it only takes notes.
func (e *Engine) sessionChanged(public key.NodePublic, state wgengine.PeerWireGuardState) {
	peer := e.directory.withKey(public)
	if peer == nil {
		return
	}
	now := time.Now()
	peer.session.live.Store(state == wgengine.PeerWireGuardStateEstablished)
	if state == wgengine.PeerWireGuardStateHandshake {
		peer.session.tried.CompareAndSwap(0, now.UnixNano())
	}
	if state == wgengine.PeerWireGuardStateEstablished {
		first := peer.session.lastHandshake().IsZero()
		peer.session.noteHandshake(now)
		if began := peer.session.tried.Load(); began != 0 {
			peer.session.setup.CompareAndSwap(0, max(now.UnixNano()-began, 1))
		}
		if first && e.config.SessionBegan != nil {
			e.config.SessionBegan()
		}
	}
}

// packetSeen is called for every packet or batch on the wire, source being
// the first tunnel address of the peer.
func (e *Engine) packetSeen(_ ipproto.Proto, source, path netip.AddrPort, _, bytes int, received bool) {
	peer := e.directory.owner(source.Addr())
	if peer == nil {
		return
	}
	moved, relayed := peer.session.notePacket(time.Now().UnixNano(), path, bytes, received), path.Addr() == tailcfg.DerpMagicIPAddr
	switch {
	case moved && relayed:
		e.wantUpgrade(peer)
	case !received && !relayed:
		e.failover.sent(peer)
	}
}

// lastHandshake is the newest one known: upstream forgets a peer that has been
// idle for some minutes, our own record does not.
func (e *Engine) lastHandshake(public key.NodePublic) time.Time {
	peer := e.directory.withKey(public)
	if peer == nil {
		return time.Time{}
	}
	return peer.session.lastHandshake()
}

// refreshHandshakes asks WireGuard for the last handshakes of all peers that it
// may have.
func (e *Engine) refreshHandshakes() {
	for _, peer := range e.directory.all() {
		if active, found := e.upstream.PeerByKey(peer.node.Key); found {
			peer.session.noteHandshake(active.LastHandshake())
		}
	}
}
