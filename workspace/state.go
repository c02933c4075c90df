// Package workspace knows what exists: the workspaces and agents of one user,
// how one message of the control plane changes them, and the DNS names that
// follow. It is pure: no I/O, no clock, no goroutines.
package workspace

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// Errors that end a connection, because the state and the control plane's
// view of it have drifted apart. The next connection starts with a snapshot.
var (
	// ErrBadID is wrapped when an id is not 16 bytes.
	ErrBadID = errors.New("id is not a UUID")
	// ErrUnknown is wrapped when a message names something that does not exist.
	ErrUnknown = errors.New("not known")
)

// Workspace is one workspace of the user.
type Workspace struct {
	ID     uuid.UUID
	Name   string
	Status tailnetv2.Workspace_Status
}

// Agent is one agent of a workspace.
type Agent struct {
	ID          uuid.UUID
	Name        string
	WorkspaceID uuid.UUID
}

// Diff is what one message changed. An agent that is itself unchanged counts
// as upserted when its names changed with its workspace (a rename, or the
// short alias that came or went with another agent).
type Diff struct {
	UpsertedWorkspaces []Workspace
	UpsertedAgents     []Agent
	DeletedWorkspaces  []Workspace
	DeletedAgents      []Agent
}

// Empty says whether the message changed nothing.
func (d Diff) Empty() bool {
	return len(d.UpsertedWorkspaces)+len(d.UpsertedAgents)+len(d.DeletedWorkspaces)+len(d.DeletedAgents) == 0
}

// State is what exists. The zero value is empty and ready. It is not safe for
// concurrent use; Clone gives a copy that shares nothing.
type State struct {
	workspaces map[uuid.UUID]*entry
	agents     map[uuid.UUID]*entry // the workspace of each agent
}

type entry struct {
	Workspace
	agents map[uuid.UUID]Agent
}

// Apply changes the state by one message of the control plane. A snapshot
// replaces everything; any other message is a difference. When it fails the
// state is as it was before.
func (s *State) Apply(update *tailnetv2.WorkspaceUpdate, snapshot bool) (Diff, error) {
	if snapshot {
		fresh := &State{}
		changes := change{state: fresh}
		if err := changes.apply(update); err != nil {
			return Diff{}, fmt.Errorf("apply workspace snapshot: %w", err)
		}
		diff := s.compare(fresh)
		*s = *fresh
		return diff, nil
	}
	changes := change{state: s, workspaces: map[uuid.UUID]*Workspace{}, agents: map[uuid.UUID]*Agent{}, aliases: map[uuid.UUID]string{}}
	if err := changes.apply(update); err != nil {
		changes.undo()
		return Diff{}, fmt.Errorf("apply workspace update: %w", err)
	}
	return changes.diff(), nil
}

// Clone is a copy that shares nothing with the original.
func (s *State) Clone() *State {
	clone := &State{
		workspaces: make(map[uuid.UUID]*entry, len(s.workspaces)),
		agents:     make(map[uuid.UUID]*entry, len(s.agents)),
	}
	for id, old := range s.workspaces {
		copied := &entry{Workspace: old.Workspace, agents: maps.Clone(old.agents)}
		clone.workspaces[id] = copied
		for agent := range copied.agents {
			clone.agents[agent] = copied
		}
	}
	return clone
}

// Workspaces lists all workspaces, by name and then by id.
func (s *State) Workspaces() []Workspace {
	list := make([]Workspace, 0, len(s.workspaces))
	for _, e := range s.workspaces {
		list = append(list, e.Workspace)
	}
	slices.SortFunc(list, compareWorkspaces)
	return list
}

// Agents lists all agents, by workspace and then by name.
func (s *State) Agents() []Agent {
	list := make([]Agent, 0, len(s.agents))
	for _, w := range s.sorted() {
		list = append(list, w.sorted()...)
	}
	return list
}

// Agent finds one agent and its workspace.
func (s *State) Agent(id uuid.UUID) (Agent, Workspace, bool) {
	e, found := s.agents[id]
	if !found {
		return Agent{}, Workspace{}, false
	}
	return e.agents[id], e.Workspace, true
}

// AgentIDs is the set of all agents, in no order.
func (s *State) AgentIDs() []uuid.UUID { return slices.Collect(maps.Keys(s.agents)) }

// Len counts the agents.
func (s *State) Len() int { return len(s.agents) }

// Equal says whether both hold the same workspaces and agents.
func (s *State) Equal(other *State) bool { return s.compare(other).Empty() }

// compare is what changes on the way from s to fresh.
func (s *State) compare(fresh *State) Diff {
	var diff Diff
	for id, e := range s.workspaces {
		if _, kept := fresh.workspaces[id]; !kept {
			diff.DeletedWorkspaces = append(diff.DeletedWorkspaces, e.Workspace)
		}
	}
	for id, e := range s.agents {
		if _, kept := fresh.agents[id]; !kept {
			diff.DeletedAgents = append(diff.DeletedAgents, e.agents[id])
		}
	}
	for id, e := range fresh.workspaces {
		old, known := s.workspaces[id]
		if !known || old.Workspace != e.Workspace {
			diff.UpsertedWorkspaces = append(diff.UpsertedWorkspaces, e.Workspace)
		}
		renamed := !known || old.Name != e.Name || (len(old.agents) == 1) != (len(e.agents) == 1)
		for agentID, agent := range e.agents {
			if before, had := s.agents[agentID]; renamed || !had || before.agents[agentID] != agent {
				diff.UpsertedAgents = append(diff.UpsertedAgents, agent)
			}
		}
	}
	diff.sort()
	return diff
}

func (d *Diff) sort() {
	slices.SortFunc(d.UpsertedWorkspaces, compareWorkspaces)
	slices.SortFunc(d.DeletedWorkspaces, compareWorkspaces)
	slices.SortFunc(d.UpsertedAgents, compareAgents)
	slices.SortFunc(d.DeletedAgents, compareAgents)
}

func (s *State) sorted() []*entry {
	return slices.SortedFunc(maps.Values(s.workspaces), func(a, b *entry) int { return compareWorkspaces(a.Workspace, b.Workspace) })
}

func (e *entry) sorted() []Agent {
	return slices.SortedFunc(maps.Values(e.agents), compareAgents)
}

func compareWorkspaces(a, b Workspace) int {
	return cmp.Or(cmp.Compare(a.Name, b.Name), slices.Compare(a.ID[:], b.ID[:]))
}

func compareAgents(a, b Agent) int {
	return cmp.Or(cmp.Compare(a.Name, b.Name), slices.Compare(a.ID[:], b.ID[:]))
}
