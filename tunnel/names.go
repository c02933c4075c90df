package tunnel

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/netcfg"
	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/workspace"
)

// book is all names of the deployment and what they stand for. It is built
// once for each change of the workspaces and not changed after that.
type book struct {
	suffix string
	hosts  map[string]netip.Addr // with the sentinel; lower case, no trailing dot
	agents map[netip.Addr]uuid.UUID
	short  map[uuid.UUID]string // the shortest name of each agent
	pairs  map[string]uuid.UUID // agent.workspace, for agents that DNS cannot name too
}

// newBook derives everything from the workspaces, and says which names had to
// be left out.
func newBook(state *workspace.State, owner, suffix string) (book, []error) {
	hosts, leftOut := state.Names(owner, suffix)
	b := book{
		suffix: strings.ToLower(suffix), hosts: hosts, agents: make(map[netip.Addr]uuid.UUID, 2*state.Len()),
		short: make(map[uuid.UUID]string, state.Len()), pairs: make(map[string]uuid.UUID, state.Len()),
	}
	for _, agent := range state.Agents() {
		for _, addr := range proto.AgentAddrs(agent.ID) {
			b.agents[addr] = agent.ID
		}
		_, of, _ := state.Agent(agent.ID)
		pair := strings.ToLower(agent.Name + "." + of.Name)
		if _, taken := b.pairs[pair]; !taken {
			b.pairs[pair] = agent.ID
		}
	}
	for name, addr := range hosts {
		id, agent := b.agents[addr]
		if best, known := b.short[id]; agent && (!known || shorter(name, best) < 0) {
			b.short[id] = name
		}
	}
	return b, leftOut
}

func shorter(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) }

// entries are the names for a hosts file, sorted.
func (b book) entries() []netcfg.Host {
	list := make([]netcfg.Host, 0, len(b.hosts))
	for name, addr := range b.hosts {
		list = append(list, netcfg.Host{Name: name, Addr: addr})
	}
	slices.SortFunc(list, func(a, b netcfg.Host) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// target is one agent that a user named.
type target struct {
	agent uuid.UUID
	name  string
	addr  netip.Addr
}

// resolve finds an agent by a full name, a name without the suffix,
// agent.workspace, a workspace with one agent, or an address.
func (b book) resolve(name string) (target, error) {
	asked := strings.ToLower(strings.TrimSuffix(strings.TrimSpace(name), "."))
	if addr, err := netip.ParseAddr(strings.Trim(asked, "[]")); err == nil {
		if id, known := b.agents[addr]; known {
			return b.target(id), nil
		}
		return target{}, fmt.Errorf("address %s: %w", addr, ErrUnknownName)
	}
	for _, full := range []string{asked, asked + "." + b.suffix} {
		if id, known := b.agents[b.hosts[full]]; known {
			return b.target(id), nil
		}
	}
	if id, known := b.pairs[asked]; known {
		return b.target(id), nil
	}
	return target{}, fmt.Errorf("%q: %w", name, ErrUnknownName)
}

func (b book) target(id uuid.UUID) target {
	return target{agent: id, name: b.short[id], addr: proto.AddrFromUUID(proto.ServicePrefix, id)}
}

// publish builds the book of the present workspaces and hands it to the
// resolver; the host follows. t.mu is held.
func (t *Tunnel) publish() {
	if t.live == nil || t.saved.Workspaces == nil {
		return
	}
	b, omitted := newBook(t.saved.Workspaces, t.saved.User.Username, t.saved.Suffix)
	t.live.answers.publish(t.live.book, b)
	t.live.book = b
	t.warnLeftOut(t.facts.leftOut, omitted)
	t.facts.names, t.facts.leftOut = true, omitted
	t.notify()
}

// warnLeftOut names what is left out now and was not before: the book is made
// at each update, and the log need not say the same each time.
func (t *Tunnel) warnLeftOut(before, now []error) {
	said := make(map[string]bool, len(before))
	for _, err := range before {
		said[err.Error()] = true
	}
	for _, err := range now {
		if reason := err.Error(); !said[reason] {
			t.log.Warn("name left out", slog.String("reason", reason))
		}
	}
}
