package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/causewayhq/causeway/proto/localv1"
)

// agentName is the name to show: the shortest that resolves.
func agentName(agent *localv1.AgentStatus) string {
	if names := agent.GetNames(); len(names) > 0 {
		return names[0]
	}
	return agent.GetName() + "." + agent.GetWorkspace()
}

// meName is the longest name by which an agent is reached as "me", which holds
// also when the workspace gets a second agent: agent.workspace.me.suffix. It is
// "" if there is none.
func meName(agent *localv1.AgentStatus) string {
	long := ""
	for _, name := range agent.GetNames() {
		if labels := strings.Split(name, "."); len(labels) > 3 && labels[2] == "me" && len(name) > len(long) {
			long = name
		}
	}
	return long
}

func sorted(agents []*localv1.AgentStatus) []*localv1.AgentStatus {
	return slices.SortedFunc(slices.Values(agents), func(a, b *localv1.AgentStatus) int {
		return cmp.Or(cmp.Compare(a.GetWorkspace(), b.GetWorkspace()), cmp.Compare(a.GetName(), b.GetName()))
	})
}

// way is how packets reach the agent, in words.
func way(agent *localv1.AgentStatus) string {
	return pathOf(agent.GetPath(), agent.GetEndpoint(), agent.GetRelay())
}

func pathOf(path localv1.AgentStatus_Path, endpoint string, relay *localv1.Relay) string {
	switch path {
	case localv1.AgentStatus_DIRECT:
		return "direct" + suffixed(" ", endpoint)
	case localv1.AgentStatus_RELAYED:
		return "relayed by " + relayName(relay)
	case localv1.AgentStatus_PATH_UNSPECIFIED:
	}
	return "-"
}

// pathWord is the path as JSON has it.
func pathWord(path localv1.AgentStatus_Path) string {
	switch path {
	case localv1.AgentStatus_DIRECT:
		return "direct"
	case localv1.AgentStatus_RELAYED:
		return "relayed"
	case localv1.AgentStatus_PATH_UNSPECIFIED:
	}
	return "unknown"
}

func relayName(relay *localv1.Relay) string {
	switch {
	case relay.GetName() != "":
		return relay.GetName()
	case relay.GetCode() != "":
		return relay.GetCode()
	case relay.GetRegionId() != 0:
		return fmt.Sprintf("region %d", relay.GetRegionId())
	}
	return "an unknown relay"
}

// latency is "" when it was not measured.
func latency(d *durationpb.Duration) string {
	if d == nil {
		return ""
	}
	return short(d.AsDuration())
}

// short rounds a latency to what a person reads.
func short(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < 10*time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(time.Millisecond).String()
}

func suffixed(before, text string) string {
	if text == "" {
		return ""
	}
	return before + text
}

func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
