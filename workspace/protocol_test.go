package workspace

import (
	"maps"
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
