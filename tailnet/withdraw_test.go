package tailnet

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"tailscale.com/derp/derpserver"
	"tailscale.com/net/tstun"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// relayForTest serves one relay without STUN.
func relayForTest(t *testing.T) proto.RelayMap {
	t.Helper()
	server := derpserver.New(key.NewNode(), func(string, ...any) {})
	mux := http.NewServeMux()
	mux.Handle("/derp", derpserver.AddWebSocketSupport(server, derpserver.Handler(server)))
	mux.HandleFunc("/derp/latency-check", func(http.ResponseWriter, *http.Request) {})
	web := httptest.NewServer(mux)
	t.Cleanup(func() { server.Close(); web.CloseClientConnections(); web.Close() })
	_, text, _ := net.SplitHostPort(web.Listener.Addr().String())
	port, _ := strconv.Atoi(text)
	return proto.RelayMap{
		DERPMap: &tailcfg.DERPMap{OmitDefaultRegions: true, Regions: map[int]*tailcfg.DERPRegion{7: {
			RegionID: 7, RegionCode: "test",
			Nodes: []*tailcfg.DERPNode{{
				Name: "7a", RegionID: 7, HostName: "127.0.0.1", IPv4: "127.0.0.1", IPv6: "none", DERPPort: port, STUNPort: -1,
			}},
		}}},
		Embedded: map[int]bool{7: true}, PlainHTTP: map[string]bool{"7a": true},
	}
}

// engineForTest is an engine whose host never sends anything.
func engineForTest(t *testing.T, relays proto.RelayMap) (uuid.UUID, *Engine) {
	t.Helper()
	id := uuid.New()
	engine, err := New(Config{
		Logger: slog.New(slog.DiscardHandler), Device: tstun.NewFake(), Identity: NewIdentity(), NodeID: proto.NodeIDFromUUID(id),
		Addresses: []netip.Prefix{netip.PrefixFrom(proto.AddrFromUUID(proto.TailscalePrefix, id), 128)},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		engine.SetNodeCallback(nil)
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	engine.SetControlConnected(true)
	engine.SetRelayMap(relays)
	return id, engine
}

// couple plays the coordinator.
func couple(fromID uuid.UUID, from, to *Engine) {
	from.SetNodeCallback(func(node *tailnetv2.Node) {
		_ = to.UpdatePeers([]*tailnetv2.CoordinateResponse_PeerUpdate{
			{Id: fromID[:], Kind: tailnetv2.CoordinateResponse_PeerUpdate_NODE, Node: node},
		})
	})
}

// until polls, since upstream tells nobody.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			t.Fatalf("timed out: %s", what)
		case <-tick.C:
		}
	}
}

// TestWithdrawal shows that upstream forgets a direct path in use when the peer
// withdraws it, on both sides, and that the session lives on and goes direct again.
func TestWithdrawal(t *testing.T) {
	relays := relayForTest(t)
	leftID, left := engineForTest(t, relays)
	rightID, right := engineForTest(t, relays)
	couple(leftID, left, right)
	couple(rightID, right, left)
	until(t, "no direct path", func() bool {
		there, back := left.directory.peer(rightID), right.directory.peer(leftID)
		if there == nil || back == nil {
			return false
		}
		left.nudge(there)
		right.nudge(back)
		return direct(there) && direct(back)
	})
	there, back := left.directory.peer(rightID), right.directory.peer(leftID)
	before, _ := left.upstream.PeerByKey(there.node.Key)

	left.sendEcho(there)
	until(t, "no echo", func() bool { return there.session.contact.echoed.Load() != 0 })
	left.askToWithdraw(there, *there.session.path.Load())
	until(t, "our path was not forgotten", func() bool { return forgot(t, left, there) })
	until(t, "the peer's path was not forgotten", func() bool { return forgot(t, right, back) })
	until(t, "not direct again", func() bool {
		left.nudge(there)
		right.nudge(back)
		return direct(there) && direct(back)
	})
	// WireGuard itself may shake hands again meanwhile: both sides began at once.
	if after, found := left.upstream.PeerByKey(there.node.Key); !found || after != before {
		t.Error("the session was made anew")
	}
}

func direct(peer *member) bool {
	path := peer.session.path.Load()
	return path != nil && path.Addr() != tailcfg.DerpMagicIPAddr
}

// forgot says whether upstream gave up the endpoint in use because of a list.
func forgot(t *testing.T, engine *Engine, peer *member) bool {
	t.Helper()
	changes, err := engine.magic.GetEndpointChanges(peer.view)
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range changes {
		if strings.HasPrefix(change.What, "deleteEndpointLocked-bestAddr-handleCallMeMaybe") {
			return true
		}
	}
	return false
}

// TestRelayedMessages feeds what others may send.
func TestRelayedMessages(t *testing.T) {
	engine := &Engine{relayed: make(chan relayedMessage, 2), config: Config{Identity: NewIdentity()}}
	other := NewIdentity()
	peer := &member{node: &tailcfg.Node{DiscoKey: other.Disco.Public()}, session: &session{}}
	if engine.relayReceived(7, key.NodePublic{}, []byte("\x04\x00\x00\x00WireGuard")) {
		t.Error("a foreign packet was taken")
	}
	long := append([]byte(relayedMagic), make([]byte, relayedLimit)...)
	if !engine.relayReceived(7, key.NodePublic{}, long) || len(engine.relayed) != 0 {
		t.Error("a packet that is too long was passed on, to WireGuard or to us")
	}
	for range 3 { // one more than there is room for
		if !engine.relayReceived(7, key.NodePublic{}, []byte(relayedMagic)) {
			t.Error("our packet was left to WireGuard")
		}
	}
	echoed := append([]byte{kindEchoed}, 0, 0, 0, 0, 0, 0, 0, 9)
	good := other.Disco.Shared(engine.config.Identity.Disco.Public())
	forged := NewIdentity().Disco.Shared(engine.config.Identity.Disco.Public())
	for name, packet := range map[string][]byte{
		"nothing": nil, "forged": forged.Seal(echoed), "empty": good.Seal(nil), "unknown kind": good.Seal([]byte{9}),
		"short echo": good.Seal(echoed[:5]), "long echo": good.Seal(append(slices.Clone(echoed), 1)),
		"short endpoint": good.Seal([]byte{kindWithdraw, 1}),
		"no endpoint":    good.Seal(appendEndpoint([]byte{kindWithdraw}, netip.AddrPortFrom(netip.IPv6Unspecified(), 1))),
	} {
		engine.answer(t.Context(), peer, relayedMessage{packet: packet})
		if peer.session.contact.echoed.Load() != 0 || peer.session.contact.served.Load() != 0 {
			t.Errorf("%s: was believed", name)
		}
	}
	engine.answer(t.Context(), peer, relayedMessage{packet: good.Seal(echoed)})
	if peer.session.contact.echoed.Load() != 9 {
		t.Error("a good echo was not believed")
	}
}

func TestEndpointOnTheWire(t *testing.T) {
	for _, text := range []string{"192.0.2.1:41641", "[2001:db8::1]:1"} {
		if want := netip.MustParseAddrPort(text); readEndpoint(appendEndpoint(nil, want)) != want {
			t.Errorf("%s came back as %s", want, readEndpoint(appendEndpoint(nil, want)))
		}
	}
}
