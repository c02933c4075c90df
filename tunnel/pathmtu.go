package tunnel

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/tailnet"
)

// smallPath is an agent that is reached through a relay because its direct path
// carries too little.
type smallPath struct {
	agent   string // agent.workspace
	carries int    // bytes
}

// tooSmall does not make the state worse: the relay does what the path cannot.
func tooSmall(paths []smallPath) Problem {
	parts := make([]string, 0, len(paths))
	for _, path := range paths {
		parts = append(parts, fmt.Sprintf("to %s it carries packets of at most %d bytes", path.agent, path.carries))
	}
	return Problem{
		CodePathMTU,
		fmt.Sprintf("a direct path is too small and the relay is used instead: %s, and %d are needed", strings.Join(parts, ", "), tailnet.FullMTU),
		fmt.Sprintf("raise the MTU of the network on the way (another VPN, PPPoE or a tunnel lowers it) to %d; the direct path is taken again by itself", tailnet.FullMTU),
	}
}

// small finds them among the agents in use.
func (t *Tunnel) small(engine Engine, active []uuid.UUID) []smallPath {
	t.mu.Lock()
	state := t.state()
	t.mu.Unlock()
	var paths []smallPath
	for _, id := range active {
		peer, found := engine.Peer(id)
		agent, of, known := state.Agent(id)
		if found && known && peer.PathMTU > 0 && !peer.Direct {
			paths = append(paths, smallPath{agent.Name + "." + of.Name, peer.PathMTU})
		}
	}
	slices.SortFunc(paths, func(a, b smallPath) int { return strings.Compare(a.agent, b.agent) })
	return paths
}
