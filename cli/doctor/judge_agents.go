package doctor

import (
	"fmt"
	"strings"
)

// running is the status of a workspace whose agents should answer.
const running = "running"

func judgeAgents(f *Facts) Finding {
	a := f.Agents
	var silent []string
	answered := 0
	for _, ping := range a.Asked {
		if ping.Err == nil {
			answered++
			continue
		}
		silent = append(silent, fmt.Sprintf("%s (%s)", ping.Name, ping.Err))
	}
	switch {
	case a.Err != nil:
		return nothing("they could not be asked: %s", a.Err)
	case len(a.Asked) == 0:
		return nothing("no workspace is running")
	case len(silent) == 0:
		return well("%s%s", ofAll(answered), others(a.Others))
	case f.Tunnel.problem("signed-out") != nil:
		return skippedFor(idSignIn) // nobody tells of workspaces without it
	case answered == 0 && (f.Control.Err != nil || f.Control.problem() != nil):
		return skippedFor(idControl)
	case answered == 0 && f.Tunnel.RelayError != "":
		return skippedFor(idRelay)
	}
	return fail(fmt.Sprintf("%d of %d running agents do not answer: %s", len(silent), len(a.Asked), strings.Join(silent, "; ")),
		"find out whether the workspace really runs (a dashboard shows it, or whoever runs the control plane: causeway-server workspace list); on its machine: the agent and its log")
}

func ofAll(n int) string {
	if n == 1 {
		return "the one agent that was asked answers"
	}
	return fmt.Sprintf("all %d agents that were asked answer", n)
}

func others(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" (%d more were not asked)", n)
}

func judgeMTU(f *Facts) Finding {
	if problem := f.Agents.MTU; problem != nil {
		return warn(problem.GetCause(), problem.GetRemedy())
	}
	direct := 0
	for _, ping := range f.Agents.Asked {
		if ping.Err == nil && ping.Direct {
			direct++
		}
	}
	if direct == 0 {
		return nothing("no direct path is in use")
	}
	return well("they pass on the direct paths")
}
