package tunnel

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/tailnet"
)

// agentFacts is what was measured of the agents that are in use.
type agentFacts struct {
	// answering is how many answered lately, silent are those that did not.
	answering int
	silent    []string
	small     []smallPath
}

// smallPath is an agent that is reached through a relay because its direct path
// carries too little.
type smallPath struct {
	agent   string // agent.workspace
	carries int    // bytes
}

func (f agentFacts) same(other agentFacts) bool {
	return f.dead() == other.dead() && slices.Equal(f.silent, other.silent) && slices.Equal(f.small, other.small)
}

// dead says that of all agents in use none answers: not one agent is to blame
// then, but the way.
func (f agentFacts) dead() bool { return len(f.silent) > 0 && f.answering == 0 }

func (f agentFacts) problems() []Problem {
	var problems []Problem
	if len(f.silent) > 0 {
		problems = append(problems, Problem{
			CodeSilent, "no answer from " + strings.Join(f.silent, ", ") + ", which was in use a moment ago",
			"look whether the workspace runs and its agent in it; it is asked again by itself",
		})
	}
	if len(f.small) == 0 {
		return problems
	}
	parts := make([]string, 0, len(f.small))
	for _, path := range f.small {
		parts = append(parts, fmt.Sprintf("to %s it carries packets of at most %d bytes", path.agent, path.carries))
	}
	return append(problems, Problem{
		CodePathMTU,
		fmt.Sprintf("a direct path is too small and the relay is used instead: %s, and %d are needed", strings.Join(parts, ", "), tailnet.FullMTU),
		fmt.Sprintf("raise the MTU of the network on the way (another VPN, PPPoE or a tunnel lowers it) to %d; the direct path is taken again by itself", tailnet.FullMTU),
	})
}

// judgeAgents takes down how the agents in use are.
func (s *session) judgeAgents(active []uuid.UUID) {
	t := s.tunnel
	var found agentFacts
	t.mu.Lock()
	state, running := t.state(), t.live
	pings := make(map[uuid.UUID]pong, len(active))
	for _, id := range active {
		if running != nil {
			pings[id] = running.pings[id]
		}
	}
	t.mu.Unlock()
	for _, id := range active {
		peer, known := s.engine.Peer(id)
		agent, of, exists := state.Agent(id)
		if !known || !exists || !peer.Active || peer.LastHandshake.IsZero() {
			continue
		}
		name, last, alive := agent.Name+"."+of.Name, pings[id], peer.LastHandshake
		if last.answered.After(alive) {
			alive = last.answered
		}
		if last.refutes(alive) {
			found.silent = append(found.silent, name)
			continue
		}
		found.answering++
		if peer.PathMTU > 0 && !peer.Direct {
			found.small = append(found.small, smallPath{name, peer.PathMTU})
		}
	}
	slices.Sort(found.silent)
	slices.SortFunc(found.small, func(a, b smallPath) int { return strings.Compare(a.agent, b.agent) })
	t.note(func(f *facts) { f.agents = found })
}
