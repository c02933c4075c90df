package control

import (
	"bytes"
	"errors"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	causeway "github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/tailnetv2"
	"github.com/causewayhq/causeway/workspace"
)

// No body of a rejection makes an error that is empty, endless, or unfit for a
// terminal.
func FuzzRejection(f *testing.F) {
	f.Add(400, []byte(`{"message":"Unknown or unsupported API version","validations":[{"field":"version","detail":"behind"}]}`), "")
	f.Add(401, []byte(`{"message":"Invalid resume token","detail":"x","validations":[{"field":"resume_token"}]}`), "")
	f.Add(503, []byte(`<html>`), "5")
	f.Add(500, []byte("{\"message\":\"a\\u001b\"}"), "-5")
	f.Fuzz(func(t *testing.T, status int, body []byte, after string) {
		err := rejection("https://plane.test", &http.Response{StatusCode: status, Header: http.Header{"Retry-After": {after}}}, body)
		var refused *DialError
		if !errors.As(err, &refused) || refused.Status != status {
			t.Fatalf("got %v", err)
		}
		text := err.Error()
		if len(text) > toldLimit+200 || strings.ContainsAny(text, "\x1b\n\r\x00") {
			t.Errorf("got %q", text)
		}
		if refused.hint < 0 || refused.hint > hintCeiling || refused.hint > 0 && status != http.StatusServiceUnavailable {
			t.Errorf("hint %v", refused.hint)
		}
	})
}

// No close reason makes a wait outside the bounds.
func FuzzCloseReason(f *testing.F) {
	f.Add("server is shutting down; retry after 1.7s")
	f.Add("x; retry after 1000h")
	f.Add("; retry after -9223372036854775808ns")
	f.Add("\x1b]0;title\a; retry after 1e9s")
	f.Fuzz(func(t *testing.T, reason string) {
		err := told(reason)
		if err.hint != 0 && (err.hint < hintFloor || err.hint > hintCeiling) {
			t.Errorf("hint %v", err.hint)
		}
		if text := err.Error(); len(text) > toldLimit+100 || strings.ContainsAny(text, "\x1b\n\r\x00\a") {
			t.Errorf("got %q", text)
		}
	})
}

// Two workspace messages of any content leave the state whole: what is refused
// changes nothing, and destinations are the agents.
func FuzzWorkspaceMessages(f *testing.F) {
	seed := func(update *tailnetv2.WorkspaceUpdate) []byte {
		raw, err := proto.Marshal(update)
		if err != nil {
			f.Fatal(err)
		}
		return raw
	}
	ws, agent := bytes.Repeat([]byte{1}, 16), bytes.Repeat([]byte{2}, 16)
	first := seed(&tailnetv2.WorkspaceUpdate{
		UpsertedWorkspaces: []*tailnetv2.Workspace{{Id: ws, Name: "w"}}, UpsertedAgents: []*tailnetv2.Agent{{Id: agent, Name: "a", WorkspaceId: ws}},
	})
	f.Add(first, seed(&tailnetv2.WorkspaceUpdate{DeletedAgents: []*tailnetv2.Agent{{Id: agent}}}))
	f.Add(first, seed(&tailnetv2.WorkspaceUpdate{DeletedWorkspaces: []*tailnetv2.Workspace{{Id: ws}}, UpsertedAgents: []*tailnetv2.Agent{{Id: ws, WorkspaceId: ws}}}))
	f.Add(first, first)
	f.Add([]byte{}, first)
	f.Fuzz(func(t *testing.T, one, two []byte) {
		var queue []*tailnetv2.WorkspaceUpdate
		for _, raw := range [][]byte{one, two} {
			update := &tailnetv2.WorkspaceUpdate{}
			if proto.Unmarshal(raw, update) != nil {
				return
			}
			queue = append(queue, update)
		}
		handed := &workspace.State{}
		s, c := lone(&data{}, func(state *workspace.State, _ workspace.Diff) error { handed = state; return nil })
		err := s.receiveWorkspaces(&updateStream{next: func() *tailnetv2.WorkspaceUpdate {
			if len(queue) == 0 {
				return nil
			}
			update := queue[0]
			queue = queue[1:]
			return update
		}}, c)
		if err == nil || !handed.Equal(s.loop.state) {
			t.Errorf("ended with %v; %d agents, handed on %d", err, s.loop.state.Len(), handed.Len())
		}
		if got := len(s.loop.Destinations.ids); got != s.loop.state.Len() {
			t.Errorf("%d destinations for %d agents", got, s.loop.state.Len())
		}
	})
}

// No coordination response ends the stream by itself, and none is
// acknowledged with an id that is none.
func FuzzCoordinateResponse(f *testing.F) {
	id := bytes.Repeat([]byte{1}, 16)
	for _, response := range []*tailnetv2.CoordinateResponse{
		{Error: "peer ID overwritten by new connection"},
		{Error: notFatal + ": x"},
		{PeerUpdates: []*tailnetv2.CoordinateResponse_PeerUpdate{{Id: id, Kind: tailnetv2.CoordinateResponse_PeerUpdate_NODE, Node: &tailnetv2.Node{Key: []byte("np")}}, {Id: id[:3], Kind: 1}}},
	} {
		raw, err := proto.Marshal(response)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		response := &tailnetv2.CoordinateResponse{}
		if proto.Unmarshal(raw, response) != nil {
			return
		}
		s, c := lone(&data{}, nil)
		once := response
		c.stream = &coordinateStream{next: func() *tailnetv2.CoordinateResponse {
			defer func() { once = nil }()
			return once
		}}
		if err := c.receive(); err != nil {
			t.Errorf("ended with %v", err)
		}
		for _, ready := range c.out.ready {
			if len(ready.GetId()) != 16 {
				t.Errorf("acknowledged %x", ready.GetId())
			}
		}
		fatal := response.GetError() != "" && !strings.HasPrefix(response.GetError(), notFatal)
		if (s.told.Load() != nil) != fatal {
			t.Errorf("told %v by %q", s.told.Load(), response.GetError())
		}
	})
}

// No relay map of any content breaks the conversion or passes the limit.
func FuzzRelayMap(f *testing.F) {
	raw, err := proto.Marshal(&tailnetv2.DERPMap{Regions: map[int64]*tailnetv2.DERPMap_Region{1: {EmbeddedRelay: true, Nodes: []*tailnetv2.DERPMap_Region_Node{{Name: "a"}}}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		message := &tailnetv2.DERPMap{}
		if proto.Unmarshal(raw, message) != nil {
			return
		}
		s, _ := lone(&data{}, nil)
		s.loop.dialer.URL = plainURL
		s.loop.RelayMap = func(m causeway.RelayMap) {
			if len(m.Regions) > relayLimit {
				t.Errorf("%d regions", len(m.Regions))
			}
		}
		if err := s.receiveRelayMaps(&mapStream{list: []*tailnetv2.DERPMap{message}, err: errEnded}); !errors.Is(err, errEnded) && relaySize(message) <= relayLimit {
			t.Errorf("ended with %v", err)
		}
	})
}
