package tailnetsvc

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"storj.io/drpc/drpcerr"

	"github.com/causewayhq/causeway/proto/mux"
	"github.com/causewayhq/causeway/proto/tailnetv2"
	"github.com/causewayhq/causeway/server/coordinator"
)

// reasoned is a connection that keeps the reason for which it was hung up.
type reasoned struct {
	net.Conn
	mu     sync.Mutex
	reason error
}

func (r *reasoned) HangUp(reason error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reason = reason
}

func (r *reasoned) heard() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reason == nil {
		return ""
	}
	return r.reason.Error()
}

// guest is a user's connection of which everything can be seen.
type guest struct {
	id     uuid.UUID
	conn   *reasoned
	client *mux.Client
	part   context.CancelCauseFunc
	ended  <-chan error
	stream tailnetv2.DRPCTailnet_CoordinateClient
	cancel func() // ends the stream alone
}

func (r *rig) guest(id uuid.UUID, auth coordinator.Auth) *guest {
	r.t.Helper()
	leave, part := context.WithCancelCause(context.Background())
	r.t.Cleanup(func() { part(nil) })
	ctx, cancel := context.WithCancel(r.t.Context())
	r.t.Cleanup(cancel)
	g := &guest{id: id, part: part, cancel: cancel}
	g.client, g.ended = r.dial(func(ctx context.Context, conn io.ReadWriteCloser) error {
		g.conn = &reasoned{Conn: conn.(net.Conn)}
		return r.service.ServeUser(ctx, leave, g.conn, UserStream{PeerID: id, Auth: auth})
	})
	g.stream = must[tailnetv2.DRPCTailnet_CoordinateClient](r.t)(tailnetv2.NewDRPCTailnetClient(g.client).Coordinate(ctx))
	if err := g.stream.Send(nodeUpdate(1)); err != nil {
		r.t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); r.service.Coordinator.Node(id) == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatal("never connected")
		}
	}
	return g
}

