package api

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"
	"tailscale.com/types/key"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/agentv2"
	"github.com/causewayhq/causeway/proto/tailnetv2"
	"github.com/causewayhq/causeway/server/store"
)

const (
	tailnetPath = "/api/v2/tailnet?version=2.3"
	agentPath   = "/api/v2/workspaceagents/me/rpc?version=2.3"
)

// announce is an update of the own node at an address.
func announce(t *testing.T, addr netip.Addr) *tailnetv2.CoordinateRequest {
	t.Helper()
	node, err := key.NewNode().Public().MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	disco, err := key.NewDisco().Public().MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	prefix := []string{netip.PrefixFrom(addr, 128).String()}
	return &tailnetv2.CoordinateRequest{UpdateSelf: &tailnetv2.CoordinateRequest_UpdateSelf{Node: &tailnetv2.Node{
		Id: 7, Key: node, Disco: string(disco), PreferredDerp: 999, Addresses: prefix, AllowedIps: prefix,
	}}}
}

func addTunnel(id uuid.UUID) *tailnetv2.CoordinateRequest {
	return &tailnetv2.CoordinateRequest{AddTunnel: &tailnetv2.CoordinateRequest_Tunnel{Id: id[:]}}
}

// TestClientReachesAgent is the main path: an agent joins with its token, its
// owner's client is told of it, opens a tunnel and hears its node.
func TestClientReachesAgent(t *testing.T) {
	r := newRig(t)
	alice := r.person("alice")
	_, client := r.open(tailnetPath, alice.token)
	api := tailnetv2.NewDRPCTailnetClient(client)
	updates, err := api.WorkspaceUpdates(t.Context(), &tailnetv2.WorkspaceUpdatesRequest{WorkspaceOwnerId: alice.ID[:]})
	if err != nil {
		t.Fatal(err)
	}
	first, err := updates.Recv()
	if err != nil || len(first.GetUpsertedWorkspaces()) != 1 || first.GetUpsertedWorkspaces()[0].GetStatus() != tailnetv2.Workspace_PENDING ||
		len(first.GetUpsertedAgents()) != 1 || uuid.UUID(first.GetUpsertedAgents()[0].GetId()) != alice.agent.ID {
		t.Fatalf("first update %v, %v", first, err)
	}
	maps, err := api.StreamDERPMaps(t.Context(), &tailnetv2.StreamDERPMapsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if relays, err := maps.Recv(); err != nil || !relays.GetRegions()[999].GetEmbeddedRelay() {
		t.Errorf("relay map %v, %v", relays, err)
	}

	_, agentClient := r.open(agentPath, alice.agentKey)
	manifest, err := agentv2.NewDRPCAgentClient(agentClient).GetManifest(t.Context(), &agentv2.GetManifestRequest{})
	if err != nil || uuid.UUID(manifest.GetAgentId()) != alice.agent.ID || manifest.GetOwnerUsername() != "alice" ||
		manifest.GetWorkspaceName() != "myws" || manifest.GetAgentName() != "main" || manifest.GetDerpMap().GetRegions()[999] == nil {
		t.Errorf("manifest %v, %v", manifest, err)
	}
	agentStream := r.coordinate(agentClient)
	if err := agentStream.Send(announce(t, proto.AddrFromUUID(proto.ServicePrefix, alice.agent.ID))); err != nil {
		t.Fatal(err)
	}
	if second, err := updates.Recv(); err != nil || len(second.GetUpsertedWorkspaces()) != 1 || second.GetUpsertedWorkspaces()[0].GetStatus() != tailnetv2.Workspace_RUNNING {
		t.Fatalf("second update %v, %v", second, err)
	}

	stream := r.coordinate(client)
	if err := stream.Send(addTunnel(alice.agent.ID)); err != nil {
		t.Fatal(err)
	}
	response, err := stream.Recv()
	if err != nil || len(response.GetPeerUpdates()) != 1 || uuid.UUID(response.GetPeerUpdates()[0].GetId()) != alice.agent.ID {
		t.Fatalf("response %v, %v", response, err)
	}
	if body := r.workspaceStatus(alice); body != "running" {
		t.Errorf("status %q", body)
	}
}

func (r *rig) workspaceStatus(p person) string {
	r.t.Helper()
	_, body := r.call("GET", "/api/v2/workspaces/"+p.workspace.ID.String(), p.token, "")
	return body["latest_build"].(map[string]any)["status"].(string)
}

// TestStrangerGetsNothing uses a hand-made client that asks for another user's
// agent directly.
func TestStrangerGetsNothing(t *testing.T) {
	r := newRig(t)
	alice, mallory := r.person("alice"), r.person("mallory")
	_, agentClient := r.open(agentPath, alice.agentKey)
	agentStream := r.coordinate(agentClient)
	if err := agentStream.Send(announce(t, proto.AddrFromUUID(proto.ServicePrefix, alice.agent.ID))); err != nil {
		t.Fatal(err)
	}
	_, client := r.open(tailnetPath, mallory.token)
	stream := r.coordinate(client)
	if err := stream.Send(addTunnel(alice.agent.ID)); err != nil {
		t.Fatal(err)
	}
	response, err := stream.Recv()
	if err != nil || len(response.GetPeerUpdates()) != 0 || !strings.Contains(response.GetError(), "authorization: ") {
		t.Errorf("response %v, %v", response, err)
	}
	_, other := r.open(tailnetPath, mallory.token)
	updates, err := tailnetv2.NewDRPCTailnetClient(other).WorkspaceUpdates(t.Context(), &tailnetv2.WorkspaceUpdatesRequest{WorkspaceOwnerId: alice.ID[:]})
	if err == nil {
		_, err = updates.Recv()
	}
	if err == nil {
		t.Error("mallory watches alice's workspaces")
	}
	// The route of one agent is refused before the upgrade.
	if _, response, err := r.dial("/api/v2/workspaceagents/"+alice.agent.ID.String()+"/coordinate?version=2.0", mallory.token); err == nil || response.StatusCode != 404 {
		t.Errorf("coordinate route: %v, %v", response, err)
	}
	// A client on the route of its own agent gets no further than that one.
	_, single := r.open("/api/v2/workspaceagents/"+mallory.agent.ID.String()+"/coordinate?version=2.0", mallory.token)
	narrow := r.coordinate(single)
	if err := narrow.Send(addTunnel(alice.agent.ID)); err != nil {
		t.Fatal(err)
	}
	if response, err := narrow.Recv(); err != nil || !strings.Contains(response.GetError(), "invalid agent id") {
		t.Errorf("narrow client: %v, %v", response, err)
	}
}

func closeStatus(t *testing.T, conn *websocket.Conn) (websocket.StatusCode, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for {
		_, _, err := conn.Read(ctx)
		if err == nil {
			continue
		}
		var closed websocket.CloseError
		if !errors.As(err, &closed) {
			t.Fatalf("ended without a close frame: %v", err)
		}
		return closed.Code, closed.Reason
	}
}

// TestConnectionsEndWithTheirToken covers every way in which a token stops
// being good, made here and by another process.
func TestConnectionsEndWithTheirToken(t *testing.T) {
	tests := map[string]struct {
		agent bool
		end   func(t *testing.T, r *rig, other *store.Store, p person) error
	}{
		"revoked by the API": {end: func(t *testing.T, r *rig, _ *store.Store, p person) error {
			if status, body := r.call("DELETE", "/api/v2/users/me/keys/"+p.tokenID, p.token, ""); status != 204 {
				t.Errorf("%d %v", status, body)
			}
			return nil
		}},
		"revoked by a subcommand": {end: func(t *testing.T, _ *rig, other *store.Store, p person) error {
			return other.RevokeToken(t.Context(), p.tokenID)
		}},
		"user deleted by a subcommand": {end: func(t *testing.T, _ *rig, other *store.Store, p person) error {
			return other.DeleteUser(t.Context(), p.ID)
		}},
		"agent deleted by a subcommand": {agent: true, end: func(t *testing.T, _ *rig, other *store.Store, p person) error {
			return other.DeleteAgent(t.Context(), p.agent.ID)
		}},
		"workspace deleted by the API": {agent: true, end: func(t *testing.T, r *rig, _ *store.Store, p person) error {
			if status, body := r.call("DELETE", "/api/v2/workspaces/"+p.workspace.ID.String(), p.token, ""); status != 204 {
				t.Errorf("%d %v", status, body)
			}
			return nil
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			alice := r.person("alice")
			path, token := tailnetPath, alice.token
			if test.agent {
				path, token = agentPath, alice.agentKey
			}
			other, err := store.Open(t.Context(), r.dir)
			if err != nil {
				t.Fatal(err)
			}
			defer other.Close()
			conn, _, err := r.dial(path, token)
			if err != nil {
				t.Fatal(err)
			}
			started := time.Now()
			if err := test.end(t, r, other, alice); err != nil {
				t.Fatal(err)
			}
			code, reason := closeStatus(t, conn)
			if code != websocket.StatusGoingAway || reason != errTokenEnded.Text {
				t.Errorf("closed with %v %q", code, reason)
			}
			// A connection that is as young as the look at the tokens waits for the
			// next one, and then has 2 s to hear why.
			if took := time.Since(started); took > sweepInterval+3*time.Second {
				t.Errorf("took %s", took)
			}
			if _, response, err := r.dial(path, token); err == nil || response.StatusCode != 401 {
				t.Errorf("dialled again: %v, %v", response, err)
			}
		})
	}
}

// TestPartnersOfARevokedPeerHear holds that an agent drops a client whose token
// is revoked. One that is merely lost it would go on serving.
func TestPartnersOfARevokedPeerHear(t *testing.T) {
	r := newRig(t)
	alice := r.person("alice")
	_, agentClient := r.open(agentPath, alice.agentKey)
	agent := r.coordinate(agentClient)
	_, client := r.open(tailnetPath, alice.token)
	stream := r.coordinate(client)
	for _, request := range []*tailnetv2.CoordinateRequest{announce(t, proto.AddrFromUUID(proto.ServicePrefix, uuid.New())), addTunnel(alice.agent.ID)} {
		if err := stream.Send(request); err != nil {
			t.Fatal(err)
		}
	}
	var peer []byte
	for _, want := range []tailnetv2.CoordinateResponse_PeerUpdate_Kind{
		tailnetv2.CoordinateResponse_PeerUpdate_NODE, tailnetv2.CoordinateResponse_PeerUpdate_DISCONNECTED,
	} {
		response, err := agent.Recv()
		if err != nil || len(response.GetPeerUpdates()) != 1 || response.GetPeerUpdates()[0].GetKind() != want {
			t.Fatalf("response %v, %v, want %s", response, err, want)
		}
		if peer == nil {
			peer = response.GetPeerUpdates()[0].GetId()
			if status, body := r.call("DELETE", "/api/v2/users/me/keys/"+alice.tokenID, alice.token, ""); status != 204 {
				t.Fatalf("%d %v", status, body)
			}
		} else if !bytes.Equal(peer, response.GetPeerUpdates()[0].GetId()) {
			t.Error("another peer has gone")
		}
	}
}

// TestSubcommandsAreNoticed holds that a change by another process reaches
// those who watch.
func TestSubcommandsAreNoticed(t *testing.T) {
	r := newRig(t)
	alice := r.person("alice")
	other, err := store.Open(t.Context(), r.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	_, client := r.open(tailnetPath, alice.token)
	updates, err := tailnetv2.NewDRPCTailnetClient(client).WorkspaceUpdates(t.Context(), &tailnetv2.WorkspaceUpdatesRequest{WorkspaceOwnerId: alice.ID[:]})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := updates.Recv(); err != nil {
		t.Fatal(err)
	}
	workspace, err := other.CreateWorkspace(t.Context(), alice.User, "second")
	if err != nil {
		t.Fatal(err)
	}
	update, err := updates.Recv()
	if err != nil || len(update.GetUpsertedWorkspaces()) != 1 || update.GetUpsertedWorkspaces()[0].GetName() != "second" {
		t.Fatalf("update %v, %v", update, err)
	}
	if err := other.DeleteWorkspace(t.Context(), workspace.ID); err != nil {
		t.Fatal(err)
	}
	update, err = updates.Recv()
	if err != nil || len(update.GetDeletedWorkspaces()) != 1 || uuid.UUID(update.GetDeletedWorkspaces()[0].GetId()) != workspace.ID {
		t.Fatalf("update %v, %v", update, err)
	}
}

func TestCloseCodes(t *testing.T) {
	r := newRig(t)
	alice := r.person("alice")
	tests := map[string]struct {
		send func(conn *websocket.Conn) error
		want websocket.StatusCode
	}{
		"not yamux": {func(conn *websocket.Conn) error {
			return conn.Write(t.Context(), websocket.MessageBinary, []byte(strings.Repeat("x", 64)))
		}, websocket.StatusInternalError},
		"text message": {func(conn *websocket.Conn) error {
			return conn.Write(t.Context(), websocket.MessageText, []byte("hello"))
		}, websocket.StatusInternalError},
	}
	for name, test := range tests {
		conn, _, err := r.dial(tailnetPath, alice.token)
		if err != nil {
			t.Fatal(err)
		}
		if err := test.send(conn); err != nil {
			t.Fatal(err)
		}
		if code, reason := closeStatus(t, conn); code != test.want {
			t.Errorf("%s: closed with %v %q, want %v", name, code, reason, test.want)
		}
	}
	conn, _, err := r.dial(tailnetPath, alice.token)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Errorf("clean end: %v", err)
	}
	eventually(t, "connections forgotten", func() bool { return r.api.live.count() == 0 })
}

// TestResumeKeepsThePeer reconnects with a resume token and looks at what the
// agent is told: the same peer id.
func TestResumeKeepsThePeer(t *testing.T) {
	r := newRig(t)
	alice := r.person("alice")
	_, agentClient := r.open(agentPath, alice.agentKey)
	agentStream := r.coordinate(agentClient)
	if err := agentStream.Send(announce(t, proto.AddrFromUUID(proto.ServicePrefix, alice.agent.ID))); err != nil {
		t.Fatal(err)
	}
	connect := func(resume string) (string, uuid.UUID) {
		path := tailnetPath
		if resume != "" {
			path += "&resume_token=" + resume
		}
		_, client := r.open(path, alice.token)
		defer client.Close()
		token, err := tailnetv2.NewDRPCTailnetClient(client).RefreshResumeToken(t.Context(), &tailnetv2.RefreshResumeTokenRequest{})
		if err != nil {
			t.Fatal(err)
		}
		stream := r.coordinate(client)
		request := announce(t, proto.AddrFromUUID(proto.ServicePrefix, uuid.New()))
		request.AddTunnel = addTunnel(alice.agent.ID).GetAddTunnel()
		if err := stream.Send(request); err != nil {
			t.Fatal(err)
		}
		for {
			response, err := agentStream.Recv()
			if err != nil {
				t.Fatal(err)
			}
			for _, update := range response.GetPeerUpdates() {
				if update.GetKind() == tailnetv2.CoordinateResponse_PeerUpdate_NODE {
					return token.GetToken(), uuid.UUID(update.GetId())
				}
			}
		}
	}
	token, first := connect("")
	if _, second := connect(token); second != first {
		t.Errorf("peer %s became %s", first, second)
	}
	if _, third := connect(""); third == first {
		t.Error("a client without a resume token kept the peer id")
	}
}
