package dns

import (
	"hash/maphash"
	"sync/atomic"
)

// seed is one for the process, so that tables which share parts agree on where
// things are.
var seed = maphash.MakeSeed()

func hashString(s string) uint64  { return maphash.String(seed, s) }
func hashBytes(b []byte) uint64   { return maphash.Bytes(seed, b) }
func hashAddr(a *[16]byte) uint64 { return maphash.Bytes(seed, a[:]) }

// fan is the width of each of the three levels of an index: 4096 buckets hold
// some seven names each with 10,000 agents, and a change copies three small
// arrays and one bucket, 1 KB, however many names there are.
const fan = 16

// entry is one name in wire form and lower case, and its address.
type entry struct {
	hash uint64 // of the name in the index by name, of the address in the other
	name string
	addr [16]byte
}

// index is a hash table, never changed once it is visible to others.
type index [fan]*branch

// branch and leaf carry the number of the edit that made them, which alone may
// write to them.
type branch struct {
	leaves [fan]*leaf
	edit   uint64
}

type leaf struct {
	buckets [fan][]entry
	edit    uint64
}

func (x *index) bucket(hash uint64) []entry {
	b := x[hash%fan]
	if b == nil {
		return nil
	}
	l := b.leaves[hash/fan%fan]
	if l == nil {
		return nil
	}
	return l.buckets[hash/(fan*fan)%fan]
}

// byName returns the entry of a name, or nil.
func (x *index) byName(name []byte) *entry {
	hash := hashBytes(name)
	bucket := x.bucket(hash)
	for i := range bucket {
		if bucket[i].hash == hash && bucket[i].name == string(name) {
			return &bucket[i]
		}
	}
	return nil
}

// shortest returns the shortest name of an address, and of equally short ones
// the first in order.
func (x *index) shortest(addr *[16]byte) (string, bool) {
	hash := hashAddr(addr)
	best, found := "", false
	for _, e := range x.bucket(hash) {
		if e.hash != hash || e.addr != *addr {
			continue
		}
		if !found || len(e.name) < len(best) || len(e.name) == len(best) && e.name < best {
			best, found = e.name, true
		}
	}
	return best, found
}

// buildIndex puts the entries in place with a handful of allocations: it counts
// first and cuts all buckets from one array. Bucket capacities are cut too, so
// that an append copies.
func buildIndex(entries []entry) *index {
	const slots = fan * fan * fan
	var ends [slots]int32
	for i := range entries {
		ends[entries[i].hash%slots]++
	}
	e := newEdit(new(index))
	slab := make([]entry, len(entries))
	used := int32(0)
	for slot, count := range ends {
		ends[slot] = used
		if count > 0 {
			*e.slot(uint64(slot)) = slab[used : used+count : used+count]
			used += count
		}
	}
	for i := range entries {
		slot := entries[i].hash % slots
		slab[ends[slot]] = entries[i]
		ends[slot]++
	}
	return &e.x
}

// edit is an index in the making: a copy whose branches and leaves are copied
// when they are first touched.
type edit struct {
	x      index
	number uint64
}

// edits numbers them, from 1.
var edits atomic.Uint64

func newEdit(x *index) *edit { return &edit{x: *x, number: edits.Add(1)} }

func (e *edit) slot(hash uint64) *[]entry {
	b := &e.x[hash%fan]
	switch {
	case *b == nil:
		*b = &branch{edit: e.number}
	case (*b).edit != e.number:
		*b = &branch{leaves: (*b).leaves, edit: e.number}
	}
	l := &(*b).leaves[hash/fan%fan]
	switch {
	case *l == nil:
		*l = &leaf{edit: e.number}
	case (*l).edit != e.number:
		*l = &leaf{buckets: (*l).buckets, edit: e.number}
	}
	return &(*l).buckets[hash/(fan*fan)%fan]
}

func (e *edit) add(added entry) {
	slot := e.slot(added.hash)
	bucket := make([]entry, len(*slot), len(*slot)+1)
	copy(bucket, *slot)
	*slot = append(bucket, added)
}

// remove takes out the entry with this hash and name; false if there is none.
func (e *edit) remove(hash uint64, name string) (entry, bool) {
	for i, old := range e.x.bucket(hash) {
		if old.hash != hash || old.name != name {
			continue
		}
		slot := e.slot(hash)
		bucket := make([]entry, 0, len(*slot)-1)
		bucket = append(append(bucket, (*slot)[:i]...), (*slot)[i+1:]...)
		*slot = bucket
		return old, true
	}
	return entry{}, false
}
