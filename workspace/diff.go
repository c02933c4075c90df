package workspace

import (
	"net/netip"

	"github.com/google/uuid"
)

// Diff is what differs between two states, in no order. An agent that is itself unchanged
// counts as upserted when its workspace was renamed, or when it gained or lost
// a name: the short alias that came or went with another agent, or a name that
// another one gave up or took first.
type Diff struct {
	UpsertedWorkspaces []Workspace
	UpsertedAgents     []Agent
	DeletedWorkspaces  []Workspace
	DeletedAgents      []Agent

	from, to *State
}

// Empty says whether nothing changed.
func (d Diff) Empty() bool {
	return len(d.UpsertedWorkspaces)+len(d.UpsertedAgents)+len(d.DeletedWorkspaces)+len(d.DeletedAgents) == 0
}

// Since is what changed on the way from the older state to s. Between
// neighbours it costs what the change costs; between strangers, which share
// nothing, as much as both are large.
func (s *State) Since(older *State) Diff {
	d := Diff{from: older, to: s}
	if more := s.agents.size - older.agents.size; more > 0 {
		d.UpsertedAgents = make([]Agent, 0, more)
	}
	if more := s.workspaces.size - older.workspaces.size; more > 0 {
		d.UpsertedWorkspaces = make([]Workspace, 0, more)
	}
	renamed := map[uuid.UUID]struct{}{}
	rename := func(agent *Agent) { // counts agents that did not change themselves
		before := older.agents.get(agent.ID)
		if before == nil {
			return
		}
		after := s.agents.get(agent.ID)
		if after == nil || *before != *after {
			return
		}
		if _, done := renamed[agent.ID]; !done {
			renamed[agent.ID] = struct{}{}
			d.UpsertedAgents = append(d.UpsertedAgents, *after)
		}
	}
	s.agents.since(older.agents, func(_ uuid.UUID, before, after *Agent) {
		switch {
		case after == nil:
			d.DeletedAgents = append(d.DeletedAgents, *before)
		case before == nil || *before != *after:
			d.UpsertedAgents = append(d.UpsertedAgents, *after)
		}
	})
	s.workspaces.since(older.workspaces, func(_ uuid.UUID, before, after *entry) {
		switch {
		case after == nil:
			d.DeletedWorkspaces = append(d.DeletedWorkspaces, before.Workspace)
			return
		case before == nil || before.Workspace != after.Workspace:
			d.UpsertedWorkspaces = append(d.UpsertedWorkspaces, after.Workspace)
		}
		if before != nil && before.Name != after.Name {
			for _, agent := range after.agents {
				rename(agent)
			}
		}
	})
	s.handovers(older, func(_ string, before, after *Agent) {
		if before != nil {
			rename(before)
		}
		if after != nil {
			rename(after)
		}
	})
	return d
}

// handovers goes through the keys of names that came, went, or went over to
// another agent.
func (s *State) handovers(older *State, found func(key string, before, after *Agent)) {
	s.names.since(older.names, func(key string, was, is *claim) {
		before, after := was.holder(), is.holder()
		if before == nil || after == nil || before.ID != after.ID {
			found(key, before, after)
		}
	})
}

// NameChange is one name that came, went, or changed its address.
type NameChange struct {
	Name   string     // full, lower case, no trailing dot
	Before netip.Addr // zero: was not there
	After  netip.Addr // zero: is not there
}

// Names are the names that changed, each once and in no order, under the rules
// of State.Names. The sentinel is never among them.
func (d Diff) Names(owner, suffix string) []NameChange {
	if d.to == nil {
		return nil
	}
	var list []NameChange
	zone, _ := newZone(owner, suffix)
	d.to.handovers(d.from, func(key string, before, after *Agent) {
		zone.each(key, func(name string) {
			list = append(list, NameChange{Name: name, Before: before.addr(), After: after.addr()})
		})
	})
	return list
}