// TestEveryEndIsTold: whatever makes the server end a peer, its stream says why
// before it ends, the partner hears the right word, and the connection follows
// within a few seconds although the peer does not hang up.
func TestEveryEndIsTold(t *testing.T) {
	const disconnected, lost = tailnetv2.CoordinateResponse_PeerUpdate_DISCONNECTED, tailnetv2.CoordinateResponse_PeerUpdate_LOST
	for name, test := range map[string]struct {
		end     func(r *rig, g *guest, id uuid.UUID)
		text    string
		partner tailnetv2.CoordinateResponse_PeerUpdate_Kind
		reason  string
	}{
		"revoked": {func(_ *rig, g *guest, _ uuid.UUID) {
			g.part(&PartingError{How: coordinator.Gone, Text: "token revoked"})
		}, "token revoked", disconnected, "token revoked"},
		"drained": {func(_ *rig, g *guest, _ uuid.UUID) {
			g.part(&PartingError{How: coordinator.Closing, Text: "server is shutting down; retry after 1s"})
		}, "server is shutting down; retry after 1s", lost, "coordinator close"},
		"ping timeout":       {func(_ *rig, g *guest, _ uuid.UUID) { g.part(errors.New("ping timeout")) }, "ping timeout", lost, "lost"},
		"coordinator closed": {func(r *rig, _ *guest, _ uuid.UUID) { r.service.Coordinator.Close() }, "coordinator closed", 0, ""},
		"taken over": {func(r *rig, _ *guest, id uuid.UUID) {
			must[*coordinator.Stream](r.t)(r.service.Coordinator.Connect(r.t.Context(), id, "", coordinator.SingleTailnetAuth()))
		}, "peer ID overwritten by new connection", 0, ""},
		"not authorised": {func(r *rig, g *guest, _ uuid.UUID) {
			if err := g.stream.Send(&tailnetv2.CoordinateRequest{ReadyForHandshake: []*tailnetv2.CoordinateRequest_ReadyForHandshake{{Id: make([]byte, 16)}}}); err != nil {
				r.t.Error(err)
			}
		}, "authorization: clients may not send ready_for_handshake", lost, "lost"},
		"malformed": {func(r *rig, g *guest, _ uuid.UUID) {
			if err := g.stream.Send(tunnelTo(uuid.Nil)); err != nil {
				r.t.Error(err)
			}
			if err := g.stream.Send(&tailnetv2.CoordinateRequest{AddTunnel: &tailnetv2.CoordinateRequest_Tunnel{Id: []byte{1}}}); err != nil {
				r.t.Error(err)
			}
		}, "parse add_tunnel id: got 1 bytes, want 16", lost, "lost"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			partner := must[*coordinator.Stream](t)(r.service.Coordinator.Connect(t.Context(), uuid.New(), "partner", coordinator.SingleTailnetAuth()))
			id := uuid.New()
			g := r.guest(id, coordinator.UserAuth(everything))
			if err := partner.Send(tunnelTo(id)); err != nil {
				t.Fatal(err)
			}
			if _, err := partner.Recv(t.Context()); err != nil {
				t.Fatal(err)
			}
			test.end(r, g, id)
			response, err := g.stream.Recv()
			if err != nil || response.GetError() != test.text {
				t.Fatalf("told %v, %v", response, err)
			}
			if _, err := g.stream.Recv(); !errors.Is(err, io.EOF) {
				t.Errorf("then: %v", err)
			}
			if test.reason != "" {
				response, err := partner.Recv(t.Context())
				if err != nil || len(response.GetPeerUpdates()) != 1 || response.GetPeerUpdates()[0].GetKind() != test.partner || response.GetPeerUpdates()[0].GetReason() != test.reason {
					t.Errorf("partner heard %v, %v", response, err)
				}
			}
			select {
			case <-g.ended:
			case <-time.After(3 * partingGrace):
				t.Fatal("the connection goes on")
			}
			if got := g.conn.heard(); got != test.text {
				t.Errorf("hung up for %q", got)
			}
		})
	}
}

// TestLeaveWithoutCoordination ends a connection at once that has no stream to
// tell it on.
func TestLeaveWithoutCoordination(t *testing.T) {
	r := newRig(t)
	leave, part := context.WithCancelCause(t.Context())
	conn := &reasoned{}
	client, ended := r.dial(func(ctx context.Context, c io.ReadWriteCloser) error {
		conn.Conn = c.(net.Conn)
		return r.service.ServeUser(ctx, leave, conn, UserStream{PeerID: uuid.New()})
	})
	if _, err := tailnetv2.NewDRPCTailnetClient(client).PostTelemetry(t.Context(), &tailnetv2.TelemetryRequest{}); err != nil {
		t.Fatal(err)
	}
	part(errors.New("over"))
	select {
	case <-ended:
	case <-time.After(partingGrace):
		t.Fatal("the connection goes on")
	}
	if got := conn.heard(); got != "over" {
		t.Errorf("hung up for %q", got)
	}
}

// TestLeaveCannotBeDodged: a peer whose connection is to end loses it, also when
// it takes its coordination away before it was told.
func TestLeaveCannotBeDodged(t *testing.T) {
	r := newRig(t)
	g := r.guest(uuid.New(), coordinator.UserAuth(everything))
	partner := must[*coordinator.Stream](t)(r.service.Coordinator.Connect(t.Context(), uuid.New(), "partner", coordinator.SingleTailnetAuth()))
	if err := g.stream.Send(tunnelTo(partner.ID())); err != nil {
		t.Fatal(err)
	}
	// More than the stream's window is under way, and nobody reads it.
	for version := range int32(100) {
		update := nodeUpdate(version)
		update.UpdateSelf.Node.Endpoints = []string{strings.Repeat("x", 8<<10)}
		if err := partner.Send(update); err != nil {
			t.Fatal(err)
		}
	}
	g.part(&PartingError{How: coordinator.Gone, Text: "token revoked"})
	for deadline := time.Now().Add(10 * time.Second); r.service.Coordinator.Connected(g.id); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("still connected")
		}
	}
	g.cancel()
	select {
	case <-g.ended:
	case <-time.After(3 * partingGrace):
		t.Fatal("the connection goes on")
	}
	if got := g.conn.heard(); got != "token revoked" {
		t.Errorf("hung up for %q", got)
	}
}

