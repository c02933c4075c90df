package tray

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/causewayhq/causeway/proto/localv1"
)

// slow is the latency from which a workspace is marked as slow: typing into a
// shell feels it.
const slow = 150 * time.Millisecond

// workspaceItems are a fixed number of lines, filled in the order of the names,
// so that a line stays where it is while its workspace changes.
func workspaceItems(in input, status *localv1.Status) []item {
	agents := sorted(status.GetAgents())
	if in.daemon != present {
		agents = nil
	}
	var items []item
	for i := range topWorkspaces {
		items = append(items, workspaceItem(i, agents, status))
	}
	empty := "No workspaces"
	switch {
	case status.GetView() == localv1.View_SUMMARY:
		empty = "The workspaces of another user are not shown"
	case status.GetState() == localv1.State_DOWN, in.daemon != present:
		empty = "Workspaces are shown while connected"
	}
	items = append(items, item{key: "ws.none", label: empty, disabled: true, hidden: len(agents) > 0})
	more := item{key: "ws.more", hidden: len(agents) <= topWorkspaces}
	if !more.hidden {
		more.label = fmt.Sprintf("%d more workspaces", len(agents)-topWorkspaces)
	}
	// As many as were ever needed: the lines are made when they are first shown.
	for i := topWorkspaces; i < min(len(agents), allWorkspaces); i++ {
		more.children = append(more.children, workspaceItem(i, agents, status))
	}
	rest := item{key: "ws.rest", hidden: len(agents) <= allWorkspaces, do: action{copyText, "causeway list"}}
	if !rest.hidden {
		rest.label = fmt.Sprintf("%d workspaces in all: run causeway list", len(agents))
	}
	return append(items, more, rest)
}

func workspaceItem(i int, agents []*localv1.AgentStatus, status *localv1.Status) item {
	out := item{key: "ws." + strconv.Itoa(i), hidden: true}
	name, page, host := "", "", false
	if i < len(agents) {
		agent := agents[i]
		name, page = agentName(agent), pageOf(status, agent)
		host = isHost(name)
		out.label, out.mark, out.hidden = cut(name, maxName)+" — "+connection(agent), markOf(agent), false
	}
	out.children = []item{
		{key: out.key + ".copy", label: "Copy the name", do: action{copyText, printable(name)}},
		{key: out.key + ".ssh", label: "Open a terminal with ssh", disabled: !host, do: action{openShell, name}},
		{key: out.key + ".open", label: "Open in the browser", hidden: page == "", do: action{openBrowser, page}},
	}
	return out
}

func sorted(agents []*localv1.AgentStatus) []*localv1.AgentStatus {
	return slices.SortedFunc(slices.Values(agents), func(a, b *localv1.AgentStatus) int {
		return cmp.Or(cmp.Compare(a.GetWorkspace(), b.GetWorkspace()), cmp.Compare(a.GetName(), b.GetName()))
	})
}

// agentName is the name to show: the shortest that resolves.
func agentName(agent *localv1.AgentStatus) string {
	if names := agent.GetNames(); len(names) > 0 {
		return names[0]
	}
	return agent.GetName() + "." + agent.GetWorkspace()
}

func markOf(agent *localv1.AgentStatus) mark {
	switch {
	case stopped(agent):
		return markStopped
	case agent.GetReachable() && agent.GetLatency().AsDuration() >= slow:
		return markSlow
	case agent.GetReachable():
		return markGood
	case agent.GetTried():
		return markLost
	}
	return markIdle
}

func stopped(agent *localv1.AgentStatus) bool {
	status := agent.GetWorkspaceStatus()
	return status != "" && status != "running" && !agent.GetReachable()
}

// connection is how the agent is reached, in words that do not need the colour.
func connection(agent *localv1.AgentStatus) string {
	switch markOf(agent) {
	case markStopped:
		return cut(agent.GetWorkspaceStatus(), 20)
	case markGood, markSlow, markNone:
	case markLost, markIdle:
		if agent.GetOffline() {
			return "offline"
		}
	}
	switch markOf(agent) {
	case markLost:
		return "does not answer"
	case markIdle:
		return "not in use"
	case markGood, markSlow, markNone, markStopped:
	}
	text := "reachable"
	switch agent.GetPath() {
	case localv1.AgentStatus_DIRECT:
		text = "direct"
	case localv1.AgentStatus_RELAYED:
		text = "relayed by " + cut(relayName(agent.GetRelay()), 20)
	case localv1.AgentStatus_PATH_UNSPECIFIED:
	}
	if agent.GetLatency() != nil {
		text += ", " + rounded(agent.GetLatency().AsDuration())
	}
	if markOf(agent) == markSlow {
		text += " (slow)"
	}
	return text
}

func relayName(relay *localv1.Relay) string {
	return cmp.Or(relay.GetName(), relay.GetCode(), fmt.Sprintf("region %d", relay.GetRegionId()))
}

// rounded is coarse, so that a menu that is open does not flicker with every
// measurement: whole milliseconds, from 20 on in steps of five.
func rounded(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return "< 1 ms"
	case d < 20*time.Millisecond:
		return fmt.Sprintf("%d ms", d.Round(time.Millisecond).Milliseconds())
	}
	return fmt.Sprintf("%d ms", d.Round(5*time.Millisecond).Milliseconds())
}

// pageOf is the workspace's page at its deployment, or "" where there is none.
func pageOf(status *localv1.Status, agent *localv1.AgentStatus) string {
	base, err := url.Parse(status.GetUrl())
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" || status.GetUser() == "" || !status.GetWorkspacePages() {
		return ""
	}
	base.User = nil
	return base.JoinPath("@"+url.PathEscape(status.GetUser()), url.PathEscape(agent.GetWorkspace())).String()
}

// isHost says that a name is one that DNS carries and no program takes for
// anything else: it goes into command lines.
func isHost(name string) bool {
	if name == "" || len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, r := range label {
			if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' {
				return false
			}
		}
	}
	return true
}

func hostOf(address string) string {
	parsed, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return parsed.Host
}
