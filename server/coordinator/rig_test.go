package coordinator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/uuid"
	"go.uber.org/goleak"
	"tailscale.com/types/key"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/tailnetv2"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a coordinator with named peers. As Send does its work before it
// returns, what a peer was told is in its queue by then: no test waits.
type rig struct {
	t     *testing.T
	c     *Coordinator
	peers map[string]*Stream
	ids   map[string]uuid.UUID
	keys  map[string]key.NodePublic
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, c: New(slog.New(slog.DiscardHandler)), peers: map[string]*Stream{}, ids: map[string]uuid.UUID{}, keys: map[string]key.NodePublic{}}
	t.Cleanup(func() { r.c.Close() })
	return r
}

func (r *rig) id(name string) uuid.UUID {
	if _, found := r.ids[name]; !found {
		r.ids[name] = uuid.New()
		r.keys[name] = key.NewNode().Public()
	}
	return r.ids[name]
}

// connect connects a peer; a name that starts with "a" is an agent's, with "c"
// a client's that may reach every agent, and all others are trusted.
func (r *rig) connect(name string) *Stream {
	return r.connectCtx(context.Background(), name)
}

func (r *rig) connectCtx(ctx context.Context, name string) *Stream {
	r.t.Helper()
	auth := SingleTailnetAuth()
	switch name[0] {
	case 'a':
		auth = AgentAuth(r.id(name))
	case 'c':
		auth = UserAuth(func(context.Context, uuid.UUID) error { return nil })
	}
	s, err := r.c.Connect(ctx, r.id(name), name, auth)
	if err != nil {
		r.t.Fatalf("connect %s: %v", name, err)
	}
	r.peers[name] = s
	return s
}

// node is a valid node of a peer; version makes it differ.
func (r *rig) node(name string, version int) *tailnetv2.Node {
	id := r.id(name)
	raw, _ := r.keys[name].MarshalBinary()
	address := proto.AddrFromUUID(proto.ServicePrefix, id).String() + "/128"
	return &tailnetv2.Node{Id: proto.NodeIDFromUUID(id), Key: raw, PreferredDerp: int32(version), Addresses: []string{address}, AllowedIps: []string{address}}
}

func (r *rig) send(name string, req *tailnetv2.CoordinateRequest) {
	r.t.Helper()
	if err := r.peers[name].Send(req); err != nil {
		r.t.Fatalf("%s sends: %v", name, err)
	}
}

func (r *rig) update(name string, version int) {
	r.t.Helper()
	r.send(name, updateSelf(r.node(name, version)))
}
func (r *rig) open(from, to string) { r.t.Helper(); r.send(from, addTunnel(r.id(to))) }
func (r *rig) shut(from, to string) { r.t.Helper(); r.send(from, removeTunnel(r.id(to))) }

func updateSelf(node *tailnetv2.Node) *tailnetv2.CoordinateRequest {
	return &tailnetv2.CoordinateRequest{UpdateSelf: &tailnetv2.CoordinateRequest_UpdateSelf{Node: node}}
}

func addTunnel(id uuid.UUID) *tailnetv2.CoordinateRequest {
	return &tailnetv2.CoordinateRequest{AddTunnel: &tailnetv2.CoordinateRequest_Tunnel{Id: id[:]}}
}

func removeTunnel(id uuid.UUID) *tailnetv2.CoordinateRequest {
	return &tailnetv2.CoordinateRequest{RemoveTunnel: &tailnetv2.CoordinateRequest_Tunnel{Id: id[:]}}
}

func ready(ids ...uuid.UUID) *tailnetv2.CoordinateRequest {
	req := &tailnetv2.CoordinateRequest{}
	for _, id := range ids {
		req.ReadyForHandshake = append(req.ReadyForHandshake, &tailnetv2.CoordinateRequest_ReadyForHandshake{Id: id[:]})
	}
	return req
}

func disconnect() *tailnetv2.CoordinateRequest {
	return &tailnetv2.CoordinateRequest{Disconnect: &tailnetv2.CoordinateRequest_Disconnect{}}
}

// heard takes everything that is queued for a peer and writes it as one line:
// "KIND peer vN reason", "error: text", "EOF", joined by "; ".
func (r *rig) heard(name string) string {
	r.t.Helper()
	return r.heardOn(r.peers[name])
}

func (r *rig) heardOn(s *Stream) string {
	r.t.Helper()
	names := map[uuid.UUID]string{}
	for name, id := range r.ids {
		names[id] = name
	}
	over, cancel := context.WithCancel(context.Background())
	cancel()
	var lines []string
	for {
		response, err := s.Recv(over)
		if errors.Is(err, io.EOF) {
			return strings.Join(append(lines, "EOF"), "; ")
		}
		if err != nil {
			return strings.Join(lines, "; ")
		}
		for _, update := range response.GetPeerUpdates() {
			line := update.GetKind().String() + " " + names[uuid.UUID(update.GetId())]
			if node := update.GetNode(); node != nil {
				line += fmt.Sprintf(" v%d", node.GetPreferredDerp())
			}
			if reason := update.GetReason(); reason != "" {
				line += " (" + reason + ")"
			}
			lines = append(lines, line)
		}
		if text := response.GetError(); text != "" {
			lines = append(lines, "error: "+text)
		}
	}
}

func (r *rig) expect(name, want string) {
	r.t.Helper()
	if got := r.heard(name); got != want {
		r.t.Errorf("%s heard\n  %q\nwant\n  %q", name, got, want)
	}
}

// quiet empties the queues of these peers.
func (r *rig) quiet(names ...string) {
	r.t.Helper()
	for _, name := range names {
		r.heard(name)
	}
}

// pair connects client c1 and agent a1 with nodes and a tunnel, and empties
// their queues.
func (r *rig) pair() {
	r.t.Helper()
	r.connect("a1")
	r.connect("c1")
	r.update("a1", 1)
	r.update("c1", 1)
	r.open("c1", "a1")
	r.quiet("a1", "c1")
}

func (r *rig) keyOf(name string) key.NodePublic { r.id(name); return r.keys[name] }

// keysOf gives a peer the key of another.
func (r *rig) keysOf(name, other string) { r.id(name); r.keys[name] = r.keyOf(other) }
