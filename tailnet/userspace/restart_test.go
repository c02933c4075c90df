package userspace_test

import (
	"bytes"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/tailnet"
)

// TestRestartWithIdentity: a node comes back with its keys and shakes hands
// with the peers it had, and what a peer was sending goes on arriving although
// the node itself sends nothing.
func TestRestartWithIdentity(t *testing.T) {
	relays := startRelay(t, nil)
	b := newUserspace(t, relays, nil)
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop) })
	news := []byte("news without end")
	b.net.HandleUDP(func(port uint16) (func(net.Conn), bool) {
		return func(conn net.Conn) {
			defer conn.Close()
			for {
				// Errors while the node is away do not end the flow.
				_, _ = conn.Write(news)
				select {
				case <-stop:
					return
				case <-time.After(20 * time.Millisecond):
				}
			}
		}, port == 7
	})
	arrived := func(h *host) func() bool {
		return func() bool { return h.got(func(packet []byte) bool { return bytes.HasSuffix(packet, news) }) }
	}

	first := newHost(t, relays, nil)
	introduce(t, first.peer, b)
	from := netip.AddrPortFrom(first.service(), 4000)
	first.sends(t, udpPacket(from, netip.AddrPortFrom(b.service(), 7), []byte("subscribe")), "first news",
		func(packet []byte) bool { return bytes.HasSuffix(packet, news) })
	identity := first.engine.Identity()
	active := first.engine.ActivePeers()
	if len(active) != 1 || active[0] != b.id {
		t.Fatalf("active peers %v", active)
	}
	first.engine.SetNodeCallback(nil)
	if err := first.engine.Close(); err != nil {
		t.Fatal(err)
	}

	start := time.Now()
	second := newHost(t, relays, func(config *tailnet.Config) {
		config.Identity, config.NodeID = identity, proto.NodeIDFromUUID(first.id)
		config.Addresses = []netip.Prefix{netip.PrefixFrom(first.service(), 128)}
	})
	second.id = first.id
	if got := second.engine.Identity().Port; got != identity.Port {
		t.Errorf("port %d after the restart, want %d", got, identity.Port)
	}
	second.engine.Handshake([]uuid.UUID{b.id})
	introduce(t, second.peer, b)
	eventually(t, "news after the restart", arrived(second))
	t.Logf("news again after %s", time.Since(start))
}
