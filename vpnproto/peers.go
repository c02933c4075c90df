package vpnproto

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	wire "github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/vpnv1"
	"github.com/causewayhq/causeway/tunnel"
)

const (
	// statusEvery is how often all agents are told again, and pinged.
	statusEvery = 5 * time.Second
	// pingLimit is what the pings of one round have in common.
	pingLimit = 5 * time.Second
)

// peers is what the manager was told of one running tunnel.
type peers struct {
	core    Core
	version Version
	log     *slog.Logger
	send    func(context.Context, *vpnv1.PeerUpdate) error

	snapshots  uint64
	workspaces map[uuid.UUID]*vpnv1.Workspace

	mu     sync.Mutex
	agents map[uuid.UUID]*vpnv1.Agent    // written by teach alone
	pings  map[uuid.UUID]*vpnv1.LastPing // of the last that was answered
	mute   map[uuid.UUID]bool            // did not answer the last; said once
}

func newPeers(core Core, version Version, log *slog.Logger, send func(context.Context, *vpnv1.PeerUpdate) error) *peers {
	return &peers{
		core: core, version: version, log: log, send: send,
		workspaces: map[uuid.UUID]*vpnv1.Workspace{}, agents: map[uuid.UUID]*vpnv1.Agent{},
		pings: map[uuid.UUID]*vpnv1.LastPing{}, mute: map[uuid.UUID]bool{},
	}
}

