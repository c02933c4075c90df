package workspace

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	pb "google.golang.org/protobuf/proto"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// model is what the state is compared with: plain maps, copied whole for each
// message, and names made from nothing.
type model struct {
	workspaces map[uuid.UUID]Workspace
	agents     map[uuid.UUID]Agent
}

func emptyModel() model { return model{map[uuid.UUID]Workspace{}, map[uuid.UUID]Agent{}} }

// after is the model after a message; false when the message is wrong.
func (m model) after(message *update, snapshot bool) (model, bool) {
	next := model{maps.Clone(m.workspaces), maps.Clone(m.agents)}
	if snapshot {
		next = emptyModel()
		if len(message.GetDeletedAgents())+len(message.GetDeletedWorkspaces()) > 0 {
			return m, false
		}
	}
	for _, w := range message.GetUpsertedWorkspaces() {
		if len(w.GetId()) != 16 {
			return m, false
		}
		next.workspaces[uuid.UUID(w.GetId())] = Workspace{uuid.UUID(w.GetId()), w.GetName(), w.GetStatus()}
	}
	for _, a := range message.GetDeletedAgents() {
		if _, known := next.agents[as(a.GetId())]; !known {
			return m, false
		}
		delete(next.agents, as(a.GetId()))
	}
	for _, w := range message.GetDeletedWorkspaces() {
		if _, known := next.workspaces[as(w.GetId())]; !known {
			return m, false
		}
		delete(next.workspaces, as(w.GetId()))
		maps.DeleteFunc(next.agents, func(_ uuid.UUID, a Agent) bool { return a.WorkspaceID == as(w.GetId()) })
	}
	for _, a := range message.GetUpsertedAgents() {
		if _, known := next.workspaces[as(a.GetWorkspaceId())]; !known || len(a.GetId()) != 16 {
			return m, false
		}
		next.agents[as(a.GetId())] = Agent{as(a.GetId()), a.GetName(), as(a.GetWorkspaceId())}
	}
	return next, true
}

// as reads an id; a bad one is one that nobody has.
func as(raw []byte) uuid.UUID {
	if len(raw) != 16 {
		return uuid.Max
	}
	return uuid.UUID(raw)
}

var goodLabel = regexp.MustCompile(`^[A-Za-z0-9_-]{1,63}$`)

// names are all names, who has each, and the agents that lack some.
func (m model) names(owner, suffix string) (names map[string]uuid.UUID, lacking map[uuid.UUID]bool) {
	names, lacking = map[string]uuid.UUID{}, map[uuid.UUID]bool{}
	count := map[uuid.UUID]int{}
	for _, a := range m.agents {
		count[a.WorkspaceID]++
	}
	// 0x00 comes before every letter, so that the shorter name is the first.
	order := func(id uuid.UUID) string {
		a := m.agents[id]
		w := m.workspaces[a.WorkspaceID]
		return w.Name + "\x00" + string(w.ID[:]) + a.Name + "\x00" + string(id[:])
	}
	for _, id := range slices.SortedFunc(maps.Keys(m.agents), func(a, b uuid.UUID) int { return strings.Compare(order(a), order(b)) }) {
		agent, of := m.agents[id], m.workspaces[m.agents[id].WorkspaceID]
		take := func(labels ...string) {
			name := strings.ToLower(strings.Join(append(labels, suffix), "."))
			bad := len(name) > 253
			for _, label := range labels {
				bad = bad || !goodLabel.MatchString(label)
			}
			if bad {
				lacking[id] = true
			} else if _, taken := names[name]; !taken {
				names[name] = id
			}
		}
		if count[of.ID] == 1 {
			take(of.Name)
		}
		take(agent.Name, of.Name, "me")
		if goodLabel.MatchString(owner) {
			take(agent.Name, of.Name, owner)
		}
	}
	return names, lacking
}

// chooser makes messages that are mostly possible.
type chooser struct{ *rand.Rand }

var (
	workspaceNames = []string{"one", "One", "ONE", "two", "three", "me", "alice", strings.Repeat("l", 63), "not a label", "a.b", ""}
	agentNames     = []string{"main", "Main", "dev", "right", strings.Repeat("m", 63), "bad\nname", "a.b", ""}
)

func pick[T any](c chooser, list []T) T { return list[c.IntN(len(list))] }

func (c chooser) workspaceID() []byte { return id(fmt.Sprint("w", c.IntN(7))) }
func (c chooser) agentID() []byte     { return id(fmt.Sprint("a", c.IntN(12))) }

