package tailnetclient

import (
	"context"
	"io"
	"log"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/tailnetv2"
	"github.com/causewayhq/causeway/server/coordinator"
	"github.com/causewayhq/causeway/server/relay"
	"github.com/causewayhq/causeway/tailnet"
	"github.com/causewayhq/causeway/tailnet/userspace"
)

func TestMain(m *testing.M) {
	log.SetOutput(io.Discard)
	goleak.VerifyTestMain(m)
}

// patience is long because the machine may be busy; conditions are polled.
const patience = 30 * time.Second

func testLogger() *slog.Logger {
	level := slog.LevelError
	if os.Getenv("CAUSEWAY_TEST_VERBOSE") != "" {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatalf("waited %s for: %s", patience, what)
}

// plane is a coordinator with its relay, reached from inside only: nothing
// listens at the address of its map.
type plane struct {
	coordinator *coordinator.Coordinator
	relay       *relay.Relay
	client      *Client
	inside      *inside // for the agents
}

func testMap() proto.RelayMap {
	return proto.RelayMap{
		DERPMap: &tailcfg.DERPMap{OmitDefaultRegions: true, Regions: map[int]*tailcfg.DERPRegion{999: {
			RegionID: 999, RegionCode: "coder", RegionName: "Coder Embedded Relay",
			Nodes: []*tailcfg.DERPNode{{Name: "999b", RegionID: 999, HostName: "unreachable.invalid", DERPPort: 443, STUNPort: -1}},
		}}},
		Embedded: map[int]bool{999: true}, PlainHTTP: map[string]bool{},
	}
}

func newPlane(t *testing.T, directDisabled bool) *plane {
	t.Helper()
	p := &plane{coordinator: coordinator.New(testLogger()), inside: newInside()}
	p.relay = relay.New(relay.Config{Logger: testLogger(), Key: key.NewNode(), Policy: p.coordinator})
	p.client = New(Config{
		Logger: testLogger(), Coordinator: p.coordinator, RelayMap: testMap, Relay: p.relay, DirectDisabled: directDisabled,
	})
	server, served := serverOf(p.relay), make(chan struct{})
	go func() { defer close(served); _ = server.Serve(p.inside) }()
	t.Cleanup(func() {
		p.client.Close()
		p.inside.Close()
		server.Close()
		<-served
		p.coordinator.Close()
		ended, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := p.relay.Close(ended); err != nil {
			t.Errorf("close relay: %v", err)
		}
	})
	return p
}

// agent is a peer with its own network and coordination.
type agent struct {
	id     uuid.UUID
	net    *userspace.Net
	stream *coordinator.Stream
	ended  chan struct{}
}

// startAgent joins an agent that serves ports by the function. The relay alone
// leads to it when direct paths are disabled.
func (p *plane) startAgent(t *testing.T, directDisabled bool, serve func(port uint16) (func(net.Conn), bool)) *agent {
	t.Helper()
	return p.startAgentAs(t, uuid.New(), directDisabled, serve)
}

// startAgentAs is startAgent for an agent that was there before.
func (p *plane) startAgentAs(t *testing.T, id uuid.UUID, directDisabled bool, serve func(port uint16) (func(net.Conn), bool)) *agent {
	t.Helper()
	a := &agent{id: id, ended: make(chan struct{})}
	var own []netip.Prefix
	for _, addr := range proto.AgentAddrs(a.id) {
		own = append(own, netip.PrefixFrom(addr, 128))
	}
	var err error
	a.net, err = userspace.New(userspace.Config{
		Logger: testLogger(), Identity: tailnet.NewIdentity(), NodeID: proto.NodeIDFromUUID(a.id), Addresses: own,
		DirectDisabled: directDisabled, Relay: tailnet.RelayDial{Connect: p.inside.dial},
	})
	if err != nil {
		t.Fatal(err)
	}
	a.net.HandleTCP(serve)
	engine := a.net.Engine()
	engine.SetControlConnected(true)
	engine.SetRelayMap(ownRelays(testMap()))
	if a.stream, err = p.coordinator.Connect(context.Background(), a.id, "agent", coordinator.AgentAuth(a.id)); err != nil {
		t.Fatal(err)
	}
	engine.SetNodeCallback(func(node *tailnetv2.Node) {
		_ = a.stream.Send(&tailnetv2.CoordinateRequest{UpdateSelf: &tailnetv2.CoordinateRequest_UpdateSelf{Node: node}})
	})
	go a.coordinate()
	eventually(t, "the agent's relay", func() bool { return engine.HomeRelay(t.Context(), false) == nil })
	t.Cleanup(func() {
		a.stream.Close()
		<-a.ended
		a.net.Close()
	})
	return a
}

func (a *agent) coordinate() {
	defer close(a.ended)
	for {
		response, err := a.stream.Recv(context.Background())
		if err != nil {
			return
		}
		_ = a.net.Engine().UpdatePeers(response.GetPeerUpdates())
		var ready []*tailnetv2.CoordinateRequest_ReadyForHandshake
		for _, update := range response.GetPeerUpdates() {
			if update.GetKind() == tailnetv2.CoordinateResponse_PeerUpdate_NODE {
				ready = append(ready, &tailnetv2.CoordinateRequest_ReadyForHandshake{Id: update.GetId()})
			}
		}
		if len(ready) > 0 {
			_ = a.stream.Send(&tailnetv2.CoordinateRequest{ReadyForHandshake: ready})
		}
	}
}

// echo is what agents serve on port 7.
func echo(port uint16) (func(net.Conn), bool) {
	return func(conn net.Conn) {
		defer conn.Close()
		_, _ = io.Copy(conn, conn)
	}, port == 7
}

func says(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(text))
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != text {
		t.Fatalf("read %q, %v", got, err)
	}
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
}

// state is what the client holds.
func (c *Client) state() (open, destinations int, running bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.network != nil {
		destinations, running = len(c.network.destinations), true
	}
	return c.open, destinations, running
}