// teach tells the manager of each change, and of everything every five seconds,
// until the context ends. It ends with the pings.
func (p *peers) teach(ctx context.Context) {
	var pings sync.WaitGroup
	defer pings.Wait()
	ticker := time.NewTicker(statusEvery)
	defer ticker.Stop()
	var revision uint64
	for {
		changed := p.core.Changed()
		if now := p.core.Revision(); now != revision {
			revision = now
			if !p.tell(ctx, p.core.Inventory()) {
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-ticker.C:
			list := p.core.Inventory()
			revision = list.Revision
			if !p.tell(ctx, list) {
				return
			}
			if len(list.Agents) == 0 {
				continue
			}
			update := p.status(list) // of what was known before
			pings.Go(func() { p.ping(ctx, list.Agents) })
			if p.send(ctx, update) != nil {
				return
			}
		}
	}
}

// tell sends what differs from what was told; after a snapshot it sends all of
// it, and what is missing from it as deleted.
func (p *peers) tell(ctx context.Context, list tunnel.Inventory) bool {
	if !list.Known {
		return true
	}
	update := &vpnv1.PeerUpdate{}
	snapshot := list.Snapshots != p.snapshots
	workspaces, agents := make(map[uuid.UUID]*vpnv1.Workspace, len(list.Workspaces)), make(map[uuid.UUID]*vpnv1.Agent, len(list.Agents))
	for _, workspace := range list.Workspaces {
		message := workspaceMessage(workspace.ID, workspace.Name, vpnv1.Workspace_Status(workspace.Status))
		workspaces[workspace.ID] = message
		if snapshot || !proto.Equal(p.workspaces[workspace.ID], message) {
			update.UpsertedWorkspaces = append(update.UpsertedWorkspaces, message)
		}
	}
	for _, agent := range list.Agents {
		message := agentMessage(agent)
		agents[agent.ID] = message
		if snapshot || !proto.Equal(p.agents[agent.ID], message) {
			update.UpsertedAgents = append(update.UpsertedAgents, p.measured(agent, message))
		}
	}
	p.missing(update, workspaces, agents, snapshot)
	p.snapshots, p.workspaces = list.Snapshots, workspaces
	p.mu.Lock()
	p.agents = agents
	p.mu.Unlock()
	if !snapshot && proto.Size(update) == 0 {
		return true
	}
	return p.send(ctx, update) == nil
}

// missing adds what was told and is no more. Of agents that a difference took
// away the names are repeated, of those that a snapshot lacks they are not.
func (p *peers) missing(update *vpnv1.PeerUpdate, workspaces map[uuid.UUID]*vpnv1.Workspace, agents map[uuid.UUID]*vpnv1.Agent, snapshot bool) {
	for id, before := range p.workspaces {
		if workspaces[id] == nil {
			update.DeletedWorkspaces = append(update.DeletedWorkspaces, before)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, before := range p.agents {
		if agents[id] != nil {
			continue
		}
		delete(p.pings, id)
		delete(p.mute, id)
		if snapshot {
			before = &vpnv1.Agent{Id: before.Id, Name: before.Name, WorkspaceId: before.WorkspaceId}
		}
		update.DeletedAgents = append(update.DeletedAgents, before)
	}
	slices.SortFunc(update.DeletedWorkspaces, func(a, b *vpnv1.Workspace) int { return bytes.Compare(a.Id, b.Id) })
	slices.SortFunc(update.DeletedAgents, func(a, b *vpnv1.Agent) int { return bytes.Compare(a.Id, b.Id) })
}

// status is all agents with what is known of the way to them.
func (p *peers) status(list tunnel.Inventory) *vpnv1.PeerUpdate {
	update := &vpnv1.PeerUpdate{UpsertedAgents: make([]*vpnv1.Agent, 0, len(list.Agents))}
	for _, agent := range list.Agents {
		update.UpsertedAgents = append(update.UpsertedAgents, p.measured(agent, agentMessage(agent)))
	}
	return update
}

// everything is the full state, for who asks.
func (p *peers) everything() *vpnv1.PeerUpdate {
	list := p.core.Inventory()
	update := p.status(list)
	for _, workspace := range list.Workspaces {
		update.UpsertedWorkspaces = append(update.UpsertedWorkspaces, workspaceMessage(workspace.ID, workspace.Name, vpnv1.Workspace_Status(workspace.Status)))
	}
	return update
}

// workspaceMessage has the status as the control plane numbers it: both protocols
// have the same eleven.
func workspaceMessage(id uuid.UUID, name string, status vpnv1.Workspace_Status) *vpnv1.Workspace {
	return &vpnv1.Workspace{Id: id[:], Name: name, Status: status}
}

// agentMessage is an agent without what is measured of it.
func agentMessage(agent tunnel.AgentStatus) *vpnv1.Agent {
	message := &vpnv1.Agent{Id: agent.ID[:], Name: agent.Name, WorkspaceId: agent.Workspace.ID[:]}
	for _, name := range agent.Names {
		message.Fqdn = append(message.Fqdn, name+".")
	}
	// Every name stands for the one address; the other is not in DNS.
	address := wire.AddrFromUUID(wire.ServicePrefix, agent.ID)
	if slices.ContainsFunc(agent.Addresses, func(known netip.Addr) bool { return known == address }) {
		message.IpAddrs = []string{address.String()}
	}
	return message
}

// measured adds the last handshake, which is the zero time if there was none, and
// the last ping that was answered.
func (p *peers) measured(agent tunnel.AgentStatus, message *vpnv1.Agent) *vpnv1.Agent {
	message = proto.CloneOf(message)
	message.LastHandshake = timestamppb.New(agent.LastHandshake)
	if p.version.has(minorLastPing) {
		p.mu.Lock()
		message.LastPing = p.pings[agent.ID]
		p.mu.Unlock()
	}
	return message
}

// ping asks all agents at once; a result shows one round later.
func (p *peers) ping(ctx context.Context, agents []tunnel.AgentStatus) {
	limited, cancel := context.WithTimeout(ctx, pingLimit)
	defer cancel()
	var round sync.WaitGroup
	for _, agent := range agents {
		round.Go(func() {
			reply, err := p.core.PingAgent(limited, agent.ID)
			if ctx.Err() == nil {
				p.pinged(agent.ID, reply, err)
			}
		})
	}
	round.Wait()
}

// pinged keeps an answer until a newer one comes or the agent is gone. An agent
// that the control plane has announced nowhere is not missed.
func (p *peers) pinged(id uuid.UUID, reply tunnel.PingReply, err error) {
	var answer *vpnv1.LastPing
	if err == nil {
		answer = pingMessage(reply, p.core.HomeRelay())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.agents[id] == nil: // gone meanwhile
	case err == nil:
		p.pings[id] = answer
		delete(p.mute, id)
	case errors.Is(err, tunnel.ErrOffline) || errors.Is(err, tunnel.ErrNotRunning) || p.mute[id]:
	default:
		p.mute[id] = true
		p.log.Warn("agent did not answer a ping", slog.String("agent", id.String()), slog.String("error", err.Error()))
	}
}

// pingMessage names the region that the ping went through, or else our own.
func pingMessage(reply tunnel.PingReply, home *tunnel.Relay) *vpnv1.LastPing {
	message := &vpnv1.LastPing{Latency: durationpb.New(reply.Latency), DidP2P: reply.Direct}
	relay := reply.Relay
	if reply.Direct || relay == nil {
		relay = home
	}
	if relay == nil {
		return message
	}
	message.PreferredDerp = relay.Name
	if relay.Name == "" {
		message.PreferredDerp = fmt.Sprintf("Unnamed %d", relay.RegionID)
	}
	if relay.Latency > 0 {
		message.PreferredDerpLatency = durationpb.New(relay.Latency)
	}
	return message
}
