// Package workspace knows what exists: the workspaces and agents of one user,
// how one message of the control plane changes them, and the DNS names that
// follow. It is pure: no I/O, no clock, no goroutines.
//
//	state.go   what exists, immutable
//	change.go  one message makes the next state
//	diff.go    what two states differ in
//	names.go   names and who has them
//	shared.go  the table beneath, of which neighbours share what stayed
//	json.go    the form on disk
package workspace

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

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

// State is what exists. It is never changed, except by UnmarshalJSON: it may
// be kept, and read from any goroutine. The zero value is empty and ready.
type State struct {
	workspaces shared[uuid.UUID, entry]
	agents     shared[uuid.UUID, Agent]
	names      shared[string, claim]
}

// entry is a workspace and its agents, by name and then by id.
type entry struct {
	Workspace
	agents []*Agent
}

// Apply gives the state after one message of the control plane, and what it
// changed; s stays as it is. A snapshot replaces everything, and may delete
// nothing as nothing is left to be deleted; any other message is a difference.
// When it fails the state that comes back is s itself. The cost is that of the
// message; of what is not in it, nothing is copied or looked at.
func (s *State) Apply(update *tailnetv2.WorkspaceUpdate, snapshot bool) (*State, Diff, error) {
	c := newChange(s, snapshot, len(update.GetUpsertedWorkspaces()), len(update.GetUpsertedAgents()))
	kind := "update"
	if snapshot {
		kind = "snapshot"
	}
	if err := c.apply(update); err != nil {
		return s, Diff{}, fmt.Errorf("apply workspace %s: %w", kind, err)
	}
	next := c.finish()
	return next, next.Since(s), nil
}

// Workspaces lists all workspaces, by name and then by id.
func (s *State) Workspaces() []Workspace {
	list := make([]Workspace, 0, s.workspaces.size)
	for _, e := range s.workspaces.all() {
		list = append(list, e.Workspace)
	}
	slices.SortFunc(list, compareWorkspaces)
	return list
}

// Agents lists all agents, by workspace and then by name.
func (s *State) Agents() []Agent {
	list := make([]Agent, 0, s.agents.size)
	for _, e := range s.sorted() {
		for _, agent := range e.agents {
			list = append(list, *agent)
		}
	}
	return list
}

// Agent finds one agent and its workspace.
func (s *State) Agent(id uuid.UUID) (Agent, Workspace, bool) {
	agent := s.agents.get(id)
	if agent == nil {
		return Agent{}, Workspace{}, false
	}
	return *agent, s.workspaces.get(agent.WorkspaceID).Workspace, true
}

// AgentIDs is the set of all agents, in no order.
func (s *State) AgentIDs() []uuid.UUID {
	ids := make([]uuid.UUID, 0, s.agents.size)
	for id := range s.agents.all() {
		ids = append(ids, id)
	}
	return ids
}

// Len counts the agents.
func (s *State) Len() int { return s.agents.size }

// Equal says whether both hold the same workspaces and agents.
func (s *State) Equal(other *State) bool { return s.Since(other).Empty() }

func (s *State) sorted() []*entry {
	list := make([]*entry, 0, s.workspaces.size)
	for _, e := range s.workspaces.all() {
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b *entry) int { return compareWorkspaces(a.Workspace, b.Workspace) })
	return list
}

func compareWorkspaces(a, b Workspace) int {
	if order := strings.Compare(a.Name, b.Name); order != 0 {
		return order
	}
	return bytes.Compare(a.ID[:], b.ID[:])
}

func compareAgents(a, b Agent) int {
	if order := strings.Compare(a.Name, b.Name); order != 0 {
		return order
	}
	return bytes.Compare(a.ID[:], b.ID[:])
}
