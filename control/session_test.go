package control

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/tailnetv2"
	"github.com/causewayhq/causeway/workspace"
)

func newServer(t *testing.T, handler http.Handler) *url.URL {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	target, _ := url.Parse(server.URL)
	return target
}

// transcript collects the requests of all connections.
type transcript struct {
	mu       sync.Mutex
	requests []*tailnetv2.CoordinateRequest
}

func (s *transcript) coordinate(_ int, stream tailnetv2.DRPCTailnet_CoordinateStream) error {
	for {
		request, err := stream.Recv()
		if err != nil {
			return nil
		}
		s.mu.Lock()
		s.requests = append(s.requests, request)
		s.mu.Unlock()
		if request.GetDisconnect() != nil {
			return nil
		}
	}
}

func (s *transcript) count(match func(*tailnetv2.CoordinateRequest) bool) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, request := range s.requests {
		if match(request) {
			n++
		}
	}
	return n
}

func adds(id uuid.UUID) func(*tailnetv2.CoordinateRequest) bool {
	return func(r *tailnetv2.CoordinateRequest) bool { return string(r.GetAddTunnel().GetId()) == string(id[:]) }
}

func removes(id uuid.UUID) func(*tailnetv2.CoordinateRequest) bool {
	return func(r *tailnetv2.CoordinateRequest) bool { return string(r.GetRemoveTunnel().GetId()) == string(id[:]) }
}

func isDisconnect(r *tailnetv2.CoordinateRequest) bool { return r.GetDisconnect() != nil }

func TestGracefulEndSaysDisconnect(t *testing.T) {
	said, engine, heard := &transcript{}, &data{node: &tailnetv2.Node{Id: 7}}, &reports{}
	p := &plane{coordinate: said.coordinate}
	stop := run(t, userLoop(serve(t, p, nil), engine, heard))
	eventually(t, "connected", func() bool { return heard.ups() == 1 })
	eventually(t, "own node sent", func() bool {
		return said.count(func(r *tailnetv2.CoordinateRequest) bool { return r.GetUpdateSelf().GetNode().GetId() == 7 }) == 1
	})
	began := time.Now()
	stop()
	if took := time.Since(began); took > graceful {
		t.Errorf("the end took %v", took)
	}
	if said.count(isDisconnect) != 1 {
		t.Error("no disconnect")
	}
	if list := heard.all(); list[len(list)-1].connected || engine.lost != 1 {
		t.Errorf("at the end: %+v, all lost %d times", list[len(list)-1], engine.lost)
	}
}

func TestGracefulEndIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		hold := make(chan struct{})
		p := &plane{coordinate: func(_ int, stream tailnetv2.DRPCTailnet_CoordinateStream) error {
			<-hold
			return nil
		}}
		heard := &reports{}
		stop := run(t, userLoop(serve(t, p, newPipes()), &data{}, heard))
		time.Sleep(time.Second)
		began := time.Now()
		stop()
		if took := time.Since(began); took < graceful || took > graceful+500*time.Millisecond {
			t.Errorf("the end took %v", took)
		}
		close(hold)
	})
}

// When one controller ends all end, without a disconnect, and the loop dials
// again.
func TestSharedFate(t *testing.T) {
	said, engine, heard := &transcript{}, &data{}, &reports{}
	p := &plane{coordinate: said.coordinate}
	p.workspaces = func(dial int, stream tailnetv2.DRPCTailnet_WorkspaceUpdatesStream) error {
		if err := stream.Send(&tailnetv2.WorkspaceUpdate{}); err != nil || dial == 1 {
			return errors.New("no more")
		}
		<-stream.Context().Done()
		return nil
	}
	stop := run(t, userLoop(serve(t, p, nil), engine, heard))
	// Whether the first connection counted as up depends on which of its
	// streams was faster.
	eventually(t, "second connection", func() bool {
		list := heard.all()
		return len(p.seen()) == 2 && len(list) > 0 && list[len(list)-1].connected && slices.ContainsFunc(list, func(r report) bool { return !r.connected })
	})
	if n := said.count(isDisconnect); n != 0 {
		t.Errorf("%d disconnects before the end", n)
	}
	engine.read(func(d *data) {
		if d.lost != 1 {
			t.Errorf("peers marked lost %d times", d.lost)
		}
	})
	stop()
}

