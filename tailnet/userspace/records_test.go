package userspace_test

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/tailnetv2"
	"github.com/causewayhq/causeway/tailnet"
	"github.com/causewayhq/causeway/tailnet/userspace"
)

// knowAgent makes an agent a destination of a host, as the product does, and
// the host known to the agent.
func knowAgent(t *testing.T, h *host, agent peer) {
	t.Helper()
	h.engine.SetTunnelDestination(agent.id)
	ready := &tailnetv2.CoordinateResponse_PeerUpdate{Id: agent.id[:], Kind: tailnetv2.CoordinateResponse_PeerUpdate_READY_FOR_HANDSHAKE}
	if err := h.engine.UpdatePeers([]*tailnetv2.CoordinateResponse_PeerUpdate{ready}); err != nil {
		t.Fatal(err)
	}
	introduce(t, h.peer, agent)
	for _, side := range []struct{ from, to peer }{{h.peer, agent}, {agent, h.peer}} {
		eventually(t, "peer", func() bool { _, found := side.from.engine.Peer(side.to.id); return found })
	}
}

// TestFirstPacketToARecord: the packet that programs its agent is not lost.
func TestFirstPacketToARecord(t *testing.T) {
	relays := startRelay(t, nil)
	h := newHost(t, relays, nil)
	agent := newUserspace(t, relays, nil)
	knowAgent(t, h, agent)
	if h.engine.ActivePeers() != nil {
		t.Fatal("the agent is in use before anybody used it")
	}
	before := time.Now()
	h.device.Outbound <- echoRequest(h.service(), agent.service(), 3)
	eventually(t, "echo reply to the only request", func() bool {
		return h.got(func(packet []byte) bool {
			return len(packet) >= 48 && packet[6] == 58 && packet[40] == 129 && [16]byte(packet[8:24]) == agent.service().As16()
		})
	})
	t.Logf("answered after %s", time.Since(before))
}

// TestAgentSpeaksFirst: an agent that still has a session with us from before a
// restart sends to a process that has no more than a record of it, and gets
// through at once, by the relay and directly.
func TestAgentSpeaksFirst(t *testing.T) {
	relays := startRelay(t, nil)
	for _, relayed := range []bool{true, false} {
		t.Run(fmt.Sprintf("relayed=%v", relayed), func(t *testing.T) {
			agent := newUserspace(t, relays, func(config *userspace.Config) { config.DirectDisabled = relayed })
			news := []byte("news without end")
			stop := make(chan struct{})
			t.Cleanup(func() { close(stop) })
			agent.net.HandleUDP(func(port uint16) (func(net.Conn), bool) {
				return func(conn net.Conn) {
					defer conn.Close()
					for {
						_, _ = conn.Write(news)
						select {
						case <-stop:
							return
						case <-time.After(20 * time.Millisecond):
						}
					}
				}, port == 7
			})
			first := newHost(t, relays, func(config *tailnet.Config) { config.DirectDisabled = relayed })
			knowAgent(t, first, agent)
			arrived := func(h *host) func() bool {
				return func() bool { return h.got(func(packet []byte) bool { return bytes.HasSuffix(packet, news) }) }
			}
			from := netip.AddrPortFrom(first.service(), 4000)
			first.sends(t, udpPacket(from, netip.AddrPortFrom(agent.service(), 7), []byte("subscribe")), "first news",
				func(packet []byte) bool { return bytes.HasSuffix(packet, news) })
			identity := first.engine.Identity()
			first.engine.SetNodeCallback(nil)
			if err := first.engine.Close(); err != nil {
				t.Fatal(err)
			}

			second := newHost(t, relays, func(config *tailnet.Config) {
				config.Identity, config.NodeID, config.DirectDisabled = identity, proto.NodeIDFromUUID(first.id), relayed
				config.Addresses = []netip.Prefix{netip.PrefixFrom(first.service(), 128)}
			})
			second.id = first.id
			knowAgent(t, second, agent)
			began := time.Now()
			eventually(t, "news although we sent nothing", arrived(second))
			took := time.Since(began)
			t.Logf("news after %s", took)
			// WireGuard of the agent tries by itself 15 s after it last heard of us.
			if took > 14*time.Second {
				t.Errorf("it took %s", took)
			}
			if status, _ := second.engine.Peer(agent.id); status.LastHandshake.IsZero() {
				t.Error("no handshake")
			}
		})
	}
}