// TestGoodbyeEndsNoConnection: a peer that leaves its coordination by itself
// keeps what else it has on the connection.
func TestGoodbyeEndsNoConnection(t *testing.T) {
	r := newRig(t)
	g := r.guest(uuid.New(), coordinator.UserAuth(everything))
	if err := g.stream.Send(&tailnetv2.CoordinateRequest{Disconnect: &tailnetv2.CoordinateRequest_Disconnect{}}); err != nil {
		t.Fatal(err)
	}
	if _, err := g.stream.Recv(); !errors.Is(err, io.EOF) {
		t.Fatalf("answered %v", err)
	}
	select {
	case <-g.ended:
		t.Error("the connection has ended")
	case <-time.After(partingGrace + partingGrace/2):
	}
	if _, err := tailnetv2.NewDRPCTailnetClient(g.client).PostTelemetry(t.Context(), &tailnetv2.TelemetryRequest{}); err != nil {
		t.Errorf("a further call: %v", err)
	}
}

// TestCallsOfOneConnectionAreLimited, and a neighbour's are not.
func TestCallsOfOneConnectionAreLimited(t *testing.T) {
	r := newRig(t)
	greedy := r.user(UserStream{PeerID: uuid.New()})
	// A call counts once it has answered.
	watch := func(client tailnetv2.DRPCTailnetClient) error {
		stream, err := client.StreamDERPMaps(t.Context(), &tailnetv2.StreamDERPMapsRequest{})
		if err == nil {
			_, err = stream.Recv()
		}
		return err
	}
	for i := range userCalls {
		if err := watch(greedy); err != nil {
			t.Fatalf("call %d: %v", i, err)
		}
	}
	if err := watch(greedy); err == nil || !strings.Contains(err.Error(), "too many calls at once") || drpcerr.Code(err) == drpcerr.Unimplemented {
		t.Errorf("one too many: %v", err)
	}
	if err := watch(r.user(UserStream{PeerID: uuid.New()})); err != nil {
		t.Errorf("a neighbour: %v", err)
	}
}

// TestMessageBombIsOneCallsTrouble: a message above the limit of 4 MiB ends the
// call that it came on, and nothing else.
func TestMessageBombIsOneCallsTrouble(t *testing.T) {
	r := newRig(t)
	id, agentID := uuid.New(), uuid.New()
	bomber := r.guest(id, coordinator.UserAuth(everything))
	good := r.guest(agentID, coordinator.SingleTailnetAuth())
	bomb := &tailnetv2.CoordinateRequest{UpdateSelf: &tailnetv2.CoordinateRequest_UpdateSelf{Node: &tailnetv2.Node{Endpoints: []string{strings.Repeat("x", 6<<20)}}}}
	// Where it breaks off depends on who is faster.
	_ = bomber.stream.Send(bomb)
	if response, err := bomber.stream.Recv(); err == nil && response.GetError() == "" {
		t.Errorf("answered %v", response)
	}
	for deadline := time.Now().Add(10 * time.Second); r.service.Coordinator.Connected(id); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the bomber is still there")
		}
	}
	if !r.service.Coordinator.Connected(agentID) {
		t.Error("the neighbour has gone")
	}
	if _, err := tailnetv2.NewDRPCTailnetClient(good.client).PostTelemetry(t.Context(), &tailnetv2.TelemetryRequest{}); err != nil {
		t.Errorf("the neighbour's call: %v", err)
	}
}
