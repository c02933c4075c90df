package tailnet

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"tailscale.com/tailcfg"
	"tailscale.com/wgengine"
	"tailscale.com/wgengine/magicsock"

	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// publisher collects what upstream finds out about us and tells it to one
// callback, in one goroutine, whenever it changed.
type publisher struct {
	engine *Engine
	// poked holds one token while there may be something to say.
	poked chan struct{}

	mu  sync.Mutex
	own ownNode
	// statusAsOf is the time of the endpoints; older reports are ignored.
	statusAsOf time.Time
	callback   func(*tailnetv2.Node)
	// again is set when a new callback has to hear what the last one heard.
	again bool

	// last and lastAsOf belong to the goroutine.
	last     *tailnetv2.Node
	lastAsOf time.Time
}

func newPublisher(engine *Engine) *publisher {
	return &publisher{engine: engine, poked: make(chan struct{}, 1), own: ownNode{forced: map[int]string{}}}
}

// SetNodeCallback installs who is told about our own node, nil for nobody. It
// is called at once if a node is known, then after every change, never twice
// at the same time, and under no lock.
func (e *Engine) SetNodeCallback(callback func(*tailnetv2.Node)) {
	e.publisher.mu.Lock()
	defer e.publisher.mu.Unlock()
	e.publisher.callback, e.publisher.again = callback, true
	e.publisher.poke()
}

func (p *publisher) poke() {
	select {
	case p.poked <- struct{}{}:
	default:
	}
}

// setStatus takes our endpoints.
func (p *publisher) setStatus(status *wgengine.Status, err error) {
	if err != nil {
		return
	}
	var endpoints []netip.AddrPort
	for _, endpoint := range status.LocalAddrs {
		if usableEndpoint(endpoint.Addr) && !slices.Contains(endpoints, endpoint.Addr) {
			endpoints = append(endpoints, endpoint.Addr)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if status.AsOf.Before(p.statusAsOf) {
		return
	}
	p.own.endpoints, p.statusAsOf = endpoints, status.AsOf
	p.poke()
}

// setNetInfo takes the latencies. Upstream calls it in goroutines that may
// overtake each other, so the home in it counts only while there is no other.
func (p *publisher) setNetInfo(info *tailcfg.NetInfo) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.own.latency = maps.Clone(info.DERPLatency)
	if p.own.home == 0 {
		p.own.home = info.PreferredDERP
		p.engine.homeRelayChanged()
	}
	p.poke()
}

// setHome takes our home region; these calls come in order.
func (p *publisher) setHome(changed magicsock.HomeDERPChanged) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.own.home = changed.New
	p.engine.homeRelayChanged()
	p.poke()
}

// noHome is for a relay map without a relay: upstream says nothing then.
func (p *publisher) noHome() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.own.home = 0
	p.engine.homeRelayChanged()
}

// setForced takes why a relay is reached by websocket, "" if it is not.
func (p *publisher) setForced(region int, reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.own.forced = maps.Clone(p.own.forced)
	if reason == "" {
		delete(p.own.forced, region)
	} else {
		p.own.forced[region] = reason
	}
	p.poke()
}

// endpoints is a copy of where we can be reached.
func (p *publisher) endpoints() []netip.AddrPort {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.own.endpoints)
}

// home is our home region, 0 if there is none yet.
func (p *publisher) home() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.own.home
}

func (p *publisher) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.poked:
			p.publish()
		}
	}
}

// publish tells what there is to tell. It does not wait for endpoints: after a
// restart, a peer with a direct path to our former life uses the relay for the
// quarter of a second that they take, and loses nothing.
func (p *publisher) publish() {
	p.mu.Lock()
	own, callback, again := p.own, p.callback, p.again
	p.again = false
	p.mu.Unlock()
	if own.home == 0 || callback == nil {
		return
	}
	if p.engine.relaysOnly.Load() {
		own.endpoints = nil
	}
	own.latency = p.engine.latencyToWire(own.latency)
	node, err := p.engine.nodeToWire(own, nil)
	if err != nil {
		p.engine.logger.LogAttrs(context.Background(), slog.LevelError, "cannot describe own node", slog.Any("error", err))
		return
	}
	if p.last == nil || !sameOwn(p.last, node) {
		p.last = proto.CloneOf(node)
		// Monotone also when the clock was set back.
		p.lastAsOf = laterOf(time.Now(), p.lastAsOf.Add(time.Microsecond))
	} else if !again {
		return
	}
	node.AsOf = timestamppb.New(p.lastAsOf)
	callback(node)
}

// sameOwn compares what peers were told with what they would be told; the order
// of addresses and endpoints says nothing.
func sameOwn(told, next *tailnetv2.Node) bool {
	a, b := proto.CloneOf(told), proto.CloneOf(next)
	for _, node := range []*tailnetv2.Node{a, b} {
		node.AsOf = nil
		slices.Sort(node.Addresses)
		slices.Sort(node.AllowedIps)
		slices.Sort(node.Endpoints)
	}
	return proto.Equal(a, b)
}

// latencyToWire is what peers are told of our distance to the relays: what
// upstream measured, unless that may be the distance to other servers.
func (e *Engine) latencyToWire(upstream map[string]float64) map[string]float64 {
	plan, latency := e.homing.current()
	if plan.measured {
		return withMeasured(nil, latency)
	}
	return withMeasured(upstream, e.magic.GetDERPRegionLatency())
}

// withMeasured adds the regions that were measured over HTTP(S), which tells
// no address family.
func withMeasured(latency map[string]float64, measured map[int]time.Duration) map[string]float64 {
	result := maps.Clone(latency)
	if result == nil {
		result = map[string]float64{}
	}
	for region, took := range measured {
		four, six := fmt.Sprintf("%d-v4", region), fmt.Sprintf("%d-v6", region)
		if _, found := result[six]; found {
			continue
		}
		if _, found := result[four]; !found {
			result[four] = took.Seconds()
		}
	}
	return result
}

func laterOf(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