func TestAgentAcknowledgesAfterApplying(t *testing.T) {
	said, engine := &transcript{}, &data{}
	peers := []uuid.UUID{uuid.New(), uuid.New(), uuid.New()}
	p := &plane{coordinate: func(dial int, stream tailnetv2.DRPCTailnet_CoordinateStream) error {
		update := func(i int, kind tailnetv2.CoordinateResponse_PeerUpdate_Kind) *tailnetv2.CoordinateResponse_PeerUpdate {
			return &tailnetv2.CoordinateResponse_PeerUpdate{Id: peers[i][:], Kind: kind, Node: &tailnetv2.Node{}}
		}
		if err := stream.Send(&tailnetv2.CoordinateResponse{PeerUpdates: []*tailnetv2.CoordinateResponse_PeerUpdate{
			update(0, tailnetv2.CoordinateResponse_PeerUpdate_NODE),
			update(1, tailnetv2.CoordinateResponse_PeerUpdate_LOST),
			update(2, tailnetv2.CoordinateResponse_PeerUpdate_NODE),
		}}); err != nil {
			return err
		}
		return said.coordinate(dial, stream)
	}}
	dialer := serve(t, p, nil)
	dialer.Path = AgentPath
	var prepared, extra bool
	loop := &Loop{Dialer: dialer, Acks: true,
		Extra: func(ctx context.Context, _ *Conn) error { extra = true; <-ctx.Done(); return nil }}
	loop.Prepare = func(context.Context, *Conn) error { prepared, loop.Coordinatee = true, engine; return nil }
	stop := run(t, loop)
	eventually(t, "one request with both acknowledgements", func() bool {
		return said.count(func(r *tailnetv2.CoordinateRequest) bool {
			ready := r.GetReadyForHandshake()
			return len(ready) == 2 && string(ready[0].Id) == string(peers[0][:]) && string(ready[1].Id) == string(peers[2][:])
		}) == 1
	})
	stop()
	if len(engine.peers) != 3 || !prepared || !extra {
		t.Errorf("peers %d, prepared %v, extra %v", len(engine.peers), prepared, extra)
	}
}

func TestDestinationsFollowWorkspacesAndSurviveConnections(t *testing.T) {
	ws, one, two, stale := uuid.New(), uuid.New(), uuid.New(), uuid.New()
	agent := func(id uuid.UUID, name string) *tailnetv2.Agent {
		return &tailnetv2.Agent{Id: id[:], Name: name, WorkspaceId: ws[:]}
	}
	upsert := []*tailnetv2.Workspace{{Id: ws[:], Name: "w"}}
	said, engine, heard := &transcript{}, &data{}, &reports{}
	p := &plane{coordinate: said.coordinate}
	more := make(chan *tailnetv2.WorkspaceUpdate, 1)
	p.workspaces = func(dial int, stream tailnetv2.DRPCTailnet_WorkspaceUpdatesStream) error {
		first := &tailnetv2.WorkspaceUpdate{UpsertedWorkspaces: upsert, UpsertedAgents: []*tailnetv2.Agent{agent(one, "one"), agent(two, "two")}}
		if dial == 2 {
			first.UpsertedAgents = first.UpsertedAgents[1:]
		}
		if err := stream.Send(first); err != nil {
			return err
		}
		for {
			select {
			case update := <-more:
				if err := stream.Send(update); err != nil {
					return err
				}
			case <-stream.Context().Done():
				return nil
			}
		}
	}
	known, _, err := (&workspace.State{}).Apply(&tailnetv2.WorkspaceUpdate{UpsertedWorkspaces: upsert, UpsertedAgents: []*tailnetv2.Agent{agent(stale, "stale"), agent(one, "one")}}, true)
	if err != nil {
		t.Fatal(err)
	}
	loop := userLoop(serve(t, p, nil), engine, heard)
	loop.Known = known
	var mu sync.Mutex
	var seen []*workspace.State
	var diffs []workspace.Diff
	loop.Workspaces = func(state *workspace.State, diff workspace.Diff) error {
		mu.Lock()
		defer mu.Unlock()
		seen, diffs = append(seen, state), append(diffs, diff)
		return errors.New("only logged")
	}
	stop := run(t, loop)
	eventually(t, "tunnels to both", func() bool { return said.count(adds(one)) == 1 && said.count(adds(two)) == 1 })
	if said.count(adds(stale)) != 0 {
		t.Error("a tunnel to an agent that is no more was asked for")
	}
	more <- &tailnetv2.WorkspaceUpdate{DeletedAgents: []*tailnetv2.Agent{agent(two, "two")}}
	eventually(t, "tunnel removed", func() bool { return said.count(removes(two)) == 1 })
	p.drop()
	eventually(t, "second connection with the agents of its snapshot", func() bool { return heard.ups() == 2 && said.count(adds(two)) == 2 })
	if said.count(adds(one)) != 1 {
		t.Error("an agent missing from the snapshot was asked for again")
	}
	stop()
	if len(seen) != 3 || len(diffs[0].DeletedAgents) != 1 || diffs[0].DeletedAgents[0].ID != stale || seen[2].Len() != 1 {
		t.Errorf("states %d, diffs %+v", len(seen), diffs)
	}
	if !slices.Contains(engine.marked, one) || !slices.Contains(engine.marked, two) {
		t.Errorf("marked %v", engine.marked)
	}
}