func (c chooser) message(m model) *update {
	message := &update{}
	for range c.IntN(3) {
		message.UpsertedWorkspaces = append(message.UpsertedWorkspaces,
			&tailnetv2.Workspace{Id: c.workspaceID(), Name: pick(c, workspaceNames), Status: tailnetv2.Workspace_Status(c.IntN(3))})
	}
	known := func() []byte { // an agent's workspace is one that exists, mostly
		if ids := slices.Collect(maps.Keys(m.workspaces)); len(ids) > 0 && c.IntN(20) > 0 {
			picked := pick(c, ids)
			return picked[:]
		}
		return c.workspaceID()
	}
	for range c.IntN(4) {
		message.UpsertedAgents = append(message.UpsertedAgents,
			&tailnetv2.Agent{Id: c.agentID(), Name: pick(c, agentNames), WorkspaceId: known()})
	}
	for agent := range m.agents {
		if c.IntN(12) == 0 {
			message.DeletedAgents = append(message.DeletedAgents, &tailnetv2.Agent{Id: agent[:]})
		}
	}
	for workspace := range m.workspaces {
		if c.IntN(20) == 0 {
			message.DeletedWorkspaces = append(message.DeletedWorkspaces, &tailnetv2.Workspace{Id: workspace[:]})
		}
	}
	switch c.IntN(30) {
	case 0:
		message.UpsertedAgents = append(message.UpsertedAgents, &tailnetv2.Agent{Id: []byte("short"), WorkspaceId: known()})
	case 1:
		message.DeletedAgents = append(message.DeletedAgents, &tailnetv2.Agent{Id: c.agentID()})
	case 2:
		message.DeletedWorkspaces = append(message.DeletedWorkspaces, &tailnetv2.Workspace{Id: c.workspaceID()})
	}
	return message
}

// snapshot is what a new connection begins with: what is known, more or less.
func (c chooser) snapshot(m model) *update {
	message := &update{}
	for id, w := range m.workspaces {
		if c.IntN(15) > 0 {
			message.UpsertedWorkspaces = append(message.UpsertedWorkspaces, &tailnetv2.Workspace{Id: id[:], Name: w.Name, Status: w.Status})
		}
	}
	for id, a := range m.agents {
		if c.IntN(15) > 0 {
			message.UpsertedAgents = append(message.UpsertedAgents, &tailnetv2.Agent{Id: id[:], Name: a.Name, WorkspaceId: a.WorkspaceID[:]})
		}
	}
	more := c.message(m)
	more.DeletedAgents = nil
	if c.IntN(15) > 0 {
		more.DeletedWorkspaces = nil
	}
	pb.Merge(message, more)
	return message
}

// seeded gives the seed from CAUSEWAY_SEED, or a new one, and says it when the
// test fails.
func seeded(t *testing.T) chooser {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("CAUSEWAY_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("again with CAUSEWAY_SEED=%d", seed)
		}
	})
	return chooser{rand.New(rand.NewPCG(seed, 0))}
}

// owners are some that a label can hold, one that is also the fixed label, one
// that no label can hold, and none.
var owners = []string{"Alice", "alice", "ME", "not a label", ""}

// suffixes make full names that are, and that are not, too long.
var suffixes = []string{"coder", strings.Repeat("s", 60) + "." + strings.Repeat("t", 60)}

// TestAgainstModel walks through random messages, good and bad, repeated and
// late, over many connections, and compares the state, its names and every
// difference with the model.
func TestAgainstModel(t *testing.T) {
	c := seeded(t)
	for range 40 {
		state, m := &State{}, emptyModel()
		owner, suffix := pick(c, owners), pick(c, suffixes)
		published := maps.Collect(state.Names(owner, suffix))
		var sent []*update
		for step := range 60 {
			reconnect := step == 0 || c.IntN(8) == 0
			message := c.message(m)
			switch {
			case reconnect:
				message = c.snapshot(m)
			case len(sent) > 0 && c.IntN(6) == 0:
				message = pick(c, sent) // once more, or late
			}
			sent = append(sent, message)
			before, form := m, encode(t, state)
			next, possible := m.after(message, reconnect)
			applied, diff, err := state.Apply(message, reconnect)
			if (err == nil) != possible {
				t.Fatalf("error %v of %v, want one: %t", err, message, !possible)
			}
			if err != nil && (applied != state || !diff.Empty() || !errors.Is(err, ErrUnknown) && !errors.Is(err, ErrBadID)) {
				t.Fatalf("a message that failed gave %v, %v", diff, err)
			}
			if !bytes.Equal(encode(t, state), form) {
				t.Fatal("the old state changed")
			}
			published = checkNames(t, published, diff, owner, suffix, err)
			state, m = applied, next
			checkState(t, state, m, published, owner, suffix)
			checkDiff(t, diff, before, m, owner, suffix)
		}
	}
}

func encode(t *testing.T, s *State) []byte {
	t.Helper()
	form, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return form
}

// checkNames takes the names that changed over into those that were published.
func checkNames(t *testing.T, published map[string]netip.Addr, diff Diff, owner, suffix string, err error) map[string]netip.Addr {
	t.Helper()
	changes := diff.Names(owner, suffix)
	if err != nil && len(changes) > 0 {
		t.Fatalf("a message that failed changed the names %v", changes)
	}
	next := maps.Clone(published)
	touched := map[string]bool{}
	for _, change := range changes {
		if touched[change.Name] || published[change.Name] != change.Before || change.Before == change.After {
			t.Fatalf("change %v of what stands for %v", change, published[change.Name])
		}
		touched[change.Name] = true
		if next[change.Name] = change.After; !change.After.IsValid() {
			delete(next, change.Name)
		}
	}
	return next
}

