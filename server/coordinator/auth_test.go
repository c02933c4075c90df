package coordinator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/tailnetv2"
)

var (
	ownAgent     = uuid.MustParse("aaaaaaaa-0000-4000-8000-000000000001")
	foreignAgent = uuid.MustParse("aaaaaaaa-0000-4000-8000-000000000002")
	absentAgent  = uuid.MustParse("aaaaaaaa-0000-4000-8000-000000000003")
)

func nodeAt(lists ...[]string) *tailnetv2.CoordinateRequest {
	node := &tailnetv2.Node{Addresses: lists[0]}
	if len(lists) > 1 {
		node.AllowedIps = lists[1]
	}
	return updateSelf(node)
}

// TestAuthorisation has every class against every kind of request. An empty
// want is consent; else the error must begin with it.
func TestAuthorisation(t *testing.T) {
	mine := func(_ context.Context, id uuid.UUID) error {
		switch id {
		case ownAgent:
			return nil
		case foreignAgent:
			return errors.New("agent of alice: forbidden")
		default:
			return errors.New("no such agent in the database")
		}
	}
	own := proto.AgentAddrs(ownAgent)
	tailscale, service := own[0].String()+"/128", own[1].String()+"/128"
	legacy := proto.LegacyAgentAddr.String() + "/128"
	random := proto.AddrFromUUID(proto.ServicePrefix, uuid.New()).String() + "/128"
	random2 := proto.AddrFromUUID(proto.TailscalePrefix, uuid.New()).String() + "/128"
	const notMine = "authorization: workspace agent not found or you do not have permission"

	requests := []struct {
		name                         string
		req                          *tailnetv2.CoordinateRequest
		trusted, one, user, forAgent string
	}{
		{"tunnel to the own agent", addTunnel(ownAgent), "", "", "", "authorization: agents cannot open tunnels"},
		{"tunnel to a foreign agent", addTunnel(foreignAgent), "", "authorization: invalid agent id, expected " + ownAgent.String() + ", got " + foreignAgent.String(), notMine, "authorization: agents cannot open tunnels"},
		{"tunnel to no agent", addTunnel(absentAgent), "", "authorization: invalid agent id", notMine, "authorization: agents cannot open tunnels"},
		{"remove any tunnel", removeTunnel(foreignAgent), "", "", "", ""},
		{"ready for handshake", ready(absentAgent), "", "authorization: clients may not send ready_for_handshake", "authorization: clients may not send ready_for_handshake", ""},
		{"empty node", nodeAt(nil), "", "", "", ""},
		{"derived addresses", nodeAt([]string{tailscale, service}, []string{tailscale, service, legacy}), "", "authorization: allowed ip", "authorization: allowed ip", ""},
		{"legacy address", nodeAt([]string{legacy}), "", "authorization: node address", "authorization: node address", ""},
		{"random address", nodeAt([]string{random, random2}, []string{random}), "", "", "", "authorization: Addresses: invalid node address"},
		{"random allowed ip", nodeAt([]string{service}, []string{random}), "", "authorization: allowed ip", "authorization: allowed ip", "authorization: AllowedIps: invalid node address"},
		{"address with wide mask", nodeAt([]string{strings.Replace(service, "/128", "/64", 1)}), "", "authorization: invalid address bits, expected 128, got 64", "authorization: invalid address bits, expected 128, got 64", "authorization: Addresses: invalid address bits, expected 128, got 64"},
		{"allowed ip with wide mask", nodeAt([]string{service}, []string{"fd60:627a:a42b::/48"}), "", "authorization: invalid address bits, expected 128, got 48", "authorization: invalid address bits, expected 128, got 48", "authorization: AllowedIps: invalid address bits, expected 128, got 48"},
		{"IPv4 address", nodeAt([]string{"10.0.0.1/32"}), "", "authorization: invalid address bits, expected 128, got 32", "authorization: invalid address bits, expected 128, got 32", "authorization: Addresses: invalid address bits"},
		{"default route", nodeAt([]string{random}, []string{"::/0"}), "", "authorization: invalid address bits, expected 128, got 0", "authorization: invalid address bits, expected 128, got 0", "authorization: "},
		{"unparsable address", nodeAt([]string{"there"}), "", "authorization: parse node address", "authorization: parse node address", "authorization: Addresses: parse node address"},
		{"unparsable allowed ip", nodeAt([]string{service}, []string{"fd60::1"}), "", "authorization: parse node address", "authorization: parse node address", "authorization: AllowedIps: parse node address"},
		{"address of the DNS service", nodeAt([]string{proto.DNSAddr.String() + "/128"}), "", "authorization: node address", "authorization: node address", "authorization: Addresses: invalid node address"},
		{"address of the internet", nodeAt([]string{"2001:db8::1/128"}), "", "authorization: node address", "authorization: node address", "authorization: Addresses: invalid node address"},
		{"broken key", updateSelf(&tailnetv2.Node{Key: []byte("np")}), "", "authorization: invalid node key", "authorization: invalid node key", "authorization: invalid node key"},
		{"broken disco key", updateSelf(&tailnetv2.Node{Disco: "discokey:00"}), "", "authorization: invalid disco key", "authorization: invalid disco key", "authorization: invalid disco key"},
		{"huge node", updateSelf(&tailnetv2.Node{Endpoints: []string{strings.Repeat("x", MaxNodeSize)}}), "", "authorization: node of ", "authorization: node of ", "authorization: node of "},
	}
	for _, test := range requests {
		for _, caller := range []struct {
			class, want string
			auth        Auth
		}{
			{"trusted", test.trusted, SingleTailnetAuth()},
			{"client of one agent", test.one, ClientOfAgentAuth(ownAgent)},
			{"user", test.user, UserAuth(mine)},
			{"agent", test.forAgent, AgentAuth(ownAgent)},
		} {
			t.Run(test.name+"/"+caller.class, func(t *testing.T) {
				r := newRig(t)
				s, err := r.c.Connect(t.Context(), uuid.New(), "", caller.auth)
				if err != nil {
					t.Fatal(err)
				}
				err = s.Send(test.req)
				if caller.want == "" {
					if err != nil {
						t.Fatalf("refused: %v", err)
					}
					return
				}
				if err == nil || !strings.HasPrefix(err.Error(), caller.want) {
					t.Fatalf("error is %v, want %q", err, caller.want)
				}
				if got, want := r.heardOn(s), "error: "+err.Error()+"; EOF"; got != want {
					t.Errorf("peer heard %q, want %q", got, want)
				}
			})
		}
	}
}

