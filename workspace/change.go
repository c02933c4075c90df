package workspace

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// change gathers what one message says about the old state, and then makes the
// next one. A message that fails has changed nothing.
type change struct {
	old      *State
	snapshot bool // nothing of old counts, only what the message says
	// What the message said; nil: deleted. What it only repeats is the old value
	// itself, as most of a snapshot is.
	workspaces map[uuid.UUID]*Workspace
	agents     map[uuid.UUID]*Agent
	// What is new is kept here.
	newWorkspaces slab[Workspace]
	newAgents     slab[Agent]
	newEntries    slab[entry]
}

func newChange(old *State, snapshot bool, workspaces, agents int) *change {
	return &change{
		old: old, snapshot: snapshot,
		workspaces: make(map[uuid.UUID]*Workspace, workspaces), agents: make(map[uuid.UUID]*Agent, agents),
	}
}

// apply keeps the order that the protocol demands inside one message.
func (c *change) apply(update *tailnetv2.WorkspaceUpdate) error {
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

// workspaceKnown and agentKnown say what exists at this point of the message.
func (c *change) workspaceKnown(id uuid.UUID) bool {
	if said, found := c.workspaces[id]; found {
		return said != nil
	}
	return !c.snapshot && c.old.workspaces.get(id) != nil
}

func (c *change) agentKnown(id uuid.UUID) bool {
	if said, found := c.agents[id]; found {
		return said != nil
	}
	return !c.snapshot && c.old.agents.get(id) != nil
}

func (c *change) upsertWorkspace(message *tailnetv2.Workspace) error {
	id, err := parseID(message.GetId())
	if err != nil {
		return err
	}
	said := Workspace{ID: id, Name: message.GetName(), Status: message.GetStatus()}
	if before := c.old.workspaces.get(id); before != nil && before.Workspace == said {
		c.workspaces[id] = &before.Workspace
		return nil
	}
	c.workspaces[id] = c.newWorkspaces.keep(said)
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
	if !c.workspaceKnown(workspaceID) {
		return fmt.Errorf("workspace %s: %w", workspaceID, ErrUnknown)
	}
	said := Agent{ID: id, Name: message.GetName(), WorkspaceID: workspaceID}
	if before := c.old.agents.get(id); before != nil && *before == said {
		c.agents[id] = before
		return nil
	}
	c.agents[id] = c.newAgents.keep(said)
	return nil
}

func (c *change) deleteAgent(message *tailnetv2.Agent) error {
	id, err := parseID(message.GetId())
	if err != nil {
		return err
	}
	if c.snapshot || !c.agentKnown(id) {
		return fmt.Errorf("agent %s: %w", id, ErrUnknown)
	}
	c.agents[id] = nil
	return nil
}

// deleteWorkspace takes the agents that are still in it along, so that none
// stays behind without a workspace. The message has upserted no agent yet.
func (c *change) deleteWorkspace(message *tailnetv2.Workspace) error {
	id, err := parseID(message.GetId())
	if err != nil {
		return err
	}
	if c.snapshot || !c.workspaceKnown(id) {
		return fmt.Errorf("workspace %s: %w", id, ErrUnknown)
	}
	c.workspaces[id] = nil
	if e := c.old.workspaces.get(id); e != nil {
		for _, agent := range e.agents {
			c.agents[agent.ID] = nil
		}
	}
	return nil
}

// finish makes the next state. What the message only repeats is left alone, so
// that both states share it.
func (c *change) finish() *State {
	c.reduce()
	if len(c.workspaces)+len(c.agents) == 0 {
		return c.old
	}
	agents := c.old.agents.edit(len(c.agents))
	joined := make(map[uuid.UUID][]*Agent, len(c.workspaces)) // of each workspace that is touched
	join := func(workspace uuid.UUID, list ...*Agent) { joined[workspace] = append(joined[workspace], list...) }
	for id := range c.workspaces {
		joined[id] = nil
	}
	for id, agent := range c.agents {
		if before := c.old.agents.get(id); before != nil {
			join(before.WorkspaceID)
		}
		if agent != nil {
			join(agent.WorkspaceID, agent)
		}
		agents.put(id, agent)
	}
	workspaces := c.old.workspaces.edit(len(joined))
	for id, joining := range joined {
		workspaces.put(id, c.entry(id, joining))
	}
	next := &State{workspaces: workspaces.shared, agents: agents.shared}
	next.names = c.rename(next, joined)
	return next
}

// reduce leaves of the message what differs from the old state, and says what
// a snapshot left out.
func (c *change) reduce() {
	if c.snapshot {
		for id := range c.old.workspaces.all() {
			if _, said := c.workspaces[id]; !said {
				c.workspaces[id] = nil
			}
		}
		for id := range c.old.agents.all() {
			if _, said := c.agents[id]; !said {
				c.agents[id] = nil
			}
		}
	}
	for id, said := range c.workspaces {
		before := c.old.workspaces.get(id)
		if said == nil && before == nil || said != nil && before != nil && *said == before.Workspace {
			delete(c.workspaces, id)
		}
	}
	for id, said := range c.agents {
		before := c.old.agents.get(id)
		if said == nil && before == nil || said != nil && before != nil && *said == *before {
			delete(c.agents, id)
		}
	}
}

// entry is what becomes of a workspace: nil when it goes.
func (c *change) entry(id uuid.UUID, joining []*Agent) *entry {
	head, said := c.workspaces[id]
	if said && head == nil {
		return nil
	}
	next := entry{agents: joining}
	if before := c.old.workspaces.get(id); before != nil {
		next.Workspace = before.Workspace
		next.agents = make([]*Agent, 0, len(before.agents)+len(joining))
		for _, agent := range before.agents {
			if _, touched := c.agents[agent.ID]; !touched {
				next.agents = append(next.agents, agent)
			}
		}
		next.agents = append(next.agents, joining...)
	}
	if head != nil {
		next.Workspace = *head
	}
	slices.SortFunc(next.agents, func(a, b *Agent) int { return compareAgents(*a, *b) })
	return c.newEntries.keep(next)
}

// rename settles the names of the workspaces that were touched: what was given
// up first, then what is claimed.
func (c *change) rename(next *State, touched map[uuid.UUID][]*Agent) shared[string, claim] {
	const each = 2 // the alias and the pair
	r := renaming{edit: c.old.names.edit(each * len(c.agents)), crowds: map[string]*crowd{}}
	for id := range touched {
		c.moved(c.old.workspaces.get(id), next.workspaces.get(id), r.lose)
	}
	for id := range touched {
		c.moved(next.workspaces.get(id), c.old.workspaces.get(id), r.gain)
	}
	for key, crowd := range r.crowds {
		r.settle(key, crowd, next.compareClaimants)
	}
	return r.shared
}

// moved goes through the claims of a workspace, without those that it has at
// the other time too. An agent that stayed, in a workspace that kept its name,
// can only have gained or lost the alias.
func (c *change) moved(e, other *entry, found func(key string, agent *Agent)) {
	if e == nil || other == nil || e.Name != other.Name {
		e.claims(found)
		return
	}
	alias := len(e.agents) == 1 && len(other.agents) == 1 && e.agents[0] == other.agents[0]
	e.claims(func(key string, agent *Agent) {
		_, said := c.agents[agent.ID]
		if pair := strings.Contains(key, "."); pair && said || !pair && !alias {
			found(key, agent)
		}
	})
}

// renaming is the claims in the making. A name that has or gets one claimant,
// as nearly all do, is dealt with at once; the others wait, so that they are
// put in order once.
type renaming struct {
	*edit[string, claim]
	crowds map[string]*crowd
	claims slab[claim]
}

// crowd is who no longer claims a name, and who does in addition.
type crowd struct{ lost, got []*Agent }

func (r *renaming) crowd(key string) *crowd {
	if r.crowds[key] == nil {
		r.crowds[key] = &crowd{}
	}
	return r.crowds[key]
}

func (r *renaming) lose(key string, agent *Agent) {
	if len(r.get(key).rest) == 0 {
		r.put(key, nil)
		return
	}
	crowd := r.crowd(key)
	crowd.lost = append(crowd.lost, agent)
}

func (r *renaming) gain(key string, agent *Agent) {
	if r.get(key) == nil {
		r.put(key, r.claims.keep(claim{first: agent}))
		return
	}
	crowd := r.crowd(key)
	crowd.got = append(crowd.got, agent)
}

func (r *renaming) settle(key string, crowd *crowd, order func(a, b *Agent) int) {
	lost := make(map[*Agent]bool, len(crowd.lost))
	for _, agent := range crowd.lost {
		lost[agent] = true
	}
	claimants := crowd.got
	if old := r.get(key); old != nil {
		for _, agent := range append([]*Agent{old.first}, old.rest...) {
			if !lost[agent] {
				claimants = append(claimants, agent)
			}
		}
	}
	if len(claimants) == 0 {
		r.put(key, nil)
		return
	}
	slices.SortFunc(claimants, order)
	r.put(key, &claim{first: claimants[0], rest: claimants[1:]})
}

// compareClaimants orders agents by workspace and then by agent.
func (s *State) compareClaimants(a, b *Agent) int {
	if a.WorkspaceID == b.WorkspaceID {
		return compareAgents(*a, *b)
	}
	return compareWorkspaces(s.workspaces.get(a.WorkspaceID).Workspace, s.workspaces.get(b.WorkspaceID).Workspace)
}

func parseID(raw []byte) (uuid.UUID, error) {
	if len(raw) != 16 {
		return uuid.UUID{}, fmt.Errorf("%d bytes: %w", len(raw), ErrBadID)
	}
	return uuid.UUID(raw), nil
}
