package userspace_test

import (
	"context"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"tailscale.com/derp/derpserver"
	"tailscale.com/net/stunserver"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/tailnetv2"
	"github.com/causewayhq/causeway/tailnet"
	"github.com/causewayhq/causeway/tailnet/userspace"
)

// patience is long because the machine may be busy; conditions are polled.
const patience = 30 * time.Second

// regionID is the one region of the tests.
const regionID = 7

func testLogger() *slog.Logger {
	level := slog.LevelWarn
	if os.Getenv("CAUSEWAY_TEST_VERBOSE") != "" {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
}

// startRelay serves DERP over plain HTTP, wrapped if a wrapper is given, and
// STUN, and returns the map that says so.
func startRelay(t *testing.T, wrap func(server *derpserver.Server, raw http.Handler) http.Handler) proto.RelayMap {
	t.Helper()
	server := derpserver.New(key.NewNode(), func(string, ...any) {})
	mux := http.NewServeMux()
	raw := derpserver.AddWebSocketSupport(server, derpserver.Handler(server))
	if wrap != nil {
		raw = wrap(server, raw)
	}
	mux.Handle("/derp", raw)
	mux.HandleFunc("/derp/latency-check", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	web := httptest.NewUnstartedServer(mux)
	web.Config.ErrorLog = log.New(os.Stderr, "relay: ", 0)
	web.Start()
	t.Cleanup(func() { server.Close(); web.CloseClientConnections(); web.Close() })

	ctx, cancel := context.WithCancel(context.Background())
	stun := stunserver.New(ctx)
	if err := stun.Listen("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = stun.Serve() }()
	t.Cleanup(func() { cancel(); <-done })

	_, portText, _ := net.SplitHostPort(web.Listener.Addr().String())
	port, _ := strconv.Atoi(portText)
	return proto.RelayMap{
		DERPMap: &tailcfg.DERPMap{OmitDefaultRegions: true, Regions: map[int]*tailcfg.DERPRegion{regionID: {
			RegionID: regionID, RegionCode: "test", RegionName: "Test",
			Nodes: []*tailcfg.DERPNode{{
				Name: "7a", RegionID: regionID, HostName: "127.0.0.1", IPv4: "127.0.0.1", IPv6: "none", DERPPort: port,
				STUNPort: stun.LocalAddr().(*net.UDPAddr).Port,
			}},
		}}},
		Embedded:  map[int]bool{regionID: true},
		PlainHTTP: map[string]bool{"7a": true},
	}
}

// peer is one side of a test.
type peer struct {
	id     uuid.UUID
	engine *tailnet.Engine
	net    *userspace.Net
}

func (p peer) service() netip.Addr   { return proto.AddrFromUUID(proto.ServicePrefix, p.id) }
func (p peer) tailscale() netip.Addr { return proto.AddrFromUUID(proto.TailscalePrefix, p.id) }

func prefixes(id uuid.UUID) []netip.Prefix {
	var result []netip.Prefix
	for _, addr := range proto.AgentAddrs(id) {
		result = append(result, netip.PrefixFrom(addr, 128))
	}
	return result
}

// newUserspace starts a userspace node.
func newUserspace(t *testing.T, relays proto.RelayMap, adjust func(*userspace.Config)) peer {
	t.Helper()
	id := uuid.New()
	config := userspace.Config{
		Logger: testLogger(), Identity: tailnet.NewIdentity(), NodeID: proto.NodeIDFromUUID(id), Addresses: prefixes(id),
	}
	if adjust != nil {
		adjust(&config)
	}
	node, err := userspace.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := node.Close(); err != nil {
			t.Errorf("close node: %v", err)
		}
	})
	node.Engine().SetControlConnected(true)
	node.Engine().SetRelayMap(relays)
	return peer{id: id, engine: node.Engine(), net: node}
}

// introduce plays the coordinator between two nodes.
func introduce(t *testing.T, a, b peer) {
	t.Helper()
	tell := func(from, to peer) {
		from.engine.SetNodeCallback(func(node *tailnetv2.Node) {
			err := to.engine.UpdatePeers([]*tailnetv2.CoordinateResponse_PeerUpdate{
				{Id: from.id[:], Kind: tailnetv2.CoordinateResponse_PeerUpdate_NODE, Node: node},
			})
			if err != nil {
				t.Logf("update peers: %v", err)
			}
		})
	}
	tell(a, b)
	tell(b, a)
	t.Cleanup(func() { a.engine.SetNodeCallback(nil); b.engine.SetNodeCallback(nil) })
}

// eventually polls until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatalf("%s: not within %s", what, patience)
}

// dialTCP tries until the other side is there.
func dialTCP(t *testing.T, from peer, to netip.AddrPort) net.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		attempt, stop := context.WithTimeout(ctx, 5*time.Second)
		conn, err := from.net.DialTCP(attempt, to)
		stop()
		if err == nil {
			t.Cleanup(func() { conn.Close() })
			return conn
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}
