package userspace_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/tailscale/wireguard-go/tun/tuntest"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/tailnetv2"
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

func TestDeviceToUserspace(t *testing.T) {
	relays := startRelay(t, nil)
	resolver := netip.AddrPortFrom(proto.DNSAddr, 53)
	var mu sync.Mutex
	var intercepted [][]byte
	h := newHost(t, relays, func(config *tailnet.Config) {
		config.Service = &tailnet.Service{Addr: resolver.Addr(), Handle: func(packet []byte) {
			mu.Lock()
			defer mu.Unlock()
			intercepted = append(intercepted, slices.Clone(packet))
		}}
	})
	b := newUserspace(t, relays, nil)
	introduce(t, h.peer, b)

	for _, to := range []netip.Addr{b.service(), b.tailscale()} {
		h.sends(t, echoRequest(h.service(), to, 9), "echo reply", func(packet []byte) bool {
			return len(packet) >= 48 && packet[6] == 58 && packet[40] == 129 && [16]byte(packet[8:24]) == to.As16()
		})
	}

	// A datagram of the size that fills the tunnel's MTU of 1280.
	b.net.HandleUDP(func(port uint16) (func(net.Conn), bool) {
		return func(conn net.Conn) {
			defer conn.Close()
			buffer := make([]byte, 2000)
			n, err := conn.Read(buffer)
			if err == nil {
				_, _ = conn.Write(buffer[:n])
			}
		}, port == 7
	})
	from := netip.AddrPortFrom(h.service(), 4000)
	payload := bytes.Repeat([]byte{0xa5}, 1232)
	h.sends(t, udpPacket(from, netip.AddrPortFrom(b.service(), 7), payload), "UDP echo", func(packet []byte) bool {
		return len(packet) == 1280 && packet[6] == 17 && bytes.Equal(packet[48:], payload)
	})

	query := udpPacket(from, resolver, []byte("query"))
	h.device.Outbound <- slices.Clone(query)
	eventually(t, "intercepted query", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(intercepted) > 0 && bytes.Equal(intercepted[0], query)
	})
	answer := udpPacket(resolver, from, []byte("answer"))
	if err := h.engine.SendToHost(answer); err != nil {
		t.Fatal(err)
	}
	eventually(t, "answer at the host", func() bool { return h.got(func(packet []byte) bool { return bytes.Equal(packet, answer) }) })
}

func TestUnclaimedPortsAreRefused(t *testing.T) {
	// Upstream's stack would pass the connection on to this listener.
	trap, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer trap.Close()
	trapped := make(chan struct{}, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := trap.Accept()
			if err != nil {
				return
			}
			conn.Close()
			trapped <- struct{}{}
		}
	}()
	port := uint16(trap.Addr().(*net.TCPAddr).Port)
	relays := startRelay(t, nil)
	a, b := newUserspace(t, relays, nil), newUserspace(t, relays, nil)
	introduce(t, a, b)
	eventually(t, "peer", func() bool { _, found := a.engine.Peer(b.id); return found })
	eventually(t, "peer", func() bool { _, found := b.engine.Peer(a.id); return found })
	for _, to := range []netip.Addr{b.service(), b.tailscale()} {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		conn, err := a.net.DialTCP(ctx, netip.AddrPortFrom(to, port))
		if err == nil {
			conn.Close()
			t.Errorf("%s: an unclaimed port took a connection", to)
		} else if ctx.Err() != nil {
			t.Errorf("%s: the connection was not refused but timed out", to)
		}
		cancel()
	}
	trap.Close()
	<-done
	select {
	case <-trapped:
		t.Error("the connection reached the host's loopback")
	default:
	}
}

func TestListener(t *testing.T) {
	relays := startRelay(t, nil)
	a, b := newUserspace(t, relays, nil), newUserspace(t, relays, nil)
	introduce(t, a, b)
	if _, err := b.net.Listen(0); err == nil {
		t.Error("listened on port 0")
	}
	open, err := b.net.Listen(22)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.net.Listen(22); err == nil {
		t.Error("listened twice on one port")
	}
	accepted := make(chan net.Conn, 1)
	go func() {
		conn, err := open.Accept()
		if err != nil {
			close(accepted)
			return
		}
		accepted <- conn
	}()
	conn := dialTCP(t, a, netip.AddrPortFrom(b.tailscale(), 22))
	far, ok := <-accepted
	if !ok {
		t.Fatal("Accept failed")
	}
	defer far.Close()
	if got := far.RemoteAddr().(*net.TCPAddr).AddrPort().Addr(); got != a.tailscale() {
		t.Errorf("connection comes from %s, want the address of the same prefix %s", got, a.tailscale())
	}
	if _, err := far.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := open.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := open.Accept(); err == nil {
		t.Error("Accept went on after Close")
	}
	again, err := b.net.Listen(22)
	if err != nil {
		t.Fatalf("listen again: %v", err)
	}
	again.Close()
}

