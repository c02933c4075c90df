package control

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/proto/tailnetv2"
	"github.com/causewayhq/causeway/workspace"
)

// model is what must exist: the last snapshot plus the accepted messages since.
type model struct {
	workspaces map[uuid.UUID]workspace.Workspace
	agents     map[uuid.UUID]workspace.Agent
}

func newModel() model {
	return model{map[uuid.UUID]workspace.Workspace{}, map[uuid.UUID]workspace.Agent{}}
}

// after is the model after one message, and whether the message is acceptable;
// if not, nothing changes.
func (m model) after(update *tailnetv2.WorkspaceUpdate, snapshot bool) (model, bool) {
	next := newModel()
	if !snapshot {
		next = model{maps.Clone(m.workspaces), maps.Clone(m.agents)}
	}
	good := true
	id := func(raw []byte) (result uuid.UUID) {
		good = good && len(raw) == 16
		copy(result[:], raw)
		return result
	}
	for _, w := range update.GetUpsertedWorkspaces() {
		next.workspaces[id(w.GetId())] = workspace.Workspace{ID: id(w.GetId()), Name: w.GetName(), Status: w.GetStatus()}
	}
	for _, a := range update.GetDeletedAgents() {
		_, known := next.agents[id(a.GetId())]
		good = good && known
		delete(next.agents, id(a.GetId()))
	}
	for _, w := range update.GetDeletedWorkspaces() {
		gone := id(w.GetId())
		_, known := next.workspaces[gone]
		good = good && known
		delete(next.workspaces, gone)
		maps.DeleteFunc(next.agents, func(_ uuid.UUID, a workspace.Agent) bool { return a.WorkspaceID == gone })
	}
	for _, a := range update.GetUpsertedAgents() {
		home := id(a.GetWorkspaceId())
		_, known := next.workspaces[home]
		good = good && known
		next.agents[id(a.GetId())] = workspace.Agent{ID: id(a.GetId()), Name: a.GetName(), WorkspaceID: home}
	}
	if !good {
		return m, false
	}
	return next, true
}

func (m model) equals(state *workspace.State) error {
	if got := len(state.Workspaces()); got != len(m.workspaces) || state.Len() != len(m.agents) {
		return fmt.Errorf("%d workspaces and %d agents, want %d and %d", got, state.Len(), len(m.workspaces), len(m.agents))
	}
	for _, w := range state.Workspaces() {
		if m.workspaces[w.ID] != w {
			return fmt.Errorf("workspace %+v, want %+v", w, m.workspaces[w.ID])
		}
	}
	for _, a := range state.Agents() {
		if m.agents[a.ID] != a {
			return fmt.Errorf("agent %+v, want %+v", a, m.agents[a.ID])
		}
	}
	return nil
}

// names are the names that must answer.
func (m model) names() map[string]bool {
	result := map[string]bool{}
	for _, a := range m.agents {
		result[a.Name+"."+m.workspaces[a.WorkspaceID].Name+".me.coder"] = true
	}
	return result
}

// generator makes random messages of few ids and names, so that they meet.
type generator struct{ *rand.Rand }

func (g generator) workspace() []byte { return append(make([]byte, 15), 1+byte(g.IntN(5))) }
func (g generator) agent() []byte     { return append(make([]byte, 15), 101+byte(g.IntN(9))) }
func (g generator) name() string      { return fmt.Sprint("n", g.IntN(4)) }

func (g generator) snapshot() *tailnetv2.WorkspaceUpdate {
	update := &tailnetv2.WorkspaceUpdate{}
	for range g.IntN(6) {
		update.UpsertedWorkspaces = append(update.UpsertedWorkspaces, &tailnetv2.Workspace{Id: g.workspace(), Name: g.name()})
	}
	for range g.IntN(9) * len(update.GetUpsertedWorkspaces()) / 2 {
		home := update.GetUpsertedWorkspaces()[g.IntN(len(update.GetUpsertedWorkspaces()))].GetId()
		update.UpsertedAgents = append(update.UpsertedAgents, &tailnetv2.Agent{Id: g.agent(), Name: g.name(), WorkspaceId: home})
	}
	if g.IntN(12) == 0 {
		update.DeletedAgents = append(update.DeletedAgents, &tailnetv2.Agent{Id: g.agent()})
	}
	return update
}

