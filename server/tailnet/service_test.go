package tailnetsvc

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"
	"storj.io/drpc/drpcerr"
	"tailscale.com/tailcfg"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/agentv2"
	"github.com/causewayhq/causeway/proto/mux"
	"github.com/causewayhq/causeway/proto/tailnetv2"
	"github.com/causewayhq/causeway/server/coordinator"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a service with a client at the other end of a real TCP connection on
// loopback: a pipe in memory has no buffer, so a peer that does not read could
// not be told from a slow network.
type rig struct {
	t       *testing.T
	service *Service
	mu      sync.Mutex
	relays  proto.RelayMap
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, relays: relayMap("one")}
	r.service = &Service{
		Coordinator: coordinator.New(slog.New(slog.DiscardHandler)), RelayMapPeriod: 5 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
		RelayMap: func() proto.RelayMap {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.relays
		},
	}
	t.Cleanup(func() { r.service.Coordinator.Close() })
	return r
}

func relayMap(host string) proto.RelayMap {
	return proto.RelayMap{DERPMap: &tailcfg.DERPMap{OmitDefaultRegions: true, Regions: map[int]*tailcfg.DERPRegion{
		999: {RegionID: 999, RegionCode: "causeway", Nodes: []*tailcfg.DERPNode{{Name: "999b", RegionID: 999, HostName: host}}},
	}}}
}

func pipe(t *testing.T) (server, client net.Conn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	client, err = net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if server, err = listener.Accept(); err != nil {
		t.Fatal(err)
	}
	return server, client
}

// dial gives the client of a connection that serve serves, and the end of it.
func (r *rig) dial(serve func(ctx context.Context, conn io.ReadWriteCloser) error) (*mux.Client, <-chan error) {
	r.t.Helper()
	server, clientSide := pipe(r.t)
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { ended <- serve(ctx, server) }()
	client, err := mux.NewClient(clientSide)
	if err != nil {
		r.t.Fatal(err)
	}
	again := make(chan error, 1)
	r.t.Cleanup(func() {
		client.Close()
		cancel()
		select {
		case <-again:
		case <-time.After(20 * time.Second):
			r.t.Error("connection never ended")
		}
	})
	result := make(chan error, 1)
	go func() { err := <-ended; result <- err; again <- err }()
	return client, result
}

func (r *rig) user(stream UserStream) tailnetv2.DRPCTailnetClient {
	r.t.Helper()
	client, _ := r.dial(func(ctx context.Context, conn io.ReadWriteCloser) error {
		return r.service.ServeUser(ctx, context.Background(), conn, stream)
	})
	return tailnetv2.NewDRPCTailnetClient(client)
}

func (r *rig) agent(id uuid.UUID, handler AgentHandler) *mux.Client {
	r.t.Helper()
	client, _ := r.dial(func(ctx context.Context, conn io.ReadWriteCloser) error {
		return r.service.ServeAgent(ctx, context.Background(), conn, id, "agent", handler)
	})
	return client
}

func everything(ctx context.Context, _ uuid.UUID) error { return nil }

func nodeUpdate(version int32) *tailnetv2.CoordinateRequest {
	return &tailnetv2.CoordinateRequest{UpdateSelf: &tailnetv2.CoordinateRequest_UpdateSelf{Node: &tailnetv2.Node{PreferredDerp: version}}}
}

func tunnelTo(id uuid.UUID) *tailnetv2.CoordinateRequest {
	return &tailnetv2.CoordinateRequest{AddTunnel: &tailnetv2.CoordinateRequest_Tunnel{Id: id[:]}}
}

