package tunnel

import (
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/control"
	"github.com/causewayhq/causeway/proto/tailnetv2"
	"github.com/causewayhq/causeway/tailnet"
)

const (
	// presenceSettles is how long after a connection begins an agent of which
	// nothing was said counts as on its way: agents redial every 10 s at most, and one
	// that is in use answers meanwhile.
	presenceSettles = 20 * time.Second
	// lostGrace is how long an agent that answered may be missed by the control
	// plane before it counts as gone: one ping of those in use, and its limit.
	lostGrace = pingEvery + pingTimeout
)

// presence is what the control plane has said of who is there.
type presence struct {
	announced map[uuid.UUID]struct{}  // by the present connection
	left      map[uuid.UUID]departure // and not come back
}

// departure is an agent that the control plane has withdrawn.
type departure struct {
	at, handshake time.Time
	used          bool // before
}

func newPresence() presence {
	return presence{announced: map[uuid.UUID]struct{}{}, left: map[uuid.UUID]departure{}}
}

// attendance passes on what the control plane says of peers, and takes down who
// comes and who leaves: the data plane forgets one that has left.
type attendance struct {
	control.Coordinatee
	session *session
}

// UpdatePeers applies one batch of news.
func (a attendance) UpdatePeers(updates []*tailnetv2.CoordinateResponse_PeerUpdate) error {
	now, left := time.Now(), map[uuid.UUID]departure{}
	var came []uuid.UUID
	for _, update := range updates {
		id, err := uuid.FromBytes(update.GetId())
		if err != nil {
			continue // which the data plane complains of
		}
		switch update.GetKind() {
		case tailnetv2.CoordinateResponse_PeerUpdate_NODE:
			came = append(came, id)
			delete(left, id)
		case tailnetv2.CoordinateResponse_PeerUpdate_DISCONNECTED, tailnetv2.CoordinateResponse_PeerUpdate_LOST:
			peer, _ := a.session.engine.Peer(id)
			left[id] = departure{at: now, handshake: peer.LastHandshake, used: !peer.LastHandshake.IsZero() || peer.TxBytes > 0}
		case tailnetv2.CoordinateResponse_PeerUpdate_READY_FOR_HANDSHAKE, tailnetv2.CoordinateResponse_PeerUpdate_KIND_UNSPECIFIED:
		}
	}
	err := a.Coordinatee.UpdatePeers(updates)
	a.note(func(p presence) bool {
		changed := len(left) > 0
		for _, id := range came {
			_, back := p.left[id]
			changed = changed || back
			p.announced[id] = struct{}{}
			delete(p.left, id)
		}
		for id, gone := range left {
			if before, again := p.left[id]; again { // LOST, and then DISCONNECTED
				gone.at = before.at
				gone.used = gone.used || before.used
			}
			delete(p.announced, id)
			p.left[id] = gone
		}
		return changed
	})
	return err
}

// SetAllPeersLost is for the end of the connection: what was announced counts
// for that one.
func (a attendance) SetAllPeersLost() {
	a.Coordinatee.SetAllPeersLost()
	a.note(func(p presence) bool { clear(p.announced); return false })
}

// ClearTunnelDestination forgets an agent that is no longer ours to reach.
func (a attendance) ClearTunnelDestination(id uuid.UUID) {
	a.Coordinatee.ClearTunnelDestination(id)
	a.note(func(p presence) bool {
		delete(p.announced, id)
		delete(p.left, id)
		return false
	})
}

func (a attendance) note(change func(presence) (shows bool)) {
	t := a.session.tunnel
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.live != nil && change(t.live.presence) {
		t.notify()
	}
}

// attend fills in whether the control plane misses an agent. One that it has
// lost sight of is there all the same while it answers. t.mu is held, and t.live
// is there.
func (t *Tunnel) attend(result *AgentStatus, peer tailnet.PeerStatus, known bool) {
	gone, withdrawn := t.live.presence.left[result.ID]
	_, announced := t.live.presence.announced[result.ID]
	missed := gone.at
	switch connected := t.facts.control; {
	case known && !peer.Lost, announced:
		return
	case withdrawn:
		result.Tried = result.Tried || gone.used
		if gone.handshake.After(result.LastHandshake) {
			result.LastHandshake = gone.handshake
		}
	case !connected.connected || time.Since(connected.since) < presenceSettles:
		return // nobody can say
	default:
		missed = connected.since
	}
	if answers := result.Reachable && (result.LastAnswer.After(missed) || time.Since(missed) < lostGrace); known && answers {
		return
	}
	result.Offline, result.OfflineSince, result.Reachable = true, gone.at, false
}
