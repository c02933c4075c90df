package tunnel

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/workspace"
)

// Inventory is everything that exists, for a front that tells others of each
// change.
type Inventory struct {
	// Revision changes with what exists and with its names, and with nothing else.
	Revision uint64
	// Snapshots counts the full states that the control plane has sent. A
	// difference that comes before its connection counts as up is taken for one.
	Snapshots uint64
	// Known says that there is something to tell: from the control plane, or
	// from an earlier process.
	Known      bool
	Workspaces []workspace.Workspace // by name
	Agents     []AgentStatus         // by workspace and name
}

// Revision is that of the present inventory, and costs nothing.
func (t *Tunnel) Revision() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.revision
}

// Inventory puts the list together; its cost follows the number of agents. A
// tunnel that does not run has none.
func (t *Tunnel) Inventory() Inventory {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := Inventory{Revision: t.revision, Snapshots: t.snapshots}
	if t.live == nil || t.saved.Workspaces == nil {
		return list
	}
	state := t.state()
	list.Known, list.Workspaces = true, state.Workspaces()
	agents := state.Agents()
	list.Agents = make([]AgentStatus, 0, len(agents))
	for _, agent := range agents {
		list.Agents = append(list.Agents, t.agent(state, agent))
	}
	return list
}

// HomeRelay is the own home region; nil before one was chosen.
func (t *Tunnel) HomeRelay() *Relay {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.live == nil {
		return nil
	}
	region, _ := t.live.engine.Home()
	return t.relay(region)
}

// PingAgent measures the way to one agent. Unlike Ping it does not wait for one
// whose place the control plane has not announced: that is ErrOffline at once.
func (t *Tunnel) PingAgent(ctx context.Context, id uuid.UUID) (PingReply, error) {
	t.mu.Lock()
	running := t.live
	if running == nil {
		t.mu.Unlock()
		return PingReply{}, fmt.Errorf("ping agent %s: %w", id, ErrNotRunning)
	}
	if _, _, exists := t.state().Agent(id); !exists {
		t.mu.Unlock()
		return PingReply{}, fmt.Errorf("ping agent %s: %w", id, ErrUnknownName)
	}
	found := target{agent: id, addr: proto.AddrFromUUID(proto.ServicePrefix, id)}
	if running.book.state != nil {
		found = running.book.target(id)
	}
	t.mu.Unlock()
	if _, known := running.engine.Peer(id); !known {
		return PingReply{}, fmt.Errorf("ping agent %s: %w", id, ErrOffline)
	}
	return t.pingTarget(ctx, running, found)
}

// Wake tells the tunnel that the host came back from sleep, where that is known
// better from outside.
func (t *Tunnel) Wake() error {
	t.mu.Lock()
	var wake func()
	if t.live != nil {
		wake = t.live.wake
	}
	t.mu.Unlock()
	if wake == nil {
		return fmt.Errorf("wake: %w", ErrNotRunning)
	}
	wake()
	return nil
}

// Lasting says that only the user, or somebody at the deployment, can mend what
// keeps the tunnel from its control plane, and gives the cause; nil if nothing does,
// or if it may pass by itself.
func (s Status) Lasting() error {
	for _, problem := range s.Problems {
		switch problem.Code {
		case CodeSignedOut, CodeCertificate, CodeVersion, CodeRejected, CodeNotPlane, CodeStopped:
			return errors.New(problem.Cause)
		}
	}
	return nil
}

// pingTarget is the ping itself, with what is kept of it.
func (t *Tunnel) pingTarget(ctx context.Context, running *live, found target) (PingReply, error) {
	began := time.Now()
	result, err := running.engine.Ping(ctx, found.addr)
	t.pinged(running, found.agent, began, result, err)
	if err != nil {
		return PingReply{}, err
	}
	running.teller.pinged(found.agent, result, t.surroundings)
	reply := PingReply{Name: found.name, Addr: found.addr, Latency: result.Latency, Direct: result.Direct, Endpoint: result.Endpoint}
	if !result.Direct {
		t.mu.Lock()
		reply.Relay = t.relay(result.RelayRegion)
		t.mu.Unlock()
	}
	return reply, nil
}
