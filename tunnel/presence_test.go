package tunnel

import (
	"testing"
	"time"

	"github.com/causewayhq/causeway/proto/tailnetv2"
	"github.com/causewayhq/causeway/tailnet"
)

// says passes on news of the agent as the control plane would tell it.
func (r *rig) says(kind tailnetv2.CoordinateResponse_PeerUpdate_Kind) {
	r.t.Helper()
	id := idOf("main")
	r.Tunnel.mu.Lock()
	loop := r.live.loop
	r.Tunnel.mu.Unlock()
	if err := loop.Coordinatee.UpdatePeers([]*tailnetv2.CoordinateResponse_PeerUpdate{{Id: id[:], Kind: kind, Node: &tailnetv2.Node{}}}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) main() AgentStatus {
	r.t.Helper()
	agents := r.Status().Agents
	if len(agents) != 1 {
		r.t.Fatalf("agents %+v", agents)
	}
	return agents[0]
}

// forget has the data plane not know the agent any more.
func (r *rig) forget() {
	r.engine().do(func() { delete(r.engine().peers, idOf("main")) })
}

// An agent that says goodbye shows as gone at once, with when it was last there.
func TestWithdrawnAgentIsOffline(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := used(t)
		if now := r.main(); now.Offline || !now.Reachable {
			t.Fatalf("before: %+v", now)
		}
		time.Sleep(time.Second)
		changed := r.Changed()
		r.says(tailnetv2.CoordinateResponse_PeerUpdate_DISCONNECTED)
		r.forget()
		select {
		case <-changed:
		default:
			t.Error("nobody is told")
		}
		if now := r.main(); !now.Offline || now.Reachable || !now.Tried || now.LastHandshake.IsZero() || !now.OfflineSince.Equal(time.Now()) || now.Measured {
			t.Errorf("after: %+v", now)
		}
		if state := r.Status().State; state != Connected {
			t.Errorf("a workspace that was stopped makes the tunnel %s", state)
		}
		time.Sleep(time.Minute)
		if now := r.main(); time.Since(now.OfflineSince) != time.Minute {
			t.Errorf("since %v", now.OfflineSince)
		}
		r.says(tailnetv2.CoordinateResponse_PeerUpdate_NODE)
		if now := r.main(); now.Offline {
			t.Errorf("it is back, and not ready yet: %+v", now)
		}
	})
}

// One that the control plane has lost sight of counts as there while it answers.
func TestLostAgentIsOfflineWhenSilent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := used(t)
		lost := func(lost bool) {
			r.engine().do(func() {
				peer := r.engine().peers[idOf("main")]
				peer.Lost, peer.LastHandshake = lost, time.Now()
				r.engine().peers[idOf("main")] = peer
			})
		}
		r.says(tailnetv2.CoordinateResponse_PeerUpdate_LOST)
		lost(true)
		time.Sleep(2 * pingEvery)
		if now := r.main(); now.Offline || !now.Reachable {
			t.Errorf("it answers: %+v", now)
		}
		r.engine().do(func() { r.engine().silent = true })
		// A second more: in the instant itself the last ping may be on its way.
		time.Sleep(pingEvery + 2*pingTimeout + pingAgain + time.Second)
		if now := r.main(); !now.Offline || now.Reachable || now.OfflineSince.IsZero() {
			t.Errorf("it is silent: %+v", now)
		}
		if status := r.Status(); status.State != Degraded || problemOf(status, CodeSilent) == nil {
			t.Errorf("the one agent in use does not answer: %s, %+v", status.State, status.Problems)
		}
	})
}

// Whoever is not announced after an outage has left in it.
func TestUnannouncedAgentIsOffline(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := used(t)
		r.engine().do(func() {
			r.engine().peers[idOf("main")] = tailnet.PeerStatus{Lost: true, LastHandshake: time.Now()}
		})
		r.plane.drop()
		time.Sleep(time.Second)
		r.waitState(Connected)
		if now := r.main(); now.Offline {
			t.Errorf("it may be on its way: %+v", now)
		}
		time.Sleep(presenceSettles + time.Second)
		if now := r.main(); !now.Offline || now.Reachable || !now.OfflineSince.IsZero() {
			t.Errorf("nobody has heard of it: %+v", now)
		}
	})
}