// checkState compares all that a state can be asked.
func checkState(t *testing.T, s *State, m model, published map[string]netip.Addr, owner, suffix string) {
	t.Helper()
	got := model{map[uuid.UUID]Workspace{}, map[uuid.UUID]Agent{}}
	for _, w := range s.Workspaces() {
		got.workspaces[w.ID] = w
	}
	for _, a := range s.Agents() {
		got.agents[a.ID] = a
	}
	if !maps.Equal(got.workspaces, m.workspaces) || !maps.Equal(got.agents, m.agents) || s.Len() != len(m.agents) || len(s.AgentIDs()) != len(m.agents) {
		t.Fatalf("state %v, want %v", got, m)
	}
	names, lacking := m.names(owner, suffix)
	addrs := map[string]netip.Addr{Sentinel + "." + suffix: proto.DNSAddr}
	owned := map[uuid.UUID][]string{}
	for name, id := range names {
		addrs[name] = proto.AddrFromUUID(proto.ServicePrefix, id)
		owned[id] = append(owned[id], name)
		if agent, found := s.Find(strings.ToUpper(name), owner, suffix); !found || agent != m.agents[id] {
			t.Fatalf("%s is found to be %v, want %v", name, agent, m.agents[id])
		}
	}
	made, leftOut := maps.Collect(s.Names(owner, "."+suffix+".")), s.AllLeftOut(owner, "."+suffix+".")
	times := 0
	for range s.Names(owner, suffix) {
		times++
	}
	if times != len(made) || times > s.MaxNames() {
		t.Fatalf("%d names are told as %d, with a limit of %d", len(made), times, s.MaxNames())
	}
	if !maps.Equal(made, addrs) || !maps.Equal(published, addrs) {
		t.Fatalf("names\n%v, published\n%v, want\n%v", made, published, addrs)
	}
	if owner == "not a label" {
		if leftOut[uuid.Nil] == nil {
			t.Fatal("nothing is said of the owner")
		}
		delete(leftOut, uuid.Nil)
	}
	if len(leftOut) != len(lacking) {
		t.Fatalf("left out %v, want %v", leftOut, lacking)
	}
	for id := range m.agents {
		slices.SortFunc(owned[id], func(a, b string) int {
			if len(a) != len(b) {
				return len(a) - len(b)
			}
			return strings.Compare(a, b)
		})
		if got := s.AgentNames(id, owner, suffix); !slices.Equal(got, owned[id]) {
			t.Fatalf("names of %v: %v, want %v", m.agents[id], got, owned[id])
		}
		if reason := s.LeftOut(id, owner, suffix); (reason != nil) != lacking[id] || leftOut[id] != nil != lacking[id] {
			t.Fatalf("%v is left out because of %v, want a reason: %t", m.agents[id], reason, lacking[id])
		}
	}
}

// checkDiff takes the difference over into the old model, and sees that it says
// what changed, the names of agents that themselves stayed included, and
// nothing else.
func checkDiff(t *testing.T, diff Diff, before, after model, owner, suffix string) {
	t.Helper()
	m := model{maps.Clone(before.workspaces), maps.Clone(before.agents)}
	for _, w := range diff.DeletedWorkspaces {
		delete(m.workspaces, w.ID)
	}
	for _, a := range diff.DeletedAgents {
		delete(m.agents, a.ID)
	}
	said := map[uuid.UUID]bool{}
	for _, w := range diff.UpsertedWorkspaces {
		if m.workspaces[w.ID] = w; before.workspaces[w.ID] == w {
			t.Fatalf("workspace %v did not change", w)
		}
	}
	for _, a := range diff.UpsertedAgents {
		if said[a.ID] {
			t.Fatalf("agent %v is said twice", a)
		}
		m.agents[a.ID], said[a.ID] = a, true
	}
	if !maps.Equal(m.workspaces, after.workspaces) || !maps.Equal(m.agents, after.agents) {
		t.Fatalf("the difference leads to %v, want %v", m, after)
	}
	was, _ := before.names(owner, suffix)
	is, _ := after.names(owner, suffix)
	renamed := map[uuid.UUID]bool{}
	for _, pair := range [][2]map[string]uuid.UUID{{was, is}, {is, was}} {
		for name, id := range pair[0] {
			if pair[1][name] != id {
				renamed[id] = true
			}
		}
	}
	for id, agent := range after.agents {
		of := agent.WorkspaceID
		want := before.agents[id] != agent || renamed[id] || before.workspaces[of].Name != after.workspaces[of].Name
		if said[id] != want {
			t.Fatalf("agent %v said: %t, want %t", agent, said[id], want)
		}
	}
}
