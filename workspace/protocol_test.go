package workspace

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/uuid"
)

// TestNamesAreInLowerCase, whatever the control plane writes.
func TestNamesAreInLowerCase(t *testing.T) {
	s, _, err := (&State{}).Apply(&update{UpsertedWorkspaces: wss{ws("w1", "MyWs")}, UpsertedAgents: ags{ag("a1", "MAIN", "w1")}}, true)
	if err != nil {
		t.Fatal(err)
	}
	names, leftOut := maps.Collect(s.Names("ALICE", "Corp.Example")), s.AllLeftOut("ALICE", "Corp.Example")
	if len(leftOut) != 0 || len(names) != 4 {
		t.Errorf("names %v, left out %v", names, leftOut)
	}
	for _, want := range []string{"main.myws.me.corp.example", "main.myws.alice.corp.example", "myws.corp.example", "is.coder--connect--enabled--right--now.corp.example"} {
		if _, found := names[want]; !found {
			t.Errorf("%s is not in %v", want, names)
		}
	}
	if agent, _, found := s.Agent(uuid.UUID(id("a1"))); !found || agent.Name != "MAIN" {
		t.Errorf("the agent's own name became %q", agent.Name)
	}
}

// TestCurrentStateAsADiff: asked for at any time it is a difference from nothing,
// all of it upserts, whatever came and went before. Before the first message it
// is empty.
func TestCurrentStateAsADiff(t *testing.T) {
	none := &State{}
	if diff := none.Since(none); !diff.Empty() {
		t.Errorf("before the first message: %s", renderDiff(diff))
	}
	s := none
	for i, message := range []*update{
		{UpsertedWorkspaces: wss{ws("w1", "one"), ws("w2", "two")}, UpsertedAgents: ags{ag("a1", "main", "w1"), ag("a2", "side", "w1"), ag("a3", "main", "w2")}},
		{UpsertedWorkspaces: wss{ws("w3", "three")}, DeletedAgents: ags{ag("a2", "side", "w1")}},
		{DeletedAgents: ags{ag("a3", "main", "w2")}, DeletedWorkspaces: wss{ws("w2", "two")}},
	} {
		var err error
		if s, _, err = s.Apply(message, i == 0); err != nil {
			t.Fatal(err)
		}
		diff := s.Since(none)
		if len(diff.DeletedAgents)+len(diff.DeletedWorkspaces) != 0 {
			t.Errorf("message %d: something is deleted: %s", i, renderDiff(diff))
		}
		slices.SortFunc(diff.UpsertedWorkspaces, compareWorkspaces)
		slices.SortFunc(diff.UpsertedAgents, compareAgents)
		agents := s.Agents()
		slices.SortFunc(agents, compareAgents)
		workspaces := s.Workspaces()
		slices.SortFunc(workspaces, compareWorkspaces)
		if !slices.Equal(diff.UpsertedWorkspaces, workspaces) || !slices.Equal(diff.UpsertedAgents, agents) {
			t.Errorf("message %d: %s, want all of %s", i, renderDiff(diff), render(s))
		}
	}
	if got := render(s); got != "one(main) three()" {
		t.Errorf("in the end: %s", got)
	}
}