// diff is mostly acceptable.
func (g generator) diff(known model) *tailnetv2.WorkspaceUpdate {
	update := &tailnetv2.WorkspaceUpdate{}
	home, one := g.workspace(), g.agent()
	if ids := slices.Collect(maps.Keys(known.workspaces)); len(ids) > 0 && g.IntN(20) > 0 {
		slices.SortFunc(ids, func(a, b uuid.UUID) int { return slices.Compare(a[:], b[:]) })
		id := ids[g.IntN(len(ids))]
		home = id[:]
	}
	if ids := slices.Collect(maps.Keys(known.agents)); len(ids) > 0 && g.IntN(20) > 0 {
		slices.SortFunc(ids, func(a, b uuid.UUID) int { return slices.Compare(a[:], b[:]) })
		id := ids[g.IntN(len(ids))]
		one = id[:]
	}
	for range 1 + g.IntN(3) {
		switch g.IntN(13) {
		case 0, 1, 2:
			update.UpsertedWorkspaces = append(update.UpsertedWorkspaces, &tailnetv2.Workspace{Id: g.workspace(), Name: g.name(), Status: tailnetv2.Workspace_Status(g.IntN(4))})
		case 3, 4, 5, 6:
			update.UpsertedAgents = append(update.UpsertedAgents, &tailnetv2.Agent{Id: g.agent(), Name: g.name(), WorkspaceId: home})
		case 7, 8, 9:
			update.DeletedAgents = append(update.DeletedAgents, &tailnetv2.Agent{Id: one})
		case 10, 11:
			update.DeletedWorkspaces = append(update.DeletedWorkspaces, &tailnetv2.Workspace{Id: home})
		case 12:
			if g.IntN(3) == 0 {
				update.UpsertedAgents = append(update.UpsertedAgents, &tailnetv2.Agent{Id: make([]byte, g.IntN(40)), Name: g.name(), WorkspaceId: home})
			}
		}
	}
	return update
}

// play is one sequence: a control plane and what must follow from it.
type play struct {
	generator
	t       *testing.T
	plane   *plane
	loop    *Loop
	done    chan struct{}
	mu      sync.Mutex
	model   model
	before  model // the message that is on its way, or the last
	handed  *workspace.State
	tunnels map[int]map[uuid.UUID]bool
	sent    int
}

// workspaces is one connection: a snapshot, and then anything.
func (p *play) workspaces(dial int, stream tailnetv2.DRPCTailnet_WorkspaceUpdatesStream) error {
	if dial > 5 {
		close(p.done)
		<-stream.Context().Done()
		return nil
	}
	queue := []*tailnetv2.WorkspaceUpdate{p.snapshot()}
	for first := true; len(queue) > 0; first = false {
		message := queue[0]
		queue = queue[1:]
		p.mu.Lock()
		next, good := p.model.after(message, first)
		p.before, p.model = p.model, next
		p.sent++
		p.mu.Unlock()
		if err := stream.Send(message); err != nil {
			p.t.Errorf("message %d does not arrive: %v", p.sent, err)
			return err
		}
		synctest.Wait()
		p.check(dial)
		if !good {
			<-stream.Context().Done() // the client must leave by itself
			return nil
		}
		switch p.IntN(12) {
		case 0: // the same again
			queue = append(queue, message)
		case 1: // two in the wrong order
			one := p.diff(p.model)
			after, _ := p.model.after(one, false)
			queue = append(queue, p.diff(after), one)
		case 2:
			p.plane.drop()
			<-stream.Context().Done()
			return nil
		default:
			if len(queue) == 0 {
				queue = append(queue, p.diff(p.model))
			}
		}
	}
	return nil
}

func (p *play) coordinate(dial int, stream tailnetv2.DRPCTailnet_CoordinateStream) error {
	p.mu.Lock()
	p.tunnels[dial] = map[uuid.UUID]bool{}
	p.mu.Unlock()
	for {
		request, err := stream.Recv()
		if err != nil || request.GetDisconnect() != nil {
			return nil
		}
		p.mu.Lock()
		if add := request.GetAddTunnel(); add != nil {
			p.tunnels[dial][uuid.UUID(add.GetId())] = true
		}
		if remove := request.GetRemoveTunnel(); remove != nil {
			delete(p.tunnels[dial], uuid.UUID(remove.GetId()))
		}
		p.mu.Unlock()
	}
}

