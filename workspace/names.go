package workspace

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/proto"
)

// Sentinel is the name, in front of the suffix, by which a program finds out
// that the tunnel answers names on this host.
const Sentinel = "is.coder--connect--enabled--right--now"

// The limits of DNS, in bytes.
const (
	maxLabel = 63
	maxName  = 253
)

// claim is the agent that has a name, and those that would have it: two
// workspaces whose names differ in case only share names. A name is kept by
// its key, which is what does not depend on owner and suffix: the workspace
// for the short alias, agent.workspace for the others, in lower case. Keys
// hold only labels that DNS can carry, so that one dot tells the two apart.
type claim struct {
	first *Agent
	rest  []*Agent // in their order
}

// holder is the agent that has the name; nil if there is none.
func (c *claim) holder() *Agent {
	if c == nil {
		return nil
	}
	return c.first
}

// claims goes through the keys that the agents of a workspace lay claim to.
// The alias is for a workspace with exactly one agent.
func (e *entry) claims(found func(key string, agent *Agent)) {
	if e == nil || checkLabel(e.Name) != nil {
		return
	}
	name := strings.ToLower(e.Name)
	if len(e.agents) == 1 {
		found(name, e.agents[0])
	}
	for _, agent := range e.agents {
		if checkLabel(agent.Name) == nil {
			found(strings.ToLower(agent.Name)+"."+name, agent)
		}
	}
}

// addr is the address that the agent's names stand for; zero for no agent.
func (a *Agent) addr() netip.Addr {
	if a == nil {
		return netip.Addr{}
	}
	return proto.AddrFromUUID(proto.ServicePrefix, a.ID)
}

// zone makes full names of keys, all in lower case.
type zone struct {
	owner, suffix string // without an owner, no names with it
	// What follows the key: ".suffix", ".me.suffix", and ".owner.suffix", empty
	// if there are none.
	alias, me, owned string
}

// newZone says why there are no names with the owner, if there should be.
func newZone(owner, suffix string) (zone, error) {
	z := zone{owner: strings.ToLower(owner), suffix: strings.ToLower(strings.Trim(suffix, "."))}
	z.alias = "." + z.suffix
	z.me = ".me" + z.alias
	if owner == "" {
		return z, nil
	}
	if err := checkLabel(owner); err != nil {
		z.owner = ""
		return z, fmt.Errorf("name owner %q: %w", owner, err)
	}
	if z.owner != "me" {
		z.owned = "." + z.owner + z.alias
	}
	return z, nil
}

// each goes through the full names of a key, each once. What is too long for
// DNS is left out; that does not depend on whose key it is.
func (z zone) each(key string, found func(name string)) {
	give := func(tail string) {
		if tail != "" && len(key)+len(tail) <= maxName {
			found(key + tail)
		}
	}
	if !strings.Contains(key, ".") {
		give(z.alias)
		return
	}
	give(z.me)
	give(z.owned)
}

// leftOut says why an agent lacks some of its names; nil if it does not.
func (z zone) leftOut(of Workspace, agent *Agent) error {
	err := cmp.Or(checkLabel(of.Name), checkLabel(agent.Name))
	size := len(agent.Name) + len(of.Name) + max(len("me"), len(z.owner)) + len(z.suffix) + len("...")
	if err == nil && size > maxName {
		err = fmt.Errorf("name of %d bytes is over %d", size, maxName)
	}
	if err != nil {
		return fmt.Errorf("name agent %q of workspace %q: %w", agent.Name, of.Name, err)
	}
	return nil
}

// Names goes through all names under the suffix with their addresses, each
// once and in no order: lower case, no trailing dot, the sentinel among them.
// Of agents that claim the same name the first by workspace and then by agent,
// each by name and id, has it; when it goes the next one gets it. Names that
// DNS cannot carry are left out; the others go on.
func (s *State) Names(owner, suffix string) iter.Seq2[string, netip.Addr] {
	return func(yield func(string, netip.Addr) bool) {
		zone, _ := newZone(owner, suffix)
		proceed := yield(Sentinel+zone.alias, proto.DNSAddr)
		for key, c := range s.names.all() {
			if !proceed {
				return
			}
			addr := c.holder().addr()
			zone.each(key, func(name string) { proceed = proceed && yield(name, addr) })
		}
	}
}

