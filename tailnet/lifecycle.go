package tailnet

import (
	"errors"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// lifecycle runs a roster: it hands the changes to apply, one batch at a time
// and in order, and wakes up when a deadline comes.
type lifecycle struct {
	apply func([]change)

	mu     sync.Mutex
	roster *roster
	timer  *time.Timer
	closed bool
	// firing counts the timer function while it runs.
	firing sync.WaitGroup
}

func newLifecycle(table *roster, apply func([]change)) *lifecycle {
	return &lifecycle{roster: table, apply: apply}
}

// update applies a batch. A bad update does not stop the others.
func (l *lifecycle) update(updates []*tailnetv2.CoordinateResponse_PeerUpdate) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errClosed
	}
	var problems []error
	var changes []change
	for _, update := range updates {
		made, err := l.roster.update(time.Now(), update)
		changes = append(changes, made...)
		if err != nil {
			problems = append(problems, err)
		}
	}
	l.settle(changes)
	return errors.Join(problems...)
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
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.roster.allLost(time.Now())
	l.settle(nil)
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
	if deadline, found := l.roster.next(); found {
		l.firing.Add(1)
		l.timer = time.AfterFunc(time.Until(deadline), l.fire)
	}
}

func (l *lifecycle) fire() {
	defer l.firing.Done()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.settle(l.roster.expire(time.Now()))
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
