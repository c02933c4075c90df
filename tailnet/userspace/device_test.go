package userspace_test

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/tailnetv2"
	"github.com/causewayhq/causeway/tailnet"
)

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
	// A callback that was on its way may bring the peer back once.
	eventually(t, "removal", func() bool {
		err := a.engine.UpdatePeers([]*tailnetv2.CoordinateResponse_PeerUpdate{
			{Id: b.id[:], Kind: tailnetv2.CoordinateResponse_PeerUpdate_DISCONNECTED},
		})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
		_, found := a.engine.Peer(b.id)
		return !found
	})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := a.engine.Ping(ctx, b.service()); err == nil {
		t.Error("a ping reached a peer that is gone")
	}
}
