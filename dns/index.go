package dns

import "hash/maphash"

// seed is one for the process, so that tables which share parts agree on where
// things are.
var seed = maphash.MakeSeed()

func hashString(s string) uint64  { return maphash.String(seed, s) }
func hashBytes(b []byte) uint64   { return maphash.Bytes(seed, b) }
func hashAddr(a *[16]byte) uint64 { return maphash.Bytes(seed, a[:]) }

// fan is the width of both levels of an index: 4096 buckets hold some seven
// names each with 10,000 agents, and a change copies two small arrays and one
// bucket, however many names there are.
const fan = 64

// entry is one name in wire form and lower case, and its address.
type entry struct {
	hash uint64 // of the name in the index by name, of the address in the other
	name string
	addr [16]byte
}

// index is a two-level hash table, never changed once it is visible to others.
type index [fan]*branch

type branch [fan][]entry

func (x *index) bucket(hash uint64) []entry {
	b := x[hash%fan]
	if b == nil {
		return nil
	}
	return b[hash/fan%fan]
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
	var ends [fan * fan]int32
	for i := range entries {
		ends[entries[i].hash%(fan*fan)]++
	}
	x := new(index)
	slab := make([]entry, len(entries))
	used := int32(0)
	for slot, count := range ends {
		ends[slot] = used
		if count == 0 {
			continue
		}
		if x[slot%fan] == nil {
			x[slot%fan] = new(branch)
		}
		x[slot%fan][slot/fan] = slab[used : used+count : used+count]
		used += count
	}
	for i := range entries {
		slot := entries[i].hash % (fan * fan)
		slab[ends[slot]] = entries[i]
		ends[slot]++
	}
	return x
}

// edit is an index in the making: a copy whose branches are copied when they
// are first touched.
type edit struct {
	x     index
	owned uint64 // bit per branch
}

func newEdit(x *index) *edit { return &edit{x: *x} }

func (e *edit) slot(hash uint64) *[]entry {
	at := hash % fan
	switch {
	case e.owned&(1<<at) != 0:
	case e.x[at] == nil:
		e.x[at] = new(branch)
	default:
		own := *e.x[at]
		e.x[at] = &own
	}
	e.owned |= 1 << at
	return &e.x[at][hash/fan%fan]
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