// TestForeignAndAbsentAgentsLookAlike holds that a user cannot tell an agent of
// somebody else from one that does not exist.
func TestForeignAndAbsentAgentsLookAlike(t *testing.T) {
	answers := map[string]bool{}
	for _, cause := range []error{errors.New("forbidden"), errors.New("not found"), fmt.Errorf("database: %w", context.DeadlineExceeded)} {
		r := newRig(t)
		s, err := r.c.Connect(t.Context(), uuid.New(), "", UserAuth(func(context.Context, uuid.UUID) error { return cause }))
		if err != nil {
			t.Fatal(err)
		}
		answers[fmt.Sprint(s.Send(addTunnel(foreignAgent)), r.heardOn(s))] = true
	}
	if len(answers) != 1 {
		t.Errorf("answers differ: %v", answers)
	}
}

func TestMalformedRequests(t *testing.T) {
	short := &tailnetv2.CoordinateRequest_Tunnel{Id: []byte{1, 2, 3}}
	for name, req := range map[string]*tailnetv2.CoordinateRequest{
		"update_self without a node": {UpdateSelf: &tailnetv2.CoordinateRequest_UpdateSelf{}},
		"short add_tunnel id":        {AddTunnel: short},
		"absent add_tunnel id":       {AddTunnel: &tailnetv2.CoordinateRequest_Tunnel{}},
		"short remove_tunnel id":     {RemoveTunnel: short},
		"long ready id":              {ReadyForHandshake: []*tailnetv2.CoordinateRequest_ReadyForHandshake{{Id: make([]byte, 17)}}},
		"too many ready ids":         ready(make([]uuid.UUID, updatesLimit+1)...),
		"absent ready entry":         {ReadyForHandshake: []*tailnetv2.CoordinateRequest_ReadyForHandshake{nil}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.connect("c1")
			r.connect("s1")
			r.update("s1", 1)
			r.open("c1", "s1")
			r.update("c1", 1)
			r.quiet("c1", "s1")
			err := r.peers["c1"].Send(req)
			if err == nil {
				t.Fatal("accepted")
			}
			r.expect("c1", "error: "+err.Error()+"; EOF")
			r.expect("s1", "LOST c1 (lost)")
		})
	}
	t.Run("empty ready list is none", func(t *testing.T) {
		r := newRig(t)
		r.connect("c1")
		r.send("c1", &tailnetv2.CoordinateRequest{ReadyForHandshake: []*tailnetv2.CoordinateRequest_ReadyForHandshake{}})
		r.expect("c1", "")
	})
	t.Run("nothing at all", func(t *testing.T) {
		r := newRig(t)
		r.connect("c1")
		r.send("c1", &tailnetv2.CoordinateRequest{})
		r.expect("c1", "")
	})
}

// TestAuthorisationRunsWithThePeersContext also shows that nothing is locked
// meanwhile: the permission asks the coordinator itself.
func TestAuthorisationRunsWithThePeersContext(t *testing.T) {
	type mark struct{}
	c := New(slog.New(slog.DiscardHandler))
	defer c.Close()
	agent := uuid.New()
	asked := false
	s, err := c.Connect(context.WithValue(t.Context(), mark{}, true), uuid.New(), "", UserAuth(func(ctx context.Context, id uuid.UUID) error {
		asked = ctx.Value(mark{}) == true && id == agent && !c.Connected(agent)
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(addTunnel(agent)); err != nil || !asked {
		t.Errorf("asked %v, error %v", asked, err)
	}
}