// MaxNames is at least how many names there are: the sentinel, and of each agent
// the alias and one under "me" and under the owner.
func (s *State) MaxNames() int { return 1 + 3*s.agents.size }

// AllLeftOut gives the reasons why agents lack some of their names, by agent,
// and under the zero id why nothing is named after the owner.
func (s *State) AllLeftOut(owner, suffix string) map[uuid.UUID]error {
	zone, err := newZone(owner, suffix)
	leftOut := map[uuid.UUID]error{}
	if err != nil {
		leftOut[uuid.Nil] = err
	}
	for _, e := range s.workspaces.all() {
		for _, agent := range e.agents {
			if err := zone.leftOut(e.Workspace, agent); err != nil {
				leftOut[agent.ID] = err
			}
		}
	}
	return leftOut
}

// LeftOut says why an agent lacks some of its names, apart from those with the
// owner if the owner cannot be in one; nil if it does not, or does not exist.
func (s *State) LeftOut(id uuid.UUID, owner, suffix string) error {
	agent := s.agents.get(id)
	if agent == nil {
		return nil
	}
	zone, _ := newZone(owner, suffix)
	return zone.leftOut(s.workspaces.get(agent.WorkspaceID).Workspace, agent)
}

// AgentNames are the names that one agent has, the shortest first.
func (s *State) AgentNames(id uuid.UUID, owner, suffix string) []string {
	agent := s.agents.get(id)
	if agent == nil {
		return nil
	}
	zone, _ := newZone(owner, suffix)
	only := entry{Workspace: s.workspaces.get(agent.WorkspaceID).Workspace, agents: []*Agent{agent}}
	var names []string
	only.claims(func(key string, _ *Agent) {
		if holder := s.names.get(key).holder(); holder != nil && holder.ID == id {
			zone.each(key, func(name string) { names = append(names, name) })
		}
	})
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
	})
	return names
}

// Find is the agent that has a full name, in any case and without a trailing
// dot.
func (s *State) Find(name, owner, suffix string) (Agent, bool) {
	zone, _ := newZone(owner, suffix)
	name = strings.ToLower(name)
	key, inside := strings.CutSuffix(name, zone.alias)
	if !inside {
		return Agent{}, false
	}
	if rest, last, dotted := cutLast(key); dotted && (last == "me" || last == zone.owner) {
		key = rest
	}
	holder := s.names.get(key).holder()
	if holder == nil {
		return Agent{}, false
	}
	found := false // or it is a key, but not written as a name
	zone.each(key, func(full string) { found = found || full == name })
	if !found {
		return Agent{}, false
	}
	return *holder, true
}

func cutLast(name string) (before, last string, dotted bool) {
	at := strings.LastIndexByte(name, '.')
	if at < 0 {
		return name, "", false
	}
	return name[:at], name[at+1:], true
}

// labelBytes has a bit for each byte that may be in a label: digits, letters,
// '-' and '_'.
var labelBytes = [4]uint64{1<<'-' | 1<<('9'+1) - 1<<'0', 1<<('Z'-63) - 1<<('A'-64) | 1<<('_'-64) | 1<<('z'-63) - 1<<('a'-64)}

var errEmptyLabel = errors.New("empty label")

// checkLabel refuses what DNS cannot carry as one label, and every character
// that could end a line or a field in a hosts file.
func checkLabel(label string) error {
	if label == "" {
		return errEmptyLabel
	}
	if len(label) > maxLabel {
		return fmt.Errorf("label of %d bytes is over %d", len(label), maxLabel)
	}
	for i := range len(label) {
		if c := label[i]; labelBytes[c>>6&3]&(1<<(c&63)) == 0 {
			return fmt.Errorf("label %q holds the character %q", label, rune(c))
		}
	}
	return nil
}
