package userspace

import (
	"net/netip"
	"strings"
	"sync"

	"tailscale.com/net/packet"
	"tailscale.com/net/tstun"
	"tailscale.com/types/ipproto"
	"tailscale.com/wgengine/filter"
	"tailscale.com/wgengine/netstack/gro"
)

// maxFlows is how many connections are told apart between two calls of Take
// (docs of the protocol, 5.6). The packets of all others are counted too.
const maxFlows = 2048

// Traffic is what went through the tunnel, in IP packets as the stack of this
// node saw them. Upstream's own messages between nodes are not among it.
type Traffic struct {
	// Flows are the connections and flows that had a packet, by protocol ("TCP",
	// "UDP", ...).
	Flows                                  map[string]int64
	RxPackets, RxBytes, TxPackets, TxBytes int64
}

// Meter counts the traffic of the nodes that it is given to, one after the
// other: it outlives them. The zero value is ready. All methods are safe for
// concurrent use.
type Meter struct {
	mu    sync.Mutex
	flows map[flow]struct{}
	// lastIn and lastOut spare the look-up for the next packet of the same flow.
	lastIn, lastOut flow
	traffic         Traffic
}

// flow is one connection, seen from here.
type flow struct {
	proto         ipproto.Proto
	local, remote netip.AddrPort
}

// Take returns what was counted since the last call.
func (m *Meter) Take() Traffic {
	m.mu.Lock()
	defer m.mu.Unlock()
	result := m.traffic
	result.Flows = map[string]int64{}
	for each := range m.flows {
		name, err := each.proto.MarshalText()
		if err != nil {
			name = []byte("unknown")
		}
		result.Flows[strings.ToUpper(string(name))]++
	}
	m.traffic, m.lastIn, m.lastOut = Traffic{}, flow{}, flow{}
	clear(m.flows)
	return result
}

// watch hangs the meter into the packets' way, before the first of them.
// Upstream's own counter sees those that leave, but of those that arrive only
// the ones that the stack leaves for a device, of which there is none here.
func (m *Meter) watch(wrapper *tstun.Wrapper) {
	wrapper.SetConnectionCounter(func(proto ipproto.Proto, source, destination netip.AddrPort, packets, bytes int, received bool) {
		if !received {
			m.sent(flow{proto, source, destination}, packets, bytes)
		}
	})
	next := wrapper.PostFilterPacketInboundFromWireGuard
	wrapper.PostFilterPacketInboundFromWireGuard = func(p *packet.Parsed, w *tstun.Wrapper, batch *gro.GRO) (filter.Response, *gro.GRO) {
		m.received(flow{p.IPProto, p.Dst, p.Src}, len(p.Buffer()))
		return next(p, w, batch)
	}
}

func (m *Meter) received(of flow, bytes int) {
	if of.proto == ipproto.TSMP {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.traffic.RxPackets++
	m.traffic.RxBytes += int64(bytes)
	if of != m.lastIn {
		m.lastIn = of
		m.noteLocked(of)
	}
}

func (m *Meter) sent(of flow, packets, bytes int) {
	if of.proto == ipproto.TSMP {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.traffic.TxPackets += int64(packets)
	m.traffic.TxBytes += int64(bytes)
	if of != m.lastOut {
		m.lastOut = of
		m.noteLocked(of)
	}
}

func (m *Meter) noteLocked(of flow) {
	if _, known := m.flows[of]; known || len(m.flows) >= maxFlows {
		return
	}
	if m.flows == nil {
		m.flows = map[flow]struct{}{}
	}
	m.flows[of] = struct{}{}
}
