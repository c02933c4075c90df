package api

import (
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/proto/tailnetv2"
	"github.com/causewayhq/causeway/server/store"
)

// absenceGrace is how long an agent without a connection still counts as
// present: the same as the agent route's inactivity limit, so that a reconnect
// or a restart of the server does not flip every workspace to STOPPED and back.
const absenceGrace = 30 * time.Second

// presence knows which agents are connected. It is soft state: after a restart
// of the server it fills as agents reconnect.
type presence struct {
	started time.Time
	changed func(owner uuid.UUID)

	mu     sync.Mutex
	closed bool
	agents map[uuid.UUID]*attendance
}

type attendance struct {
	owner       uuid.UUID
	connections int
	absences    int // counts how often it left
	leaving     *time.Timer
}

func newPresence(changed func(owner uuid.UUID)) *presence {
	return &presence{started: time.Now(), changed: changed, agents: map[uuid.UUID]*attendance{}}
}

// enter counts a connection of an agent until the returned function is called.
func (p *presence) enter(agent store.Agent) (leave func()) {
	p.mu.Lock()
	entry := p.agents[agent.ID]
	if entry == nil {
		entry = &attendance{owner: agent.OwnerID}
		p.agents[agent.ID] = entry
	}
	entry.connections++
	if entry.leaving != nil {
		entry.leaving.Stop()
		entry.leaving = nil
	}
	p.mu.Unlock()
	p.changed(agent.OwnerID)
	return func() { p.leave(agent.ID) }
}

func (p *presence) leave(agent uuid.UUID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	entry := p.agents[agent]
	entry.connections--
	if entry.connections > 0 || p.closed {
		return
	}
	entry.absences++
	absence := entry.absences
	entry.leaving = time.AfterFunc(absenceGrace, func() { p.expire(agent, entry, absence) })
}

// expire ends an absence that nothing has ended meanwhile.
func (p *presence) expire(agent uuid.UUID, entry *attendance, absence int) {
	p.mu.Lock()
	if p.agents[agent] != entry || entry.connections > 0 || entry.absences != absence || p.closed {
		p.mu.Unlock()
		return
	}
	delete(p.agents, agent)
	p.mu.Unlock()
	p.changed(entry.owner)
}

// close stops the timers.
func (p *presence) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, entry := range p.agents {
		if entry.leaving != nil {
			entry.leaving.Stop()
		}
	}
}

// agentStatus is "connected", "connecting" (never seen), "disconnected", or
// "unknown" for the grace after the server's start.
func (p *presence) agentStatus(agent store.Agent) string {
	switch p.status(agent) {
	case tailnetv2.Workspace_RUNNING:
		return "connected"
	case tailnetv2.Workspace_PENDING:
		return "connecting"
	case tailnetv2.Workspace_STOPPED:
		return "disconnected"
	default:
		return "unknown"
	}
}

func (p *presence) status(agent store.Agent) tailnetv2.Workspace_Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.agents[agent.ID] != nil:
		return tailnetv2.Workspace_RUNNING
	case agent.FirstConnectedAt.IsZero():
		return tailnetv2.Workspace_PENDING
	case time.Since(p.started) < absenceGrace:
		return tailnetv2.Workspace_UNKNOWN
	default:
		return tailnetv2.Workspace_STOPPED
	}
}

// workspaceStatus is that of the agent that is best off: RUNNING when one is
// connected, PENDING when none ever was (or there is none), STOPPED when all
// have gone, UNKNOWN when the server has just started and cannot know yet.
func (p *presence) workspaceStatus(agents []store.Agent) tailnetv2.Workspace_Status {
	best := tailnetv2.Workspace_PENDING
	for _, agent := range agents {
		switch status := p.status(agent); status {
		case tailnetv2.Workspace_RUNNING:
			return status
		case tailnetv2.Workspace_UNKNOWN:
			best = status
		case tailnetv2.Workspace_STOPPED:
			if best == tailnetv2.Workspace_PENDING {
				best = status
			}
		default:
		}
	}
	return best
}