func must[T any](t *testing.T) func(T, error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func TestCoordinateEndToEnd(t *testing.T) {
	r := newRig(t)
	agentID, clientID := uuid.New(), uuid.New()
	agent := must[tailnetv2.DRPCTailnet_CoordinateClient](t)(tailnetv2.NewDRPCTailnetClient(r.agent(agentID, &fakeAgent{})).Coordinate(t.Context()))
	client := must[tailnetv2.DRPCTailnet_CoordinateClient](t)(r.user(UserStream{PeerID: clientID, Auth: coordinator.UserAuth(everything)}).Coordinate(t.Context()))
	send := func(stream tailnetv2.DRPCTailnet_CoordinateClient, req *tailnetv2.CoordinateRequest) {
		t.Helper()
		if err := stream.Send(req); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(stream tailnetv2.DRPCTailnet_CoordinateClient, from uuid.UUID, kind tailnetv2.CoordinateResponse_PeerUpdate_Kind, version int32) {
		t.Helper()
		response, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		got := response.GetPeerUpdates()
		if len(got) != 1 || uuid.UUID(got[0].GetId()) != from || got[0].GetKind() != kind || got[0].GetNode().GetPreferredDerp() != version {
			t.Fatalf("got %v", response)
		}
	}
	send(agent, nodeUpdate(1))
	send(client, nodeUpdate(2))
	send(client, tunnelTo(agentID))
	expect(agent, clientID, tailnetv2.CoordinateResponse_PeerUpdate_NODE, 2)
	expect(client, agentID, tailnetv2.CoordinateResponse_PeerUpdate_NODE, 1)
	send(agent, &tailnetv2.CoordinateRequest{ReadyForHandshake: []*tailnetv2.CoordinateRequest_ReadyForHandshake{{Id: clientID[:]}}})
	expect(client, agentID, tailnetv2.CoordinateResponse_PeerUpdate_READY_FOR_HANDSHAKE, 0)
	send(client, &tailnetv2.CoordinateRequest{Disconnect: &tailnetv2.CoordinateRequest_Disconnect{}})
	expect(agent, clientID, tailnetv2.CoordinateResponse_PeerUpdate_DISCONNECTED, 0)
	if _, err := client.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("after disconnect: %v", err)
	}
}

// TestRefusalReachesThePeer: the error response comes before the end.
func TestRefusalReachesThePeer(t *testing.T) {
	for range 20 { // the order is what a race would break
		r := newRig(t)
		stream := must[tailnetv2.DRPCTailnet_CoordinateClient](t)(r.user(UserStream{PeerID: uuid.New(), Auth: coordinator.ClientOfAgentAuth(uuid.New())}).Coordinate(t.Context()))
		if err := stream.Send(tunnelTo(uuid.New())); err != nil {
			t.Fatal(err)
		}
		response, err := stream.Recv()
		if err != nil || !strings.HasPrefix(response.GetError(), "authorization: invalid agent id") {
			t.Fatalf("got %v, %v", response, err)
		}
		if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
			t.Fatalf("then: %v", err)
		}
	}
}

func TestCoordinateOnClosedCoordinator(t *testing.T) {
	r := newRig(t)
	r.service.Coordinator.Close()
	stream := must[tailnetv2.DRPCTailnet_CoordinateClient](t)(r.user(UserStream{PeerID: uuid.New(), Auth: coordinator.SingleTailnetAuth()}).Coordinate(t.Context()))
	response, err := stream.Recv()
	if err != nil || response.GetError() != "coordinator closed" {
		t.Fatalf("got %v, %v", response, err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("then: %v", err)
	}
}

// TestPeerThatDoesNotReadIsCut: its connection ends although nothing can be
// written to it, and the others go on.
func TestPeerThatDoesNotReadIsCut(t *testing.T) {
	r := newRig(t)
	agentID, deafID := uuid.New(), uuid.New()
	deaf, ended := r.dial(func(ctx context.Context, conn io.ReadWriteCloser) error {
		return r.service.ServeUser(ctx, context.Background(), conn, UserStream{PeerID: deafID, Auth: coordinator.SingleTailnetAuth()})
	})
	stream := must[tailnetv2.DRPCTailnet_CoordinateClient](t)(tailnetv2.NewDRPCTailnetClient(deaf).Coordinate(t.Context()))
	if err := stream.Send(tunnelTo(agentID)); err != nil {
		t.Fatal(err)
	}
	agent, err := r.service.Coordinator.Connect(t.Context(), agentID, "agent", coordinator.SingleTailnetAuth())
	if err != nil {
		t.Fatal(err)
	}
	padding := strings.Repeat("x", 32<<10)
	deadline := time.Now().Add(20 * time.Second)
	for version := int32(0); ; version++ {
		if err := agent.Send(&tailnetv2.CoordinateRequest{UpdateSelf: &tailnetv2.CoordinateRequest_UpdateSelf{Node: &tailnetv2.Node{PreferredDerp: version, Endpoints: []string{padding}}}}); err != nil {
			t.Fatal(err)
		}
		if version > 100 && !r.service.Coordinator.Connected(deafID) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("never removed")
		}
	}
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatal("never cut")
	}
}

func TestHalfCloseWithoutDisconnectIsLost(t *testing.T) {
	r := newRig(t)
	id := uuid.New()
	stream := must[tailnetv2.DRPCTailnet_CoordinateClient](t)(r.user(UserStream{PeerID: id, Auth: coordinator.SingleTailnetAuth()}).Coordinate(t.Context()))
	if err := stream.Send(nodeUpdate(1)); err != nil {
		t.Fatal(err)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("got %v", err)
	}
	if r.service.Coordinator.Connected(id) {
		t.Error("still connected")
	}
}

