package tailnet

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"tailscale.com/types/key"

	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// stride bounds what is done under the lock at once: a packet to a peer that is
// not programmed waits for it, and with it those behind it.
const stride = 256

// lifecycle runs a roster: it hands the changes to apply, one batch at a time
// and in order, and wakes up when a deadline comes.
//
// apply runs under mu. It must not wait for packets to get on, since the
// reader of the device takes mu on its way, see need.
type lifecycle struct {
	apply func([]change)
	// refresh asks for the last handshakes of all peers.
	refresh func()

	mu     sync.Mutex
	roster *roster
	timer  *time.Timer
	closed bool
	// firing counts the timer function while it runs.
	firing sync.WaitGroup
}

func newLifecycle(table *roster, refresh func(), apply func([]change)) *lifecycle {
	return &lifecycle{roster: table, refresh: refresh, apply: apply}
}

// update applies a batch. A bad update does not stop the others; errClosed is
// returned alone.
func (l *lifecycle) update(updates []*tailnetv2.CoordinateResponse_PeerUpdate) []error {
	l.refresh()
	var problems []error
	for some := range slices.Chunk(updates, stride) {
		var changes []change
		open := l.locked(func(now time.Time) []change {
			for _, update := range some {
				made, err := l.roster.update(now, update)
				changes = append(changes, made...)
				if err != nil {
					problems = append(problems, err)
				}
			}
			return changes
		})
		if !open {
			return []error{errClosed}
		}
	}
	return problems
}

// locked has the roster decide something and carries it out, unless all is closed.
func (l *lifecycle) locked(decide func(now time.Time) []change) (open bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.settle(decide(time.Now()))
	return true
}

func (l *lifecycle) setDestination(id uuid.UUID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.roster.setDestination(id)
}

func (l *lifecycle) clearDestination(id uuid.UUID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.roster.clearDestination(id)
}

func (l *lifecycle) allLost() {
	l.refresh()
	l.locked(func(now time.Time) []change { l.roster.allLost(now); return nil })
}

// want programs a peer that somebody waits for, see roster.
func (l *lifecycle) want(id uuid.UUID) {
	l.locked(func(time.Time) []change { return l.roster.want(id) })
}

// need programs the peer that a packet is for. It is called on the data path,
// for packets that no programmed peer takes.
func (l *lifecycle) need(addr netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if changes := l.roster.need(addr); len(changes) > 0 && !l.closed {
		l.apply(changes)
	}
}

// knock programs a peer that we know and that sends to us.
func (l *lifecycle) knock(public key.NodePublic) {
	l.locked(func(time.Time) []change { return l.roster.knock(public) })
}

// settle hands over changes and sets the timer. The caller holds mu.
func (l *lifecycle) settle(changes []change) {
	if len(changes) > 0 {
		l.apply(changes)
	}
	if l.timer != nil && l.timer.Stop() {
		l.firing.Done()
	}
	l.timer = nil
	if deadline, found := l.roster.waiting.next(); found {
		l.firing.Add(1)
		l.timer = time.AfterFunc(time.Until(deadline), l.fire)
	}
}

func (l *lifecycle) fire() {
	defer l.firing.Done()
	l.refresh()
	l.locked(func(now time.Time) []change { return l.roster.expire(now, stride) })
}

// look gives read access to one peer.
func (l *lifecycle) look(id uuid.UUID) (peer entry, found bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if known := l.roster.peers[id]; known != nil {
		return *known, true
	}
	return entry{}, false
}

// wires are the last nodes of peers.
func (l *lifecycle) wires(ids []uuid.UUID) map[uuid.UUID][]byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	found := make(map[uuid.UUID][]byte, len(ids))
	for _, id := range ids {
		if peer := l.roster.peers[id]; peer != nil && peer.record != nil {
			found[id] = peer.record.wire
		}
	}
	return found
}

// again programs every programmed peer once more.
func (l *lifecycle) again() {
	l.locked(func(time.Time) []change {
		var changes []change
		for _, peer := range l.roster.peers {
			if peer.given != nil {
				changes = append(changes, change{id: peer.id, record: peer.given, created: peer.created, shake: true, anew: true})
			}
		}
		return changes
	})
}

// close stops the timer and waits for it.
func (l *lifecycle) close() {
	l.mu.Lock()
	l.closed = true
	if l.timer != nil && l.timer.Stop() {
		l.firing.Done()
	}
	l.timer = nil
	l.mu.Unlock()
	l.firing.Wait()
}
