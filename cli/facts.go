package cli

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/causewayhq/causeway/proto/localv1"
)

// fact is a line of the status: what, and how it is.
type fact struct{ what, how string }

// facts are what is known of a tunnel beside its agents.
func (a *app) facts(status *localv1.Status) []fact {
	var facts []fact
	add := func(what, how string) { facts = append(facts, fact{what, how}) }
	if status.GetProfile() != "" {
		add("profile", status.GetProfile()+suffixed(" of ", status.GetOwner()))
	}
	if expires := status.GetTokenExpiresAt(); expires != nil {
		left := expires.AsTime().Sub(a.now())
		how := "good for " + span(left)
		if left <= 0 {
			how = "ended " + span(-left) + " ago: sign in again"
		}
		add("sign-in", how)
	}
	if status.GetWaitsForLogin() {
		add("waits", "until "+dash(status.GetOwner())+" logs in on this machine")
	}
	if status.GetInterface() == "" {
		return facts
	}
	control := "connected"
	if !status.GetControlConnected() {
		control = a.outage(status)
	}
	names := "not answering"
	if status.GetCanaryOk() {
		names = "answering"
	}
	add("control plane", control)
	if fromCache(status) {
		add("workspaces", "from cache, "+a.age(status.GetWorkspacesAsOf().AsTime()))
	}
	add("names", fmt.Sprintf("*.%s %s (%s)", status.GetSuffix(), names, status.GetDnsMode()))
	add("interface", status.GetInterface()+" "+status.GetAddress())
	if home := status.GetHomeRelay(); home != nil {
		add("home relay", relayName(home)+suffixed(" ", latency(home.GetLatency())))
	}
	return facts
}

func (a *app) printAgents(text *strings.Builder, status *localv1.Status) {
	if len(status.GetAgents()) == 0 {
		return
	}
	text.WriteByte('\n')
	table := tabwriter.NewWriter(text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tREACHABLE\tPATH\tLATENCY\tLAST HANDSHAKE")
	for _, agent := range sorted(status.GetAgents()) {
		handshake := "-"
		if agent.GetTried() {
			handshake = "never"
		}
		if agent.GetLastHandshake() != nil {
			handshake = a.ago(agent.GetLastHandshake().AsTime())
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", agentName(agent), a.reachable(agent), way(agent), dash(a.latencyOf(agent)), handshake)
	}
	// A strings.Builder takes every write.
	_ = table.Flush()
}