// TestOwnNode looks at what peers are told.
func TestOwnNode(t *testing.T) {
	relays := startRelay(t, nil)
	for name, disabled := range map[string]bool{"direct": false, "relayed only": true} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, relays, func(config *tailnet.Config) { config.DirectDisabled = disabled; config.ForceWebsocket = disabled })
			var mu sync.Mutex
			var nodes []*tailnetv2.Node
			record := func(node *tailnetv2.Node) {
				mu.Lock()
				defer mu.Unlock()
				nodes = append(nodes, node)
			}
			newest := func() *tailnetv2.Node {
				mu.Lock()
				defer mu.Unlock()
				if len(nodes) == 0 {
					return nil
				}
				return nodes[len(nodes)-1]
			}
			h.engine.SetNodeCallback(record)
			eventually(t, "node with latency", func() bool {
				node := newest()
				return node != nil && len(node.GetDerpLatency()) > 0 && (disabled || len(node.GetEndpoints()) > 0)
			})
			node := newest()
			if node.GetPreferredDerp() != regionID || len(node.GetKey()) != 34 || string(node.GetKey()[:2]) != "np" ||
				node.GetId() != proto.NodeIDFromUUID(h.id) || len(node.GetAddresses()) != 1 || len(node.GetAllowedIps()) != 1 {
				t.Errorf("node %v", node)
			}
			if disabled && (len(node.GetEndpoints()) != 0 || node.GetDerpForcedWebsocket()[regionID] == "") {
				t.Errorf("endpoints %v, forced websockets %v", node.GetEndpoints(), node.GetDerpForcedWebsocket())
			}
			mu.Lock()
			for i := 1; i < len(nodes); i++ {
				if !nodes[i].GetAsOf().AsTime().After(nodes[i-1].GetAsOf().AsTime()) {
					t.Errorf("node %d is not newer than the one before", i)
				}
				if nodes[i].GetPreferredDerp() == 0 {
					t.Error("a node without home was published")
				}
			}
			count := len(nodes)
			mu.Unlock()
			h.engine.SetNodeCallback(record)
			eventually(t, "node for the new callback", func() bool { mu.Lock(); defer mu.Unlock(); return len(nodes) > count })
		})
	}
}

func TestPortTaken(t *testing.T) {
	relays := startRelay(t, nil)
	first := newHost(t, relays, nil)
	taken := first.engine.Identity()
	if taken.Port == 0 {
		t.Fatal("the port in use is not reported")
	}
	identity := tailnet.NewIdentity()
	identity.Port = taken.Port
	second := newHost(t, relays, func(config *tailnet.Config) { config.Identity = identity })
	if got := second.engine.Identity(); got.Port == 0 || got.Port == taken.Port {
		t.Errorf("second engine is on port %d, the first on %d", got.Port, taken.Port)
	}
}

// TestHandshakeAtOnce: a node that restarts with its identity gets a session
// going before anybody sends a packet.
func TestHandshakeAtOnce(t *testing.T) {
	relays := startRelay(t, nil)
	a, b := newUserspace(t, relays, nil), newUserspace(t, relays, nil)
	a.engine.Handshake([]uuid.UUID{b.id})
	introduce(t, a, b)
	eventually(t, "handshake", func() bool {
		status, found := a.engine.Peer(b.id)
		return found && !status.LastHandshake.IsZero()
	})
	if active := a.engine.ActivePeers(); !slices.Equal(active, []uuid.UUID{b.id}) {
		t.Errorf("active peers %v", active)
	}
}

func TestPeerGoes(t *testing.T) {
	relays := startRelay(t, nil)
	a, b := newUserspace(t, relays, nil), newUserspace(t, relays, nil)
	introduce(t, a, b)
	eventually(t, "peer", func() bool { _, found := a.engine.Peer(b.id); return found })
	a.engine.SetNodeCallback(nil)
	b.engine.SetNodeCallback(nil)
	err := a.engine.UpdatePeers([]*tailnetv2.CoordinateResponse_PeerUpdate{
		{Id: b.id[:], Kind: tailnetv2.CoordinateResponse_PeerUpdate_DISCONNECTED},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, found := a.engine.Peer(b.id); found {
		t.Error("the peer is still programmed")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := a.engine.Ping(ctx, b.service()); err == nil {
		t.Error("a ping reached a peer that is gone")
	}
}