// callback sees every state that is handed on: none lacks an agent that lives
// before and after.
func (p *play) callback(state *workspace.State, diff workspace.Diff) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id := range p.before.agents {
		if _, lives := p.model.agents[id]; !lives {
			continue
		}
		if _, _, found := state.Agent(id); !found {
			p.t.Errorf("message %d: agent %s is absent for a while", p.sent, id)
		}
	}
	after := p.model.names()
	for name := range p.before.names() {
		if _, found := state.Find(name, "owner", "coder"); after[name] && !found {
			p.t.Errorf("message %d: the name %s is absent for a while", p.sent, name)
		}
	}
	p.loop.Destinations.mu.Lock()
	defer p.loop.Destinations.mu.Unlock()
	if !maps.EqualFunc(p.loop.Destinations.ids, p.model.agents, func(struct{}, workspace.Agent) bool { return true }) {
		p.t.Errorf("message %d: the destinations do not precede the callback", p.sent)
	}
	for _, agent := range diff.DeletedAgents {
		if _, lives := p.model.agents[agent.ID]; lives {
			p.t.Errorf("message %d: agent %s is said to be gone", p.sent, agent.ID)
		}
	}
	p.handed = state
	return nil
}

func (p *play) check(dial int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.model.equals(p.loop.state); err != nil {
		p.t.Errorf("message %d: the loop has %v", p.sent, err)
	}
	if p.handed != nil {
		if err := p.model.equals(p.handed); err != nil {
			p.t.Errorf("message %d: handed on were %v", p.sent, err)
		}
	}
	// Up to the first snapshot of a connection none is asked for; a connection
	// that was ended by a bad message says nothing more.
	if told := p.tunnels[dial]; len(told) > 0 && !maps.EqualFunc(told, p.model.agents, func(bool, workspace.Agent) bool { return true }) {
		p.t.Errorf("message %d: tunnels to %d agents, want %d", p.sent, len(told), len(p.model.agents))
	}
	p.loop.Destinations.mu.Lock()
	defer p.loop.Destinations.mu.Unlock()
	if p.handed != nil && !maps.EqualFunc(p.loop.Destinations.ids, p.model.agents, func(struct{}, workspace.Agent) bool { return true }) {
		p.t.Errorf("message %d: %d destinations, want %d", p.sent, len(p.loop.Destinations.ids), len(p.model.agents))
	}
}

// Any sequence of snapshots, differences, duplicated, reordered and bad
// messages, drops and reconnects ends in the state that the last snapshot and
// the accepted differences define, and nothing that stays alive is absent in
// between.
func TestAnySequenceEndsInTheModel(t *testing.T) {
	const together = 25 // sequences in one bubble, as each bubble costs collections
	bubbles := uint64(10)
	if raceDetector {
		bubbles = 3 // it crashes by itself, more often the longer such a test runs
	}
	if testing.Short() {
		bubbles = 1
	}
	base, messages := rand.Uint64(), 0
	for i := range bubbles {
		bubble(t, func(t *testing.T) {
			for k := uint64(0); k < together && !t.Failed(); k++ {
				messages += playOne(t, base+i*together+k)
			}
		})
		if t.Failed() {
			return
		}
	}
	t.Logf("%d sequences, %d messages, first seed %d", bubbles*together, messages, base)
}

// playOne plays one sequence, and counts its messages.
func playOne(t *testing.T, seed uint64) int {
	p := &play{t: t, generator: generator{rand.New(rand.NewPCG(seed, 1))}, done: make(chan struct{}), model: newModel(), tunnels: map[int]map[uuid.UUID]bool{}}
	p.plane = &plane{workspaces: p.workspaces, coordinate: p.coordinate}
	p.loop = userLoop(serve(t, p.plane, newPipes()), &data{}, &reports{})
	p.loop.Workspaces = p.callback
	p.loop.Known = p.known()
	stop := run(t, p.loop)
	limit := time.NewTimer(time.Hour)
	defer limit.Stop()
	select {
	case <-p.done:
	case <-limit.C:
		t.Error("the loop does not go on")
	}
	stop()
	if t.Failed() {
		t.Logf("seed %d", seed)
	}
	return p.sent
}

// known is what an earlier process left; the model starts with it.
func (p *play) known() *workspace.State {
	update := p.snapshot()
	update.DeletedAgents = nil
	state, _, err := (&workspace.State{}).Apply(update, true)
	if err != nil {
		p.t.Error(err)
	}
	p.model, _ = p.model.after(update, true)
	p.before = p.model
	return state
}
