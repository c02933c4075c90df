package tailnet

import (
	"context"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"tailscale.com/ipn/ipnstate"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"

	"github.com/causewayhq/causeway/tailnet/wiremtu"
)

// A direct path that cannot carry a full packet looks well to small ones: the
// session opens, and hangs with the first file. Three things keep it out:
//
//   - upstream's probes for a path have full size, see package wiremtu, and the
//     don't-fragment bit, so that such a path is never chosen;
//   - the failover's pings have it too, see there, so that a path that becomes
//     too small is left;
//   - the measurement below finds out why the relay is used, for the status.
//
// The size of probes is upstream's affair on Linux and macOS only. Elsewhere
// the failover's pings alone have to do, and a host without the don't-fragment
// bit has its packets cut to size on the way.

// FullMTU is the least that a direct path must carry to be used, in bytes.
const FullMTU = wiremtu.Full

const (
	// fullPing is the ping, without IP and UDP headers, whose packet is as long
	// as the longest of WireGuard's: 1280 inside, 16 for the header and 16 for
	// the authenticator.
	fullPing = 1280 + 16 + 16
	// header4 and header6 are those of IP and UDP.
	header4, header6 = 28, 48

	// remeasureAfter is how often the path to a peer that has to use the relay is
	// measured, measureIfUsed how lately it must have been in use.
	remeasureAfter = time.Minute
	measureIfUsed  = 30 * time.Second
	// maxMeasured bounds the measurements at the same time.
	maxMeasured = 4
	// tries are the pings of one size, tryPause is what each may take.
	tries    = 3
	tryPause = 400 * time.Millisecond
)

// measured are the sizes that a path is measured with, as packets over IPv4.
var measured = [...]int{600, 1000, 1200, 1280, 1300, 1320, 1340, FullMTU}

// sizing is what the engine keeps for this.
type sizing struct {
	// measuring holds one token for each measurement under way.
	measuring chan struct{}
	// reset is when all paths were last forgotten, in Unix nanoseconds.
	reset atomic.Int64
}

func newSizing() sizing { return sizing{measuring: make(chan struct{}, maxMeasured)} }

// probeFullSize has upstream's probes padded. Reconfig makes it take effect.
func (e *Engine) probeFullSize() { e.system.ControlKnobs().PeerMTUEnable.Store(true) }

// pingSize is that of the failover's pings: 0 is upstream's own choice.
func (e *Engine) pingSize() int {
	if e.magic.PeerMTUEnabled() {
		return 0
	}
	return fullPing
}

// resetEvery is the shortest pause between two resets.
const resetEvery = 30 * time.Second

// resetPaths makes upstream forget the paths to all peers, which it does when
// its discovery is switched. They go through the relay until their next probe
// is answered, one round trip later. It is for a peer that is not ours: ours
// withdraw the one path when asked, see withdraw.go.
func (e *Engine) resetPaths() {
	now := time.Now().UnixNano()
	last := e.sizing.reset.Load()
	if !e.magic.PeerMTUEnabled() || e.magic.DERPs() == 0 || now-last < int64(resetEvery) || !e.sizing.reset.CompareAndSwap(last, now) {
		return
	}
	e.logger.Info("a direct path does not carry full packets, all paths are probed anew")
	knob := &e.system.ControlKnobs().PeerMTUEnable
	knob.Store(false)
	e.magic.UpdatePMTUD()
	knob.Store(true)
	e.magic.UpdatePMTUD()
}

// measureRelayed finds out, for peers that use the relay, whether the direct
// path is too small.
func (e *Engine) measureRelayed(ctx context.Context, now time.Time) {
	for _, peer := range e.directory.all() {
		s := peer.session
		if now.Sub(time.Unix(0, s.used.Load())) < measureIfUsed && now.Sub(time.Unix(0, s.measured.Load())) >= remeasureAfter {
			e.measure(ctx, peer)
		}
	}
}

// measure starts a measurement, unless there is no sense in it.
func (e *Engine) measure(ctx context.Context, peer *member) {
	if !peer.session.relayed() || e.relaysOnly.Load() || len(peer.node.Endpoints) == 0 {
		return
	}
	select {
	case e.sizing.measuring <- struct{}{}:
	default:
		return
	}
	peer.session.measured.Store(time.Now().UnixNano())
	// The callers are counted, so Close is not waiting yet.
	e.running.Go(func() {
		defer func() { <-e.sizing.measuring }()
		carried := e.carries(ctx, peer)
		if ctx.Err() != nil || !peer.session.relayed() || carried >= FullMTU {
			carried = 0
		}
		if was := peer.session.carried.Swap(int64(carried)); was == 0 && carried != 0 {
			e.logger.LogAttrs(ctx, slog.LevelWarn, "direct path is too small, the relay is used",
				slog.String("peer", peer.id.String()), slog.Int("carries", carried), slog.Int("needed", FullMTU))
		}
	})
}

// carries is the longest packet that gets through to a peer directly, 0 if none
// does. Upstream would use a path for data as soon as it answers a small ping.
// So the pings are for a shadow of the peer: a node with the same disco key, to
// which no data is ever sent, as WireGuard does not know its node key.
func (e *Engine) carries(ctx context.Context, peer *member) int {
	shadow := shadowOf(peer).View()
	put := func(do func()) { e.peers.locked(func(time.Time) []change { do(); return nil }) }
	put(func() { e.magic.UpsertPeer(shadow) })
	defer put(func() { e.magic.RemovePeer(shadow.ID()) })
	longest := 0
	for _, packet := range measured {
		length := e.try(ctx, shadow, packet-header4)
		if length == 0 {
			break
		}
		longest = max(longest, length)
	}
	return longest
}

// shadowOf makes the node. Without a home relay nothing is sent through one,
// and the id is one that proto.NodeIDFromUUID gives to no agent we know.
func shadowOf(peer *member) *tailcfg.Node {
	return &tailcfg.Node{
		ID: ^peer.node.ID & (1<<63 - 1), StableID: "shadow-" + peer.node.StableID, Name: "shadow.",
		Key: key.NewNode().Public(), DiscoKey: peer.node.DiscoKey, Endpoints: peer.node.Endpoints,
		MachineAuthorized: true, Hostinfo: (&tailcfg.Hostinfo{}).View(),
	}
}

// try pings a node with packets of one size and says how long the packet was
// that got an answer.
func (e *Engine) try(ctx context.Context, node tailcfg.NodeView, size int) int {
	answers := make(chan *ipnstate.PingResult, 1)
	tick := time.NewTicker(tryPause)
	defer tick.Stop()
	for range tries {
		e.magic.Ping(node, &ipnstate.PingResult{}, size, func(answer *ipnstate.PingResult) {
			select {
			case answers <- answer:
			default:
			}
		})
		select {
		case <-ctx.Done():
			return 0
		case answer := <-answers:
			endpoint, err := netip.ParseAddrPort(answer.Endpoint)
			if answer.Err != "" || err != nil {
				return 0
			}
			if endpoint.Addr().Unmap().Is4() {
				return size + header4
			}
			return size + header6
		case <-tick.C:
		}
	}
	return 0
}