func TestStreamDERPMaps(t *testing.T) {
	r := newRig(t)
	client := r.user(UserStream{PeerID: uuid.New()})
	stream := must[tailnetv2.DRPCTailnet_StreamDERPMapsClient](t)(client.StreamDERPMaps(t.Context(), &tailnetv2.StreamDERPMapsRequest{}))
	next := func() string {
		t.Helper()
		got, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return got.GetRegions()[999].GetNodes()[0].GetHostName()
	}
	set := func(relays proto.RelayMap) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.relays = relays
	}
	if got := next(); got != "one" {
		t.Errorf("first map: %s", got)
	}
	same := relayMap("one")
	same.Regions[999].Nodes[0].CanPort80 = true // does not count as a change
	set(same)
	time.AfterFunc(50*time.Millisecond, func() { set(relayMap("two")) })
	if got := next(); got != "two" {
		t.Errorf("second map: %s", got)
	}
	set(proto.RelayMap{})
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("without a map: %v", err)
	}
}

func TestSmallCalls(t *testing.T) {
	r := newRig(t)
	user, peer := uuid.New(), uuid.New()
	client := r.user(UserStream{PeerID: peer, UserID: user})
	agent := tailnetv2.NewDRPCTailnetClient(r.agent(uuid.New(), &fakeAgent{}))

	for name, c := range map[string]tailnetv2.DRPCTailnetClient{"user": client, "agent": agent} {
		if _, err := c.PostTelemetry(t.Context(), &tailnetv2.TelemetryRequest{Events: []*tailnetv2.TelemetryEvent{{}}}); err != nil {
			t.Errorf("%s: telemetry: %v", name, err)
		}
		if _, err := c.RefreshResumeToken(t.Context(), &tailnetv2.RefreshResumeTokenRequest{}); drpcerr.Code(err) != drpcerr.Unimplemented {
			t.Errorf("%s: resume token without keys: %v", name, err)
		}
		stream, err := c.WorkspaceUpdates(t.Context(), &tailnetv2.WorkspaceUpdatesRequest{WorkspaceOwnerId: user[:]})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); drpcerr.Code(err) != drpcerr.Unimplemented {
			t.Errorf("%s: updates without a provider: %v", name, err)
		}
	}
}

func TestRefreshResumeToken(t *testing.T) {
	r := newRig(t)
	r.service.Resume = must[*ResumeKeys](t)(NewResumeKeys(NewKey()))
	user, peer := uuid.New(), uuid.New()
	got, err := r.user(UserStream{PeerID: peer, UserID: user}).RefreshResumeToken(t.Context(), &tailnetv2.RefreshResumeTokenRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if id, err := r.service.Resume.Verify(got.GetToken(), user); id != peer || err != nil {
		t.Errorf("token is for %s: %v", id, err)
	}
	if _, err := tailnetv2.NewDRPCTailnetClient(r.agent(uuid.New(), &fakeAgent{})).RefreshResumeToken(t.Context(), &tailnetv2.RefreshResumeTokenRequest{}); err == nil || drpcerr.Code(err) == drpcerr.Unimplemented {
		t.Errorf("agent: %v", err)
	}
}

func TestPanicIsOneCallsTrouble(t *testing.T) {
	r := newRig(t)
	client := r.agent(uuid.New(), &fakeAgent{panics: true})
	_, err := agentv2.NewDRPCAgentClient(client).GetManifest(t.Context(), &agentv2.GetManifestRequest{})
	if err == nil || !strings.Contains(err.Error(), "internal error") || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v", err)
	}
	if _, err := tailnetv2.NewDRPCTailnetClient(client).PostTelemetry(t.Context(), &tailnetv2.TelemetryRequest{}); err != nil {
		t.Errorf("next call: %v", err)
	}
}

func TestServeEndsWithItsContext(t *testing.T) {
	r := newRig(t)
	server, clientSide := pipe(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	id := uuid.New()
	go func() {
		ended <- r.service.ServeUser(ctx, context.Background(), server, UserStream{PeerID: id, Auth: coordinator.SingleTailnetAuth()})
	}()
	client := must[*mux.Client](t)(mux.NewClient(clientSide))
	defer client.Close()
	stream := must[tailnetv2.DRPCTailnet_CoordinateClient](t)(tailnetv2.NewDRPCTailnetClient(client).Coordinate(t.Context()))
	if err := stream.Send(nodeUpdate(1)); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); !r.service.Coordinator.Connected(id); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never connected")
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("ended with %v", err)
	}
	if r.service.Coordinator.Connected(id) {
		t.Error("still connected")
	}
}
