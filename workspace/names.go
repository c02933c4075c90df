package workspace

import (
	"fmt"
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

// Names are all names under the suffix with their addresses: lower case, no
// trailing dot, the sentinel among them. Names that DNS cannot carry are left
// out and reported; the others go on. Two workspaces whose names differ in
// case only share names; the first by name and id wins.
func (s *State) Names(owner, suffix string) (map[string]netip.Addr, []error) {
	suffix = strings.ToLower(strings.Trim(suffix, "."))
	names := make(map[string]netip.Addr, 3*len(s.agents)+1)
	names[Sentinel+"."+suffix] = proto.DNSAddr
	var omitted []error
	for _, e := range s.sorted() {
		for _, agent := range e.sorted() {
			list, err := e.names(agent, owner, suffix)
			if err != nil {
				omitted = append(omitted, err)
			}
			addr := proto.AddrFromUUID(proto.ServicePrefix, agent.ID)
			for _, name := range list {
				if _, taken := names[name]; !taken {
					names[name] = addr
				}
			}
		}
	}
	return names, omitted
}

// AgentNames are the names of one agent, the shortest first.
func (s *State) AgentNames(id uuid.UUID, owner, suffix string) []string {
	e, found := s.agents[id]
	if !found {
		return nil
	}
	names, _ := e.names(e.agents[id], owner, strings.ToLower(strings.Trim(suffix, ".")))
	slices.SortFunc(names, func(a, b string) int {
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
	return slices.Compact(names)
}

// names gives what can be named, and why the rest cannot.
func (e *entry) names(agent Agent, owner, suffix string) ([]string, error) {
	var names []string
	var reason error
	add := func(labels ...string) {
		name := strings.ToLower(strings.Join(labels, ".")) + "." + suffix
		for _, label := range labels {
			if err := checkLabel(label); err != nil {
				reason = fmt.Errorf("name agent %q of workspace %q: %w", agent.Name, e.Name, err)
				return
			}
		}
		if len(name) > maxName {
			reason = fmt.Errorf("name agent %q of workspace %q: name of %d bytes is over %d", agent.Name, e.Name, len(name), maxName)
			return
		}
		names = append(names, name)
	}
	if e.alias() != "" {
		add(e.Name)
	}
	add(agent.Name, e.Name, "me")
	if owner != "" {
		add(agent.Name, e.Name, owner)
	}
	return names, reason
}

// checkLabel refuses what DNS cannot carry as one label, and every character
// that could end a line or a field in a hosts file.
func checkLabel(label string) error {
	if label == "" {
		return fmt.Errorf("empty label")
	}
	if len(label) > maxLabel {
		return fmt.Errorf("label of %d bytes is over %d", len(label), maxLabel)
	}
	for _, c := range []byte(label) {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		digit := '0' <= c && c <= '9'
		if !letter && !digit && c != '-' && c != '_' {
			return fmt.Errorf("label %q holds the character %q", label, rune(c))
		}
	}
	return nil
}
