package coordinator

import (
	"container/list"
	"iter"
	"time"

	"github.com/google/uuid"
)

// served remembers who may still serve a peer that was lost: over a direct path
// partners do so for as long as it is used, whatever becomes of the control
// connection. A pair is forgotten when either lets go of the tunnel, when the
// peer leaves for good, and permitLife after the loss; not when the peer comes
// back, as it may be taken away before it has opened its tunnels again.
type served struct {
	byID  map[uuid.UUID]*list.Element // of *partners
	order list.List                   // by the time of the last loss
	pairs int
}

// partners are those that a peer had when it was lost, each with the time of that.
type partners struct {
	id     uuid.UUID
	lostAt time.Time
	since  map[uuid.UUID]time.Time
}

// add notes the partners that a peer had when it was lost, beside those of earlier losses.
func (v *served) add(id uuid.UUID, had iter.Seq[uuid.UUID], now time.Time) {
	element := v.byID[id]
	if element == nil {
		element = v.order.PushBack(&partners{id: id, since: map[uuid.UUID]time.Time{}})
		v.byID[id] = element
	}
	v.order.MoveToBack(element)
	of := element.Value.(*partners)
	of.lostAt = now
	v.pairs -= len(of.since)
	for partner, at := range of.since {
		if now.Sub(at) > permitLife {
			delete(of.since, partner)
		}
	}
	for partner := range had {
		of.since[partner] = now
	}
	v.pairs += len(of.since)
	if len(of.since) == 0 {
		v.drop(id)
	}
	v.trim(now)
}

// trim forgets the oldest: those whose time is over, and those of too many.
func (v *served) trim(now time.Time) {
	for v.order.Len() > 0 {
		first := v.order.Front().Value.(*partners)
		if now.Sub(first.lostAt) <= permitLife && v.order.Len() <= lostLimit && v.pairs <= pairLimit {
			return
		}
		v.drop(first.id)
	}
}

func (v *served) drop(id uuid.UUID) {
	element := v.byID[id]
	if element == nil {
		return
	}
	v.pairs -= len(element.Value.(*partners).since)
	v.order.Remove(element)
	delete(v.byID, id)
}

// forget takes one pair out, whichever of the two was lost.
func (v *served) forget(a, b uuid.UUID) {
	for _, pair := range [][2]uuid.UUID{{a, b}, {b, a}} {
		element := v.byID[pair[0]]
		if element == nil {
			continue
		}
		since := element.Value.(*partners).since
		if _, found := since[pair[1]]; found {
			delete(since, pair[1])
			v.pairs--
		}
		if len(since) == 0 {
			v.drop(pair[0])
		}
	}
}

// has says whether the partner may still serve the peer.
func (v *served) has(id, partner uuid.UUID, now time.Time) bool {
	element := v.byID[id]
	if element == nil {
		return false
	}
	at, found := element.Value.(*partners).since[partner]
	return found && now.Sub(at) <= permitLife
}

// of is all who may still serve the peer.
func (v *served) of(id uuid.UUID, now time.Time) iter.Seq[uuid.UUID] {
	return func(yield func(uuid.UUID) bool) {
		element := v.byID[id]
		if element == nil {
			return
		}
		for partner, at := range element.Value.(*partners).since {
			if now.Sub(at) <= permitLife && !yield(partner) {
				return
			}
		}
	}
}
