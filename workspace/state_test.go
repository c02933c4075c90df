package workspace

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"go.uber.org/goleak"
	pb "google.golang.org/protobuf/proto"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/tailnetv2"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// id makes readable ids: w1 and a1 are one byte repeated.
func id(name string) []byte {
	raw := uuid.NewSHA1(uuid.Nil, []byte(name))
	return raw[:]
}

func ws(key, name string) *tailnetv2.Workspace {
	return &tailnetv2.Workspace{Id: id(key), Name: name, Status: tailnetv2.Workspace_RUNNING}
}

func ag(key, name, workspace string) *tailnetv2.Agent {
	return &tailnetv2.Agent{Id: id(key), Name: name, WorkspaceId: id(workspace)}
}

type update = tailnetv2.WorkspaceUpdate

type (
	wss = []*tailnetv2.Workspace
	ags = []*tailnetv2.Agent
)

// render is the state in one line, to compare.
func render(s *State) string {
	var parts []string
	for _, w := range s.Workspaces() {
		var agents []string
		for _, a := range s.Agents() {
			if a.WorkspaceID == w.ID {
				agents = append(agents, a.Name)
			}
		}
		parts = append(parts, fmt.Sprintf("%s(%s)", w.Name, strings.Join(agents, " ")))
	}
	return strings.Join(parts, " ")
}

func renderDiff(d Diff) string {
	var parts []string
	slices.SortFunc(d.UpsertedWorkspaces, compareWorkspaces)
	slices.SortFunc(d.DeletedWorkspaces, compareWorkspaces)
	slices.SortFunc(d.UpsertedAgents, compareAgents)
	slices.SortFunc(d.DeletedAgents, compareAgents)
	for _, w := range d.UpsertedWorkspaces {
		parts = append(parts, "+"+w.Name)
	}
	for _, a := range d.UpsertedAgents {
		parts = append(parts, "+"+a.Name)
	}
	for _, w := range d.DeletedWorkspaces {
		parts = append(parts, "-"+w.Name)
	}
	for _, a := range d.DeletedAgents {
		parts = append(parts, "-"+a.Name)
	}
	return strings.Join(parts, " ")
}

