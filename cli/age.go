package cli

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/causewayhq/causeway/proto/localv1"
)

// fresh is how old a measurement may be to be shown without its age: agents in
// use are asked every 15 s, and one answer may be missed.
const fresh = 30 * time.Second

// span is a time in its largest unit.
func span(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

// ago is how long ago something was.
func (a *app) ago(then time.Time) string {
	d := a.now().Sub(then)
	if d < 2*time.Second {
		return "now"
	}
	return span(d) + " ago"
}

// age is how old something is.
func (a *app) age(then time.Time) string {
	d := a.now().Sub(then)
	if d < time.Second {
		return "less than a second old"
	}
	return span(d) + " old"
}

// stale is the age of what is not fresh, or "".
func (a *app) stale(at *timestamppb.Timestamp) string {
	if at == nil || a.now().Sub(at.AsTime()) < fresh {
		return ""
	}
	return a.ago(at.AsTime())
}

// reachable is whether an agent answers, or else when it last did.
func (a *app) reachable(agent *localv1.AgentStatus) string {
	switch {
	case agent.GetReachable():
		return "yes" + suffixed(", ", a.stale(agent.GetLastAnswer()))
	case agent.GetOffline():
		return a.offlineWords(agent)
	case agent.GetLastAnswer() != nil:
		return "no, last answer " + a.ago(agent.GetLastAnswer().AsTime())
	case !agent.GetTried():
		return "not used yet"
	}
	return "no"
}

// latencyOf is that of an agent, with its age when it is an old one.
func (a *app) latencyOf(agent *localv1.AgentStatus) string {
	text := latency(agent.GetLatency())
	if text == "" {
		return ""
	}
	return text + suffixed(", ", a.stale(agent.GetMeasuredAt()))
}

// outage is since when the control plane is missed, and what is done about it.
func (a *app) outage(status *localv1.Status) string {
	if status.GetControlSince() == nil {
		return "not connected"
	}
	text := "not connected for " + span(max(a.now().Sub(status.GetControlSince().AsTime()), 0))
	if tries := status.GetControlAttempts(); tries > 0 {
		text += fmt.Sprintf(", failed tries: %d", tries)
	}
	if next := status.GetControlNextRetry(); next != nil && next.AsTime().After(a.now()) {
		return text + ", next in " + short(next.AsTime().Sub(a.now()).Round(100*time.Millisecond))
	}
	return text + ", trying now"
}
