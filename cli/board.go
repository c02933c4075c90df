package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/causewayhq/causeway/proto/localv1"
)

const (
	// slowLatency is from when on an answer counts as slow.
	slowLatency = 150 * time.Millisecond
	// leastRows is how many agents are shown, however much else there is to say.
	leastRows = 2
	// narrow is the width below which only the name and how it answers are shown.
	narrow = 64
)

// board is what the full-screen view shows. It is a value: keys and news make
// the next one, and render draws it.
type board struct {
	app      *app
	style    styles
	status   *localv1.Status // printable; nil before the first
	away     string          // why the daemon does not answer; "": it does
	note     string          // what came of the last key
	selected string          // name of the agent
}

// agents are in the order of the screen.
func (b board) agents() []*localv1.AgentStatus { return sorted(b.status.GetAgents()) }

// index of the selected agent; the first if it has gone.
func (b board) index() int {
	return max(slices.IndexFunc(b.agents(), func(agent *localv1.AgentStatus) bool { return agentName(agent) == b.selected }), 0)
}

// chosen is the selected agent, or nil.
func (b board) chosen() *localv1.AgentStatus {
	if agents := b.agents(); len(agents) > 0 {
		return agents[b.index()]
	}
	return nil
}

// moved selects the agent that is so many rows further down.
func (b board) moved(by int) board {
	if agents := b.agents(); len(agents) > 0 {
		b.selected = agentName(agents[min(max(b.index()+by, 0), len(agents)-1)])
	}
	return b
}

// render makes exactly as many lines as there is height for, each narrower than
// the width: the last column stays free, as terminals differ in what they do
// after it.
func (b board) render(width, height int) []string {
	width = max(width-1, 1)
	var lines []string
	for _, line := range b.head(width, height-1) {
		lines = append(lines, clip(line, width))
	}
	rows := max(height-1-len(lines), 0)
	for _, line := range b.table(width, rows) {
		lines = append(lines, clip(line, width))
	}
	for len(lines) < height-1 {
		lines = append(lines, "")
	}
	return append(lines[:max(height-1, 0)], clip(b.foot(width), width))
}

// head is the state and what is to be said of it.
func (b board) head(width, height int) []string {
	if b.status == nil {
		if b.away == "" {
			return []string{"asking the daemon ..."}
		}
		return append([]string{b.style.yellow + "daemon is away, waiting" + b.style.reset}, folded(b.away, "  ", width)...)
	}
	lines := []string{b.title()}
	if b.away != "" {
		lines = append(lines, b.style.yellow+"daemon is away, waiting"+b.style.reset+": what follows is from before")
	}
	if b.status.GetView() == localv1.View_SUMMARY {
		return append(lines, folded(summarised(b.status), "  ", width)...)
	}
	// The agents have their place, then problems, then facts.
	room := height - len(lines) - min(len(b.agents()), leastRows) - 2
	var problems []string
	for _, problem := range b.status.GetProblems() {
		problems = append(problems, folded(b.style.red+"problem"+b.style.reset+" "+problem.GetCode()+": "+problem.GetCause(), "", width)...)
		if problem.GetRemedy() != "" {
			problems = append(problems, folded("remedy: "+problem.GetRemedy(), "  ", width)...)
		}
	}
	if next := nextStep(b.status); next != "" {
		problems = append(problems, "next: "+next)
	}
	if len(problems) > room {
		problems = append(problems[:max(room-1, 0)], "... see: causeway status")
	}
	facts := b.app.facts(b.status)
	room -= len(problems)
	for _, fact := range facts[:min(max(room, 0), len(facts))] {
		lines = append(lines, fmt.Sprintf("  %-13s  %s", fact.what, fact.how))
	}
	return append(append(lines, problems...), "")
}

func (b board) title() string {
	state := b.status.GetState()
	title := b.style.bold + b.style.colourOf(state) + stateWord(state) + b.style.reset
	if b.status.GetUrl() != "" {
		title += "  " + b.status.GetUrl() + " as " + b.status.GetUser()
	}
	return title
}

// mark is an agent's state by shape and colour.
func (b board) mark(agent *localv1.AgentStatus) string {
	s := b.style
	switch {
	case agent.GetReachable() && agent.GetLatency().AsDuration() >= slowLatency:
		return s.yellow + "◐" + s.reset
	case agent.GetReachable():
		return s.green + "●" + s.reset
	case agent.GetTried() || agent.GetLastAnswer() != nil:
		return s.red + "✗" + s.reset
	}
	return "○"
}

// table is the agents, scrolled so that the selected one is seen.
func (b board) table(width, rows int) []string {
	agents := b.agents()
	if len(agents) == 0 || rows < 2 || b.status.GetView() == localv1.View_SUMMARY {
		return nil
	}
	names := len("NAME")
	for _, agent := range agents {
		names = max(names, utf8.RuneCountInString(agentName(agent)))
	}
	names = min(names, max(width*2/3, 8))
	header := fmt.Sprintf("    %-*s  %s", names, "NAME", "ANSWERS")
	if width >= narrow {
		header = fmt.Sprintf("    %-*s  %-9s  %-12s  %s", names, "NAME", "LATENCY", "LAST ANSWER", "PATH")
	}
	lines := []string{b.style.bold + header + b.style.reset}
	room := rows - 1
	first := max(0, min(b.index()-room/2, len(agents)-room))
	for i, agent := range agents[first:min(first+room, len(agents))] {
		cursor := " "
		if first+i == b.index() {
			cursor = ">"
		}
		line := fmt.Sprintf("%s %s %-*s  ", cursor, b.mark(agent), names, clip(agentName(agent), names))
		if width >= narrow {
			line += fmt.Sprintf("%-9s  %-12s  %s", dash(latency(agent.GetLatency())), b.answered(agent), b.app.wayOrOffline(agent))
		} else {
			line += dash(latency(agent.GetLatency()))
		}
		lines = append(lines, line)
	}
	return lines
}

// answered is when an agent last did.
func (b board) answered(agent *localv1.AgentStatus) string {
	switch {
	case agent.GetLastAnswer() != nil:
		return b.app.ago(agent.GetLastAnswer().AsTime())
	case agent.GetReachable():
		return "yes"
	case agent.GetTried():
		return "never"
	}
	return "not used yet"
}

// foot is what came of the last key, else the keys that there are.
func (b board) foot(width int) string {
	switch {
	case b.note != "":
		return b.style.bold + b.note + b.style.reset
	case width < narrow:
		return "u/d up/down c copy s ssh r fix q quit"
	}
	return "arrows select   c copy name   s ssh   u up   d down   r repair names   q quit"
}

// folded breaks a text into lines of that width, the first one indented a little
// and the others more.
func folded(text, indent string, width int) []string {
	return strings.Split(indent+wrap(text, len(indent)+2, width), "\n")
}

// clip cuts a text to a width; colours take none.
func clip(text string, width int) string {
	var out strings.Builder
	room, coloured := width, false
	for i := 0; i < len(text); {
		if text[i] == '\x1b' {
			end := strings.IndexByte(text[i:], 'm')
			out.WriteString(text[i : i+end+1])
			coloured = text[i:i+end+1] != "\x1b[0m"
			i += end + 1
			continue
		}
		_, size := utf8.DecodeRuneInString(text[i:])
		if room == 0 {
			break
		}
		out.WriteString(text[i : i+size])
		room--
		i += size
	}
	if coloured {
		out.WriteString("\x1b[0m")
	}
	return out.String()
}