func start(t *testing.T) *State {
	t.Helper()
	s, _, err := (&State{}).Apply(&update{
		UpsertedWorkspaces: wss{ws("w1", "one"), ws("w2", "two"), ws("w3", "empty")},
		UpsertedAgents:     ags{ag("a1", "main", "w1"), ag("a2", "left", "w2"), ag("a3", "right", "w2")},
	}, true)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const before = "empty() one(main) two(left right)"

func TestApply(t *testing.T) {
	tests := []struct {
		name     string
		update   *update
		snapshot bool
		state    string
		diff     string
		err      error
	}{
		{"nothing", &update{}, false, before, "", nil},
		{"same again", &update{UpsertedWorkspaces: wss{ws("w1", "one")}, UpsertedAgents: ags{ag("a1", "main", "w1")}}, false, before, "", nil},
		{"new workspace with agent", &update{UpsertedWorkspaces: wss{ws("w4", "four")}, UpsertedAgents: ags{ag("a4", "new", "w4")}}, false,
			"empty() four(new) one(main) two(left right)", "+four +new", nil},
		{"rename workspace keeps agents and renames them", &update{UpsertedWorkspaces: wss{ws("w2", "deux")}}, false,
			"deux(left right) empty() one(main)", "+deux +left +right", nil},
		{"status only", &update{UpsertedWorkspaces: wss{{Id: id("w1"), Name: "one", Status: tailnetv2.Workspace_STOPPED}}}, false, before, "+one", nil},
		{"rename agent", &update{UpsertedAgents: ags{ag("a1", "principal", "w1")}}, false, "empty() one(principal) two(left right)", "+principal", nil},
		{"second agent takes the alias away", &update{UpsertedAgents: ags{ag("a5", "second", "w1")}}, false,
			"empty() one(main second) two(left right)", "+main +second", nil},
		{"alias comes back", &update{DeletedAgents: ags{ag("a3", "", "")}}, false, "empty() one(main) two(left)", "+left -right", nil},
		{"agent moves", &update{UpsertedAgents: ags{ag("a3", "right", "w3")}}, false, "empty(right) one(main) two(left)", "+left +right", nil},
		{"delete agent, then its workspace", &update{DeletedWorkspaces: wss{ws("w1", "")}, DeletedAgents: ags{ag("a1", "", "")}}, false,
			"empty() two(left right)", "-one -main", nil},
		{"workspace takes its agents along", &update{DeletedWorkspaces: wss{ws("w2", "")}}, false, "empty() one(main)", "-two -left -right", nil},
		{"replace one agent by another", &update{DeletedAgents: ags{ag("a1", "", "")}, UpsertedAgents: ags{ag("a9", "main", "w1")}}, false, before, "+main -main", nil},
		{"snapshot replaces", &update{UpsertedWorkspaces: wss{ws("w2", "two")}, UpsertedAgents: ags{ag("a2", "left", "w2")}}, true,
			"two(left)", "+left -empty -one -main -right", nil},
		{"equal snapshot", &update{UpsertedWorkspaces: wss{ws("w1", "one"), ws("w2", "two"), ws("w3", "empty")},
			UpsertedAgents: ags{ag("a1", "main", "w1"), ag("a2", "left", "w2"), ag("a3", "right", "w2")}}, true, before, "", nil},
		{"empty snapshot", &update{}, true, "", "-empty -one -two -left -main -right", nil},

		{"delete in a snapshot", &update{DeletedAgents: ags{ag("a1", "", "")}}, true, before, "", ErrUnknown},
		{"delete workspace in a snapshot", &update{DeletedWorkspaces: wss{ws("w1", "")}}, true, before, "", ErrUnknown},
		{"agent of unknown workspace", &update{UpsertedWorkspaces: wss{ws("w4", "four")}, UpsertedAgents: ags{ag("a4", "new", "w9")}}, false, before, "", ErrUnknown},
		{"agent of a workspace deleted before it", &update{DeletedWorkspaces: wss{ws("w2", "")}, UpsertedAgents: ags{ag("a4", "new", "w2")}}, false, before, "", ErrUnknown},
		{"unknown agent deleted", &update{UpsertedWorkspaces: wss{ws("w1", "uno")}, DeletedAgents: ags{ag("a2", "", ""), ag("a9", "", "")}}, false, before, "", ErrUnknown},
		{"unknown workspace deleted", &update{DeletedWorkspaces: wss{ws("w1", ""), ws("w9", "")}}, false, before, "", ErrUnknown},
		{"agent deleted twice", &update{DeletedAgents: ags{ag("a1", "", ""), ag("a1", "", "")}}, false, before, "", ErrUnknown},
		{"bad workspace id", &update{UpsertedWorkspaces: wss{{Id: []byte("short")}}}, false, before, "", ErrBadID},
		{"bad agent id", &update{UpsertedAgents: ags{ag("a3", "x", "w3"), {Id: nil, WorkspaceId: id("w1")}}}, false, before, "", ErrBadID},
		{"bad workspace id of agent", &update{UpsertedAgents: ags{{Id: id("a1"), WorkspaceId: make([]byte, 17)}}}, false, before, "", ErrBadID},
		{"bad id deleted", &update{DeletedWorkspaces: wss{{}}}, false, before, "", ErrBadID},
		{"nil update", nil, false, before, "", nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			old := start(t)
			s, diff, err := old.Apply(test.update, test.snapshot)
			if !errors.Is(err, test.err) || (err != nil) != (test.err != nil) {
				t.Fatalf("error %v, want %v", err, test.err)
			}
			if got := render(s); got != test.state {
				t.Errorf("state %q, want %q", got, test.state)
			}
			if got := renderDiff(diff); got != test.diff {
				t.Errorf("diff %q, want %q", got, test.diff)
			}
			if err != nil && s != old {
				t.Error("a failed update gave another state")
			}
			if !old.Equal(start(t)) {
				t.Error("the update changed the old state")
			}
			for _, agent := range s.Agents() {
				if found, of, ok := s.Agent(agent.ID); !ok || found != agent || of.ID != agent.WorkspaceID {
					t.Errorf("agent %s is not found", agent.Name)
				}
			}
		})
	}
}

func TestNames(t *testing.T) {
	s := start(t)
	names, omitted := maps.Collect(s.Names("Alice", ".CODER.")), s.AllLeftOut("Alice", ".CODER.")
	if len(omitted) != 0 {
		t.Errorf("left out: %v", omitted)
	}
	addr := func(key string) netip.Addr { return proto.AddrFromUUID(proto.ServicePrefix, uuid.UUID(id(key))) }
	want := map[string]netip.Addr{
		"is.coder--connect--enabled--right--now.coder": netip.MustParseAddr("fd60:627a:a42b::53"),
		"main.one.me.coder":                            addr("a1"), "main.one.alice.coder": addr("a1"), "one.coder": addr("a1"),
		"left.two.me.coder": addr("a2"), "left.two.alice.coder": addr("a2"),
		"right.two.me.coder": addr("a3"), "right.two.alice.coder": addr("a3"),
	}
	if fmt.Sprint(names) != fmt.Sprint(want) {
		t.Errorf("names\n%v, want\n%v", names, want)
	}
	if got := s.AgentNames(uuid.UUID(id("a1")), "alice", "coder"); !slices.Equal(got, []string{"one.coder", "main.one.me.coder", "main.one.alice.coder"}) {
		t.Errorf("names of one agent: %v", got)
	}
	if s.AgentNames(uuid.New(), "alice", "coder") != nil {
		t.Error("an unknown agent has names")
	}
}