func TestBadWorkspaceUpdateEndsTheConnectionOnly(t *testing.T) {
	heard := &reports{}
	p := &plane{workspaces: func(dial int, stream tailnetv2.DRPCTailnet_WorkspaceUpdatesStream) error {
		update := &tailnetv2.WorkspaceUpdate{}
		if dial == 1 {
			update.DeletedAgents = []*tailnetv2.Agent{{Id: make([]byte, 16)}}
		}
		if err := stream.Send(update); err != nil {
			return err
		}
		<-stream.Context().Done()
		return nil
	}}
	stop := run(t, userLoop(serve(t, p, nil), &data{}, heard))
	eventually(t, "connected by the second dial", func() bool { return heard.ups() == 1 && len(p.seen()) == 2 })
	stop()
	if first := heard.all()[0]; !errors.Is(first.err, workspace.ErrUnknown) {
		t.Errorf("the first connection ended with %v", first.err)
	}
}

// TestBadPeerCostsOnlyItself holds that a node which the data plane refuses
// ends nothing: a workspace could announce one again and again.
func TestBadPeerCostsOnlyItself(t *testing.T) {
	engine, heard := &data{fail: errors.New("node is malformed")}, &reports{}
	good := uuid.New()
	p := &plane{coordinate: func(_ int, stream tailnetv2.DRPCTailnet_CoordinateStream) error {
		for _, id := range []uuid.UUID{uuid.New(), good} {
			update := &tailnetv2.CoordinateResponse_PeerUpdate{Id: id[:], Kind: tailnetv2.CoordinateResponse_PeerUpdate_NODE, Node: &tailnetv2.Node{}}
			if err := stream.Send(&tailnetv2.CoordinateResponse{PeerUpdates: []*tailnetv2.CoordinateResponse_PeerUpdate{update}}); err != nil {
				return err
			}
		}
		<-stream.Context().Done()
		return nil
	}}
	stop := run(t, userLoop(serve(t, p, nil), engine, heard))
	eventually(t, "connected, and told of the peer behind the bad one", func() (told bool) {
		engine.read(func(d *data) { told = len(d.peers) == 2 && uuid.UUID(d.peers[1].GetId()) == good })
		return told && heard.ups() == 1
	})
	engine.read(func(d *data) {
		if d.lost != 0 || len(p.seen()) != 1 {
			t.Errorf("peers marked lost %d times, %d dials", d.lost, len(p.seen()))
		}
	})
	stop()
}

func TestRelayMapIsRewritten(t *testing.T) {
	p := &plane{relays: &tailnetv2.DERPMap{Regions: map[int64]*tailnetv2.DERPMap_Region{
		999: {RegionId: 999, EmbeddedRelay: true, Nodes: []*tailnetv2.DERPMap_Region_Node{{Name: "999b", RegionId: 999, HostName: "inside.test", StunPort: -1}}},
	}}}
	dialer := serve(t, p, nil)
	got := make(chan proto.RelayMap, 1)
	loop := &Loop{Dialer: dialer, Coordinatee: &data{}, RelayMap: func(m proto.RelayMap) { got <- m }}
	stop := run(t, loop)
	relays := <-got
	stop()
	node := relays.Regions[999].Nodes[0]
	if node.HostName != dialer.URL.Hostname() || !relays.PlainHTTP["999b"] {
		t.Errorf("relay at %s, plain HTTP %v", node.HostName, relays.PlainHTTP)
	}
}
