package workspace

import (
	"fmt"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// change applies one message to a state, remembering the first value of all
// that it touches: for the diff, and to undo a message that fails half way.
// Its cost follows the message and not the state. The maps are nil when
// nobody wants them.
type change struct {
	state      *State
	workspaces map[uuid.UUID]*Workspace // before the message; nil: did not exist
	agents     map[uuid.UUID]*Agent
	aliases    map[uuid.UUID]string // the short alias that a workspace had: its name, or ""
}

// apply keeps the order that the protocol demands inside one message.
func (c *change) apply(update *tailnetv2.WorkspaceUpdate) error {
	if c.state.workspaces == nil {
		c.state.workspaces, c.state.agents = map[uuid.UUID]*entry{}, map[uuid.UUID]*entry{}
	}
	for _, w := range update.GetUpsertedWorkspaces() {
		if err := c.upsertWorkspace(w); err != nil {
			return fmt.Errorf("upsert workspace %q: %w", w.GetName(), err)
		}
	}
	for _, a := range update.GetDeletedAgents() {
		if err := c.deleteAgent(a); err != nil {
			return fmt.Errorf("delete agent %q: %w", a.GetName(), err)
		}
	}
	for _, w := range update.GetDeletedWorkspaces() {
		if err := c.deleteWorkspace(w); err != nil {
			return fmt.Errorf("delete workspace %q: %w", w.GetName(), err)
		}
	}
	for _, a := range update.GetUpsertedAgents() {
		if err := c.upsertAgent(a); err != nil {
			return fmt.Errorf("upsert agent %q: %w", a.GetName(), err)
		}
	}
	return nil
}

func (c *change) upsertWorkspace(message *tailnetv2.Workspace) error {
	id, err := parseID(message.GetId())
	if err != nil {
		return err
	}
	c.touchWorkspace(id)
	e, known := c.state.workspaces[id]
	if !known {
		e = &entry{agents: map[uuid.UUID]Agent{}}
		c.state.workspaces[id] = e
	}
	e.Workspace = Workspace{ID: id, Name: message.GetName(), Status: message.GetStatus()}
	return nil
}

func (c *change) upsertAgent(message *tailnetv2.Agent) error {
	id, err := parseID(message.GetId())
	if err != nil {
		return err
	}
	workspaceID, err := parseID(message.GetWorkspaceId())
	if err != nil {
		return fmt.Errorf("workspace of the agent: %w", err)
	}
	if _, known := c.state.workspaces[workspaceID]; !known {
		return fmt.Errorf("workspace %s: %w", workspaceID, ErrUnknown)
	}
	c.touchAgent(id)
	c.touchWorkspace(workspaceID)
	c.putAgent(Agent{ID: id, Name: message.GetName(), WorkspaceID: workspaceID})
	return nil
}

func (c *change) deleteAgent(message *tailnetv2.Agent) error {
	id, err := parseID(message.GetId())
	if err != nil {
		return err
	}
	if _, known := c.state.agents[id]; !known {
		return fmt.Errorf("agent %s: %w", id, ErrUnknown)
	}
	c.touchAgent(id)
	c.dropAgent(id)
	return nil
}

// deleteWorkspace takes the agents that are still in it along, so that none
// stays behind without a workspace.
func (c *change) deleteWorkspace(message *tailnetv2.Workspace) error {
	id, err := parseID(message.GetId())
	if err != nil {
		return err
	}
	e, known := c.state.workspaces[id]
	if !known {
		return fmt.Errorf("workspace %s: %w", id, ErrUnknown)
	}
	c.touchWorkspace(id)
	for agent := range e.agents {
		c.touchAgent(agent)
		c.dropAgent(agent)
	}
	delete(c.state.workspaces, id)
	return nil
}

func (c *change) putAgent(agent Agent) {
	c.dropAgent(agent.ID)
	e := c.state.workspaces[agent.WorkspaceID]
	e.agents[agent.ID] = agent
	c.state.agents[agent.ID] = e
}

func (c *change) dropAgent(id uuid.UUID) {
	if e, known := c.state.agents[id]; known {
		delete(e.agents, id)
		delete(c.state.agents, id)
	}
}

func (c *change) touchWorkspace(id uuid.UUID) {
	if c.workspaces == nil {
		return
	}
	if _, seen := c.workspaces[id]; seen {
		return
	}
	c.workspaces[id], c.aliases[id] = nil, ""
	if e, known := c.state.workspaces[id]; known {
		before := e.Workspace
		c.workspaces[id], c.aliases[id] = &before, e.alias()
	}
}

func (c *change) touchAgent(id uuid.UUID) {
	if c.agents == nil {
		return
	}
	if _, seen := c.agents[id]; seen {
		return
	}
	c.agents[id] = nil
	if e, known := c.state.agents[id]; known {
		before := e.agents[id]
		c.agents[id] = &before
		c.touchWorkspace(before.WorkspaceID)
	}
}

// undo puts everything that was touched back.
func (c *change) undo() {
	for id := range c.agents {
		c.dropAgent(id)
	}
	for id, before := range c.workspaces {
		if before == nil {
			delete(c.state.workspaces, id)
			continue
		}
		if c.state.workspaces[id] == nil {
			c.state.workspaces[id] = &entry{agents: map[uuid.UUID]Agent{}}
		}
		c.state.workspaces[id].Workspace = *before
	}
	for _, before := range c.agents {
		if before != nil {
			c.putAgent(*before)
		}
	}
}

// diff compares what was touched with what is there now.
func (c *change) diff() Diff {
	var diff Diff
	for id, before := range c.workspaces {
		e, exists := c.state.workspaces[id]
		switch {
		case !exists && before != nil:
			diff.DeletedWorkspaces = append(diff.DeletedWorkspaces, *before)
			continue
		case !exists:
			continue
		case before == nil || *before != e.Workspace:
			diff.UpsertedWorkspaces = append(diff.UpsertedWorkspaces, e.Workspace)
		}
		renamed := before != nil && (before.Name != e.Name || c.aliases[id] != e.alias())
		for agentID, agent := range e.agents {
			if _, touched := c.agents[agentID]; renamed && !touched {
				diff.UpsertedAgents = append(diff.UpsertedAgents, agent)
			}
		}
	}
	for id, before := range c.agents {
		e, exists := c.state.agents[id]
		switch {
		case !exists && before != nil:
			diff.DeletedAgents = append(diff.DeletedAgents, *before)
		case exists && (before == nil || *before != e.agents[id] || c.renamed(e)):
			diff.UpsertedAgents = append(diff.UpsertedAgents, e.agents[id])
		}
	}
	diff.sort()
	return diff
}

func (c *change) renamed(e *entry) bool {
	before := c.workspaces[e.ID]
	return before != nil && (before.Name != e.Name || c.aliases[e.ID] != e.alias())
}

// alias is the short name of a workspace with exactly one agent.
func (e *entry) alias() string {
	if len(e.agents) == 1 {
		return e.Name
	}
	return ""
}

func parseID(raw []byte) (uuid.UUID, error) {
	if len(raw) != 16 {
		return uuid.UUID{}, fmt.Errorf("%d bytes: %w", len(raw), ErrBadID)
	}
	return uuid.UUID(raw), nil
}
