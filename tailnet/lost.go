package tailnet

import (
	"container/heap"
	"time"
)

// lose starts, or starts again, the life that a lost peer has left.
func (r *roster) lose(now time.Time, peer *entry) {
	peer.lost = true
	r.waiting.set(peer, now.Add(max(r.remaining(now, peer), time.Nanosecond)))
}

// remaining is how long a lost peer stays, which is not positive for one that
// goes. lose makes a nanosecond of it, so that a removal is never part of the
// update that led to it.
func (r *roster) remaining(now time.Time, peer *entry) time.Duration {
	if peer.record == nil {
		return 0
	}
	last := r.handshake(peer.record.key)
	if last.IsZero() {
		return 0
	}
	return lostAfter - now.Sub(last)
}

// allLost is for the loss of the control connection: nobody can tell us any
// more who leaves. Timers of peers lost before go on.
func (r *roster) allLost(now time.Time) {
	for _, peer := range r.peers {
		if !peer.lost {
			r.lose(now, peer)
		}
	}
}

// expire acts on deadlines that have come, at most limit of them.
func (r *roster) expire(now time.Time, limit int) []change {
	var changes []change
	for range limit {
		if len(r.waiting) == 0 || r.waiting[0].deadline.After(now) {
			break
		}
		peer := r.waiting[0]
		if !peer.lost {
			peer.ready = true
			r.waiting.set(peer, time.Time{})
			changes = append(changes, r.program(peer)...)
			continue
		}
		if left := r.remaining(now, peer); left > 0 {
			r.waiting.set(peer, now.Add(left))
			continue
		}
		changes = append(changes, r.remove(peer)...)
	}
	return changes
}

// deadlines are the peers that wait for something, the first one first.
type deadlines []*entry

// set gives a peer a deadline, or takes it away (zero).
func (d *deadlines) set(peer *entry, deadline time.Time) {
	peer.deadline = deadline
	switch {
	case deadline.IsZero() && peer.slot > 0:
		heap.Remove(d, peer.slot-1)
	case deadline.IsZero():
	case peer.slot > 0:
		heap.Fix(d, peer.slot-1)
	default:
		heap.Push(d, peer)
	}
}

// next is the earliest deadline.
func (d *deadlines) next() (time.Time, bool) {
	if len(*d) == 0 {
		return time.Time{}, false
	}
	return (*d)[0].deadline, true
}

// The methods of heap.Interface.

func (d *deadlines) Len() int           { return len(*d) }
func (d *deadlines) Less(i, j int) bool { return (*d)[i].deadline.Before((*d)[j].deadline) }
func (d *deadlines) Swap(i, j int) {
	list := *d
	list[i], list[j] = list[j], list[i]
	list[i].slot, list[j].slot = i+1, j+1
}

func (d *deadlines) Push(x any) {
	peer, _ := x.(*entry)
	*d = append(*d, peer)
	peer.slot = len(*d)
}

func (d *deadlines) Pop() any {
	list := *d
	peer := list[len(list)-1]
	list[len(list)-1] = nil
	*d, peer.slot = list[:len(list)-1], 0
	return peer
}
