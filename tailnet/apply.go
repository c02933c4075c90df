package tailnet

import (
	"context"
	"log/slog"

	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
)

// application carries out one batch of changes.
type application struct {
	engine *Engine
	// stays says which keys are there at the end, and as which node: the same
	// machine under another peer id keeps its session and its path.
	stays map[key.NodePublic]tailcfg.NodeID
	// touched are the keys to tell WireGuard about, restarted those of them
	// whose session is dead.
	touched   []key.NodePublic
	restarted map[key.NodePublic]bool
	sessions  map[key.NodePublic]*session
}

// apply carries out changes; the lifecycle calls it in order, never twice at
// the same time, and holding its lock: nothing here may wait for packets.
func (e *Engine) apply(changes []change) {
	a := application{
		engine: e, stays: map[key.NodePublic]tailcfg.NodeID{},
		restarted: map[key.NodePublic]bool{}, sessions: map[key.NodePublic]*session{},
	}
	last := map[key.NodePublic]int{}
	for i, made := range changes {
		if made.record != nil {
			last[made.record.key], a.stays[made.record.key] = i, made.record.node
		}
	}
	for i, made := range changes {
		former := e.directory.peer(made.id)
		if made.record == nil {
			if former != nil {
				// What comes later in the batch stays, what came before does not.
				if later, comes := last[former.node.Key]; comes && later < i {
					delete(a.stays, former.node.Key)
				}
				a.takeOut(former)
			}
			continue
		}
		if former == nil || former.record != made.record || made.anew {
			a.program(made, former)
		}
	}
	e.stopPeers(a.sync)
	for _, made := range changes {
		if made.shake {
			e.shake(made.id)
		}
	}
}

// sync tells WireGuard.
func (a *application) sync() {
	for _, public := range a.touched {
		if a.restarted[public] {
			a.engine.upstream.ResetDevicePeer(public)
			delete(a.restarted, public)
		}
		a.engine.upstream.SyncDevicePeer(public)
	}
}

func (a *application) takeOut(former *member) {
	public := former.node.Key
	a.sessions[public] = a.engine.directory.drop(former.id)
	a.touched = append(a.touched, public)
	if node, stays := a.stays[public]; !stays || node != former.node.ID {
		a.engine.magic.RemovePeer(former.node.ID)
	}
}

func (a *application) program(made change, former *member) {
	e := a.engine
	node := made.record.upstream(made.id, !e.relaysOnly.Load())
	node.Created = made.created
	switch {
	case former == nil:
	case made.anew:
		delete(a.stays, node.Key)
		a.takeOut(former)
		a.restarted[node.Key] = true
	case former.node.ID != node.ID || former.node.Key != node.Key:
		a.takeOut(former)
	case former.node.DiscoKey != node.DiscoKey:
		// A new disco key means a new process: its old session is dead.
		a.restarted[node.Key] = true
	}
	e.directory.put(made.id, made.record, node, a.sessions[node.Key])
	e.magic.UpsertPeer(node.View())
	a.touched = append(a.touched, node.Key)
	e.logger.LogAttrs(context.Background(), slog.LevelDebug, "peer programmed",
		slog.String("peer", made.id.String()), slog.Int("endpoints", len(node.Endpoints)))
}
