package tunnel

import (
	"net/netip"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/workspace"
)

// Status is one consistent picture of the tunnel.
type Status struct {
	State            State
	Problems         []Problem
	URL              string
	User             string
	Suffix           string
	ControlConnected bool
	// Outage is there while the control plane is not connected.
	Outage *Outage
	// WorkspacesAsOf is up to when the list of agents is known to be right;
	// zero before anything was heard.
	WorkspacesAsOf time.Time
	Interface      string
	Address        netip.Addr // zero before the device is configured
	HomeRelay      *Relay     // nil before one was chosen
	CanaryOK       bool
	DNSMode        string
	Agents         []AgentStatus // by workspace and name
}

// Outage is a time without a control plane.
type Outage struct {
	Since     time.Time // the connection ended, or the first try began
	Attempts  int       // that failed since
	NextRetry time.Time // zero: it is being tried
}

// Relay is one region of relays.
type Relay struct {
	RegionID int
	Code     string
	Name     string
	Latency  time.Duration // 0: not measured
}

// AgentStatus is what is known of one agent.
type AgentStatus struct {
	ID        uuid.UUID
	Name      string
	Workspace workspace.Workspace
	Names     []string // fully qualified, no trailing dot, the shortest first
	Addresses []netip.Addr
	// Reachable: something came back from it within the last three minutes, and
	// since then no two pings in a row went unanswered, nor one if none was ever
	// answered.
	Reachable bool
	// Tried: it was asked or sent something while this process ran. One that was
	// not may be as well as any.
	Tried bool
	// Offline: the control plane has withdrawn it, or is connected and knows
	// nothing of it, and it does not answer either. OfflineSince is zero where
	// nobody here was told when that began.
	Offline      bool
	OfflineSince time.Time
	// LastAnswer is when something last came back: a pong or a handshake.
	LastAnswer time.Time
	// Direct or relayed, when Measured; an agent that is not in use is neither.
	Measured      bool
	Direct        bool
	Endpoint      netip.AddrPort // of a direct path
	Relay         *Relay         // of a relayed path
	Latency       time.Duration  // of the last ping; 0: none
	MeasuredAt    time.Time      // when the latency was measured
	LastHandshake time.Time
	RxBytes       uint64
	TxBytes       uint64
}

// Status puts the picture together. Its cost follows the number of agents, and
// it waits for nothing.
func (t *Tunnel) Status() Status { return t.picture(false) }

// Brief is Status without what costs with the number of agents: of them there
// are only those with which something was exchanged, with the counters.
func (t *Tunnel) Brief() Status { return t.picture(true) }

// counted are the agents with which something was exchanged; t.mu is held, and
// t.live is there.
func (t *Tunnel) counted(agents []uuid.UUID) (counted []AgentStatus) {
	for _, id := range agents {
		if peer, known := t.live.engine.Peer(id); known && peer.RxBytes+peer.TxBytes > 0 {
			counted = append(counted, AgentStatus{ID: id, RxBytes: peer.RxBytes, TxBytes: peer.TxBytes})
		}
	}
	return counted
}

func (t *Tunnel) picture(brief bool) Status {
	mode := t.config.OS.DNSMode()
	t.mu.Lock()
	defer t.mu.Unlock()
	state, problems := t.facts.decide(time.Now())
	problems = t.worded(append(problems, t.unforwarded(mode)...))
	status := Status{
		State: state, Problems: problems, URL: t.config.Profile.URL.Redacted(), User: t.saved.User.Username, Suffix: t.saved.Suffix,
		ControlConnected: t.facts.control.connected, WorkspacesAsOf: t.saved.AsOf, Interface: t.config.Interface,
		CanaryOK: t.facts.canary.ok, DNSMode: mode,
	}
	if control := t.facts.control; control.connected {
		status.WorkspacesAsOf = time.Now()
	} else if t.facts.phase == phaseRunning {
		status.Outage = &Outage{Since: control.since, Attempts: control.attempts, NextRetry: control.retry}
	}
	if t.live == nil {
		return status
	}
	status.Address = t.saved.address().Addr()
	if region, _ := t.live.engine.Home(); region != 0 {
		status.HomeRelay = t.relay(region)
		if !t.facts.relay.connected {
			status.HomeRelay.Latency = 0 // what was measured before says nothing now
		}
	}
	state0 := t.state()
	if brief {
		status.Agents = t.counted(state0.AgentIDs())
		return status
	}
	agents := state0.Agents()
	status.Agents = make([]AgentStatus, 0, len(agents))
	for _, agent := range agents {
		status.Agents = append(status.Agents, t.agent(state0, agent))
	}
	return status
}

// worded puts problems into the words of this tunnel: causes in one line, and
// commands that can be typed as they are.
func (t *Tunnel) worded(problems []Problem) []Problem {
	for at := range problems {
		problem := &problems[at]
		problem.Cause = strings.ReplaceAll(problem.Cause, "\n", "; ") // as errors.Join has them
		if problem.Code == CodeSignedOut {
			problem.Remedy += " " + t.config.Profile.URL.Redacted()
		}
	}
	return problems
}

// agent describes one agent; t.mu is held, and t.live is there.
func (t *Tunnel) agent(state *workspace.State, agent workspace.Agent) AgentStatus {
	_, of, _ := state.Agent(agent.ID)
	addrs := proto.AgentAddrs(agent.ID)
	result := AgentStatus{
		ID: agent.ID, Name: agent.Name, Workspace: of,
		Names:     state.AgentNames(agent.ID, t.saved.User.Username, t.saved.Suffix),
		Addresses: []netip.Addr{addrs[1], addrs[0]},
	}
	last := t.live.pings[agent.ID]
	result.Latency, result.MeasuredAt = last.latency, last.answered
	result.Tried = !last.tried.IsZero()
	alive := last.answered
	peer, known := t.live.engine.Peer(agent.ID)
	if known {
		result.LastHandshake, result.RxBytes, result.TxBytes = peer.LastHandshake, peer.RxBytes, peer.TxBytes
		result.Tried = result.Tried || peer.TxBytes > 0 || !peer.LastHandshake.IsZero()
		if peer.LastHandshake.After(alive) {
			alive = peer.LastHandshake
		}
		if peer.Active && !peer.LastHandshake.IsZero() {
			result.Measured, result.Direct, result.Endpoint = true, peer.Direct, peer.Endpoint
			if !peer.Direct {
				result.Relay = t.relay(peer.RelayRegion)
			}
		}
	}
	if !result.Measured && time.Since(last.answered) < recent {
		result.Measured, result.Direct, result.Endpoint = true, last.direct, last.endpoint
		if !last.direct {
			result.Relay = t.relay(last.region)
		}
	}
	result.LastAnswer = alive
	result.Reachable = !alive.IsZero() && time.Since(alive) < recent && !last.refutes(alive)
	t.attend(&result, peer, known)
	if !result.Reachable { // where packets would go is no path
		result.Measured, result.Direct, result.Endpoint, result.Relay = false, false, netip.AddrPort{}, nil
	}
	return result
}

// relay names a region; t.mu is held.
func (t *Tunnel) relay(region int) *Relay {
	if region == 0 {
		return nil
	}
	result := &Relay{RegionID: region}
	if relays := t.saved.Relays.DERPMap; relays != nil {
		if known, found := relays.Regions[region]; found {
			result.Code, result.Name = known.RegionCode, known.RegionName
		}
	}
	if t.live != nil {
		_, latency := t.live.engine.Home()
		result.Latency = latency[region]
	}
	return result
}
