package userspace

import (
	"maps"
	"net/netip"
	"testing"

	"tailscale.com/types/ipproto"
)

func port(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr("fd60:627a:a42b::1"), uint16(n))
}

func TestMeterForgetsNothing(t *testing.T) {
	var m Meter
	local := port(22)
	for n := range 2 * maxFlows {
		of := flow{ipproto.TCP, local, port(n)}
		m.received(of, 60)
		m.received(of, 40)
		m.sent(of, 2, 100)
	}
	m.sent(flow{ipproto.TSMP, local, port(0)}, 1, 1000)
	m.received(flow{ipproto.TSMP, local, port(0)}, 1000)
	got := m.Take()
	if got.Flows["TCP"] != 2048 || len(got.Flows) != 1 {
		t.Errorf("flows %v", got.Flows)
	}
	const packets = 2 * 2 * maxFlows
	if got.RxPackets != packets || got.TxPackets != packets || got.RxBytes != packets*50 || got.TxBytes != packets*50 {
		t.Errorf("got %+v", got)
	}
	// The same flow as last counts again after Take, and once.
	m.received(flow{ipproto.TCP, local, port(2*maxFlows - 1)}, 1)
	if again := m.Take(); again.Flows["TCP"] != 1 {
		t.Errorf("got %+v", again)
	}
	m.received(flow{ipproto.TCP, local, port(2*maxFlows - 1)}, 1)
	m.received(flow{ipproto.UDP, local, port(5)}, 1)
	m.received(flow{ipproto.TCP, local, port(2*maxFlows - 1)}, 1)
	got = m.Take()
	if !maps.Equal(got.Flows, map[string]int64{"TCP": 1, "UDP": 1}) || got.RxPackets != 3 || got.TxPackets != 0 {
		t.Errorf("got %+v", got)
	}
	if got = m.Take(); len(got.Flows) != 0 || got.RxPackets != 0 {
		t.Errorf("got %+v of nothing", got)
	}
}

func BenchmarkMeter(b *testing.B) {
	var m Meter
	flows := [2]flow{{ipproto.TCP, port(22), port(1)}, {ipproto.TCP, port(22), port(2)}}
	b.Run("one flow", func(b *testing.B) {
		for b.Loop() {
			m.received(flows[0], 1280)
		}
	})
	b.Run("two flows in turn", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			m.received(flows[i&1], 1280)
		}
	})
}
