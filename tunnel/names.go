package tunnel

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/netcfg"
	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/workspace"
)

// book is what names stand for: the workspaces, and under which names they
// appear. It holds nothing derived, and is as good as free to make.
type book struct {
	state  *workspace.State
	owner  string
	suffix string
	// hosts are the names for a hosts file, which few hosts need.
	hosts *netcfg.Hosts
}

func newBook(state *workspace.State, owner, suffix string) book {
	b := book{state: state, owner: owner, suffix: strings.ToLower(suffix)}
	b.hosts = netcfg.NewHosts(b.entries)
	return b
}

// since is what turns the names of the old book into those of b; false when
// they are not of the same owner and suffix.
func (b book) since(old book) (workspace.Diff, bool) {
	if old.state == nil || old.owner != b.owner || old.suffix != b.suffix {
		return workspace.Diff{}, false
	}
	return b.state.Since(old.state), true
}

// entries are the names for a hosts file.
func (b book) entries(yield func(netcfg.Host) bool) {
	for name, addr := range b.state.Names(b.owner, b.suffix) {
		if !yield(netcfg.Host{Name: name, Addr: addr}) {
			return
		}
	}
}

// target is one agent that a user named.
type target struct {
	agent uuid.UUID
	name  string
	addr  netip.Addr
}

// resolve finds an agent by a full name, a name without the suffix,
// agent.workspace, a workspace with one agent, or an address. Only what is not
// a name costs as much as there are agents.
func (b book) resolve(name string) (target, error) {
	if b.state == nil { // nothing was published yet
		return target{}, fmt.Errorf("%q: %w", name, ErrUnknownName)
	}
	asked := strings.ToLower(strings.TrimSuffix(strings.TrimSpace(name), "."))
	if addr, err := netip.ParseAddr(strings.Trim(asked, "[]")); err == nil {
		for _, id := range b.state.AgentIDs() {
			if addrs := proto.AgentAddrs(id); slices.Contains(addrs[:], addr) {
				return b.target(id), nil
			}
		}
		return target{}, fmt.Errorf("address %s: %w", addr, ErrUnknownName)
	}
	for _, full := range []string{asked, asked + "." + b.suffix} {
		if agent, known := b.state.Find(full, b.owner, b.suffix); known {
			return b.target(agent.ID), nil
		}
	}
	for _, agent := range b.state.Agents() { // also those that DNS cannot name
		_, of, _ := b.state.Agent(agent.ID)
		if strings.ToLower(agent.Name+"."+of.Name) == asked {
			return b.target(agent.ID), nil
		}
	}
	return target{}, fmt.Errorf("%q: %w", name, ErrUnknownName)
}

func (b book) target(id uuid.UUID) target {
	found := target{agent: id, addr: proto.AddrFromUUID(proto.ServicePrefix, id)}
	if names := b.state.AgentNames(id, b.owner, b.suffix); len(names) > 0 {
		found.name = names[0]
	}
	return found
}

// publish hands the names of the present workspaces to the resolver, by what
// changed since it was last called; the host follows. t.mu is held.
func (t *Tunnel) publish() {
	if t.live == nil || t.saved.Workspaces == nil {
		return
	}
	next := newBook(t.saved.Workspaces, t.saved.User.Username, t.saved.Suffix)
	diff, follows := next.since(t.live.book)
	if !follows {
		t.live.answers.replace(next.suffix, next.state.MaxNames(), next.state.Names(next.owner, next.suffix))
		t.live.leftOut = next.state.AllLeftOut(next.owner, next.suffix)
		t.tellLeftOut()
	} else {
		changes := diff.Names(next.owner, next.suffix)
		t.live.answers.change(changes)
		if len(changes) == 0 {
			next.hosts = t.live.book.hosts // so that the host need not look at them
		}
		if t.live.leaveOut(next, diff) {
			t.tellLeftOut()
		}
	}
	t.live.book = next
	t.facts.names = true
	t.revision++
	t.notify()
}

// leaveOut brings the agents that lack names up to date, and says whether that
// changed anything.
func (l *live) leaveOut(next book, diff workspace.Diff) (changed bool) {
	for _, agent := range diff.DeletedAgents {
		_, was := l.leftOut[agent.ID]
		delete(l.leftOut, agent.ID)
		changed = changed || was
	}
	for _, agent := range diff.UpsertedAgents {
		was, reason := l.leftOut[agent.ID], next.state.LeftOut(agent.ID, next.owner, next.suffix)
		delete(l.leftOut, agent.ID)
		if reason != nil {
			l.leftOut[agent.ID] = reason
		}
		changed = changed || !sameError(was, reason)
	}
	return changed
}

// tellLeftOut makes a problem of what is left out, and names in the log what
// is and was not before: it need not say the same each time.
func (t *Tunnel) tellLeftOut() {
	said := make(map[string]bool, len(t.facts.leftOut))
	for _, err := range t.facts.leftOut {
		said[err.Error()] = true
	}
	t.facts.leftOut = slices.SortedFunc(maps.Values(t.live.leftOut), func(a, b error) int { return cmp.Compare(a.Error(), b.Error()) })
	for _, err := range t.facts.leftOut {
		if reason := err.Error(); !said[reason] {
			t.log.Warn("name left out", slog.String("reason", reason))
		}
	}
}
