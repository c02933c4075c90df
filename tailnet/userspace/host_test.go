package userspace_test

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/tailscale/wireguard-go/tun/tuntest"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/tailnet"
)

// udpPacket is an IPv6/UDP packet with its checksum.
func udpPacket(from, to netip.AddrPort, payload []byte) []byte {
	packet := make([]byte, 48+len(payload))
	packet[0] = 6 << 4
	binary.BigEndian.PutUint16(packet[4:], uint16(8+len(payload)))
	packet[6], packet[7] = 17, 64
	source, target := from.Addr().As16(), to.Addr().As16()
	copy(packet[8:], source[:])
	copy(packet[24:], target[:])
	binary.BigEndian.PutUint16(packet[40:], from.Port())
	binary.BigEndian.PutUint16(packet[42:], to.Port())
	binary.BigEndian.PutUint16(packet[44:], uint16(8+len(payload)))
	copy(packet[48:], payload)
	binary.BigEndian.PutUint16(packet[46:], checksum(packet, 17))
	return packet
}

// echoRequest is an ICMPv6 echo request.
func echoRequest(from, to netip.Addr, sequence uint16) []byte {
	packet := make([]byte, 48+16)
	packet[0] = 6 << 4
	binary.BigEndian.PutUint16(packet[4:], 8+16)
	packet[6], packet[7] = 58, 64
	source, target := from.As16(), to.As16()
	copy(packet[8:], source[:])
	copy(packet[24:], target[:])
	packet[40] = 128
	binary.BigEndian.PutUint16(packet[46:], sequence)
	binary.BigEndian.PutUint16(packet[42:], checksum(packet, 58))
	return packet
}

// checksum is that of the payload of an IPv6 packet whose own checksum is zero.
func checksum(packet []byte, protocol uint32) uint16 {
	sum := uint32(len(packet)-40) + protocol
	for rest := packet[8:]; len(rest) > 0; rest = rest[min(2, len(rest)):] {
		sum += uint32(rest[0]) << 8
		if len(rest) > 1 {
			sum += uint32(rest[1])
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// host is an engine with a device of channels.
type host struct {
	peer
	device *tuntest.ChannelTUN

	mu      sync.Mutex
	arrived [][]byte
}

func newHost(t *testing.T, relays proto.RelayMap, adjust func(*tailnet.Config)) *host {
	t.Helper()
	id := uuid.New()
	h := &host{device: tuntest.NewChannelTUN()}
	config := tailnet.Config{
		Logger: testLogger(), Device: h.device.TUN(), Identity: tailnet.NewIdentity(), NodeID: proto.NodeIDFromUUID(id),
		Addresses: []netip.Prefix{netip.PrefixFrom(proto.AddrFromUUID(proto.ServicePrefix, id), 128)},
	}
	if adjust != nil {
		adjust(&config)
	}
	engine, err := tailnet.New(config)
	if err != nil {
		t.Fatal(err)
	}
	h.peer = peer{id: id, engine: engine}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case packet := <-h.device.Inbound:
				h.mu.Lock()
				h.arrived = append(h.arrived, packet)
				h.mu.Unlock()
			case <-stop:
				return
			}
		}
	}()
	t.Cleanup(func() {
		if err := engine.Close(); err != nil {
			t.Errorf("close engine: %v", err)
		}
		close(stop)
		<-done
	})
	engine.SetControlConnected(true)
	engine.SetRelayMap(relays)
	return h
}

// got says whether a packet for which holds is true has arrived.
func (h *host) got(holds func([]byte) bool) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.ContainsFunc(h.arrived, holds)
}

// sends repeats a packet until something has arrived.
func (h *host) sends(t *testing.T, packet []byte, what string, holds func([]byte) bool) {
	t.Helper()
	eventually(t, what, func() bool {
		select {
		case h.device.Outbound <- slices.Clone(packet):
		case <-time.After(time.Second):
		}
		for range 5 {
			if h.got(holds) {
				return true
			}
			time.Sleep(20 * time.Millisecond)
		}
		return false
	})
}
