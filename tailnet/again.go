package tailnet

import (
	"context"
	"time"

	"github.com/google/uuid"
)

const (
	// repeatAfter is above WireGuard's 50 ms in which a peer ignores a second
	// initiation: one that we sent too early may have been taken after all, and
	// its answer may have met a handshake that we had given up.
	repeatAfter = 60 * time.Millisecond
	// maxRepeats bounds what waits. Beyond it WireGuard's own repetition, after
	// 5 s, has to do.
	maxRepeats = 256
)

// repeat is a handshake to look at again.
type repeat struct {
	id uuid.UUID
	at time.Time
}

// acknowledged is for a peer that says it knows us now. An initiation that went
// out before may have met nobody, and WireGuard would repeat it after 5 s only:
// it is made anew, now and once more if that led to nothing. What waits for the
// session is lost, as it would be on a wire that comes up.
func (e *Engine) acknowledged(rawID []byte) {
	id, err := uuid.FromBytes(rawID)
	if err != nil {
		return // reported by who applied the update
	}
	if e.handshakeAgain(id) {
		select {
		case e.repeats <- repeat{id, time.Now().Add(repeatAfter)}:
		default:
		}
	}
}

// handshakeAgain gives up a handshake that is under way and starts another, and
// says whether it did.
func (e *Engine) handshakeAgain(id uuid.UUID) bool {
	peer := e.directory.peer(id)
	if peer == nil || peer.session.live.Load() {
		return false
	}
	if _, tried := e.upstream.PeerByKey(peer.node.Key); !tried {
		return false
	}
	now, last := time.Now().UnixNano(), peer.session.repeated.Load()
	if now-last < int64(repeatAfter) || !peer.session.repeated.CompareAndSwap(last, now) {
		return false
	}
	e.stopPeers(func() { e.upstream.ResetDevicePeer(peer.node.Key) })
	e.nudge(peer)
	return true
}

func (e *Engine) repeatHandshakes(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case next := <-e.repeats:
			timer := time.NewTimer(time.Until(next.at))
			select {
			case <-ctx.Done():
				timer.Stop()
				return
			case <-timer.C:
			}
			e.handshakeAgain(next.id)
		}
	}
}