func TestNamesThatDNSCannotCarry(t *testing.T) {
	label := strings.Repeat("x", 63)
	tests := []struct {
		name      string
		agent     string
		workspace string
		suffix    string
		owner     string
		want      int // names without the sentinel
		omitted   bool
	}{
		{"longest labels", label, label, "coder", "alice", 3, false},
		{"label of 64", label + "y", "one", "coder", "alice", 1, true}, // the alias stays
		{"workspace of 64", "main", label + "y", "coder", "alice", 0, true},
		{"name over 253", label, label, strings.Repeat("s", 60) + "." + strings.Repeat("s", 60), label, 2, true},
		{"empty agent", "", "one", "coder", "alice", 1, true},
		{"line break", "main\n1.2.3.4 bank.test", "one", "coder", "alice", 1, true},
		{"space", "ma in", "one", "coder", "alice", 1, true},
		{"dot", "a.b", "one", "coder", "alice", 1, true},
		{"not ASCII", "agént", "one", "coder", "alice", 1, true},
		{"underscore and hyphen", "main_agent-1", "main-workspace", "coder", "admin", 3, false},
		{"no owner", "main", "one", "coder", "", 2, false},
		{"bad owner", "main", "one", "coder", "a b", 2, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s, _, err := (&State{}).Apply(&update{
				UpsertedWorkspaces: wss{ws("w1", test.workspace), ws("w2", "good")},
				UpsertedAgents:     ags{ag("a1", test.agent, "w1"), ag("a2", "main", "w2")},
			}, true)
			if err != nil {
				t.Fatal(err)
			}
			names, omitted := maps.Collect(s.Names(test.owner, test.suffix)), s.AllLeftOut(test.owner, test.suffix)
			mine := 0
			for name, addr := range names {
				if addr == proto.AddrFromUUID(proto.ServicePrefix, uuid.UUID(id("a1"))) {
					mine++
				}
				if strings.ContainsAny(name, " \n") || len(name) > 253 {
					t.Errorf("name %q", name)
				}
			}
			if mine != test.want || (len(omitted) > 0) != test.omitted {
				t.Errorf("%d names, want %d; left out %v", mine, test.want, omitted)
			}
			if _, others := names["main.good.me."+test.suffix]; !others {
				t.Error("the other workspace lost its name")
			}
		})
	}
}

func TestJSON(t *testing.T) {
	s := start(t)
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var back State
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(&back)
	if err != nil || !s.Equal(&back) || string(again) != string(data) {
		t.Errorf("came back as %s, %v", again, err)
	}
	w := uuid.UUID(id("w1")).String()
	for _, bad := range []string{
		`{}`, `{"version":2}`, `[]`, `{"version":1,"workspaces":[{"id":"x"}]}`,
		`{"version":1,"workspaces":[{"id":"` + w + `"},{"id":"` + w + `"}]}`,
		`{"version":1,"workspaces":[{"id":"` + w + `","agents":[{"id":"` + w + `"},{"id":"` + w + `"}]}]}`,
	} {
		if err := json.Unmarshal([]byte(bad), &back); err == nil {
			t.Errorf("%s was taken", bad)
		}
		if !s.Equal(&back) {
			t.Fatalf("%s changed the state", bad)
		}
	}
}

func FuzzJSON(f *testing.F) {
	f.Add([]byte(`{"version":1,"workspaces":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var s State
		if json.Unmarshal(data, &s) != nil {
			return
		}
		_ = maps.Collect(s.Names("alice", "coder")) // it does not panic
		form, err := json.Marshal(&s)
		var back State
		if err != nil || json.Unmarshal(form, &back) != nil || !back.Equal(&s) {
			t.Fatalf("%s does not come back: %v", form, err)
		}
	})
}

// FuzzApply gives any bytes to a state as a message: it never panics, a message
// that fails changes nothing, and one that does not leads to where the model
// goes.
func FuzzApply(f *testing.F) {
	for _, message := range []*update{
		{}, {UpsertedWorkspaces: wss{ws("w1", "ONE"), ws("w4", "four")}, UpsertedAgents: ags{ag("a4", "new", "w4"), ag("a1", "main", "w2")}},
		{DeletedAgents: ags{ag("a1", "", "")}, DeletedWorkspaces: wss{ws("w2", "")}}, {UpsertedAgents: ags{{Id: []byte("short")}}},
	} {
		wire, err := pb.Marshal(message)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wire, false)
		f.Add(wire, true)
	}
	f.Fuzz(func(t *testing.T, wire []byte, snapshot bool) {
		message := &update{}
		if pb.Unmarshal(wire, message) != nil {
			return
		}
		s, m := start(t), emptyModel()
		published := maps.Collect(s.Names("alice", "coder"))
		for _, w := range s.Workspaces() {
			m.workspaces[w.ID] = w
		}
		for _, a := range s.Agents() {
			m.agents[a.ID] = a
		}
		next, possible := m.after(message, snapshot)
		applied, diff, err := s.Apply(message, snapshot)
		if (err == nil) != possible || err != nil && applied != s || render(s) != before {
			t.Fatalf("error %v, want one: %t; the old state is %s", err, !possible, render(s))
		}
		published = checkNames(t, published, diff, "alice", "coder", err)
		checkState(t, applied, next, published, "alice", "coder")
		checkDiff(t, diff, m, next, "alice", "coder")
	})
}
