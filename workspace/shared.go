package workspace

import (
	"hash/maphash"
	"iter"
	"slices"
	"sync/atomic"
)

// seed is one for the process, so that any two tables agree on where things
// are and can be compared part by part.
var seed = maphash.MakeSeed()

// fan is the width of each of the three levels of a table: 4096 buckets hold
// two or three keys each with 10,000 agents, and a change copies three small
// arrays and one bucket, 0.8 KB, however many keys there are.
const fan = 16

// shared is a hash table that is never changed: an edit makes the next one,
// which shares with it all that stayed the same. The zero value is empty.
// A value is never nil.
type shared[K comparable, T any] struct {
	root *root[K, T] // nil: empty
	size int
}

type root[K comparable, T any] [fan]*branch[K, T]

// branch and leaf carry the number of the edit that made them, which alone may
// write to them.
type branch[K comparable, T any] struct {
	leaves [fan]*leaf[K, T]
	edit   uint64
}

type leaf[K comparable, T any] struct {
	buckets [fan][]pair[K, T]
	edit    uint64
}

type pair[K comparable, T any] struct {
	key   K
	value *T
}

// slab hands out values from arrays of up to 64: one allocation for many, and
// a value that stays alive keeps no more than 63 others.
type slab[T any] struct{ array []T }

func (s *slab[T]) keep(value T) *T {
	if len(s.array) == cap(s.array) {
		s.array = make([]T, 0, min(2*cap(s.array)+1, 64))
	}
	s.array = append(s.array, value)
	return &s.array[len(s.array)-1]
}

func (s shared[K, T]) bucket(hash uint64) []pair[K, T] {
	if s.root == nil {
		return nil
	}
	b := s.root[hash%fan]
	if b == nil {
		return nil
	}
	l := b.leaves[hash/fan%fan]
	if l == nil {
		return nil
	}
	return l.buckets[hash/(fan*fan)%fan]
}

// get is the value of a key, nil if it has none.
func (s shared[K, T]) get(key K) *T {
	if s.size == 0 {
		return nil
	}
	return find(s.bucket(maphash.Comparable(seed, key)), key)
}

func find[K comparable, T any](bucket []pair[K, T], key K) *T {
	for i := range bucket {
		if bucket[i].key == key {
			return bucket[i].value
		}
	}
	return nil
}

// all goes through the table in no order.
func (s shared[K, T]) all() iter.Seq2[K, *T] {
	return func(yield func(K, *T) bool) {
		proceed := true
		s.since(shared[K, T]{}, func(key K, _, value *T) {
			proceed = proceed && yield(key, value)
		})
	}
}

// since goes through the keys whose values are not the same pointers in both
// tables; nil stands for none. Parts that are shared are skipped, so that the
// cost between neighbours is that of what changed.
func (s shared[K, T]) since(older shared[K, T], changed func(key K, before, after *T)) {
	if s.root == older.root {
		return
	}
	before, after := or(older.root), or(s.root)
	for i := range fan {
		if before[i] == after[i] {
			continue
		}
		before, after := or(before[i]), or(after[i])
		for i := range fan {
			if before.leaves[i] == after.leaves[i] {
				continue
			}
			before, after := or(before.leaves[i]), or(after.leaves[i])
			for i := range fan {
				compare(before.buckets[i], after.buckets[i], changed)
			}
		}
	}
}

// or stands an empty one in for nil.
func or[T any](part *T) *T {
	if part == nil {
		return new(T)
	}
	return part
}

func compare[K comparable, T any](before, after []pair[K, T], changed func(key K, before, after *T)) {
	if len(before) == len(after) && (len(before) == 0 || &before[0] == &after[0]) {
		return
	}
	for _, p := range after {
		if was := find(before, p.key); was != p.value {
			changed(p.key, was, p.value)
		}
	}
	for _, p := range before {
		if find(after, p.key) == nil {
			changed(p.key, p.value, nil)
		}
	}
}

// edit is a table in the making. Branches and leaves are copied when they are
// first touched, buckets when they are and have no room: a bucket that is longer
// than it says belongs to this edit. The table that comes out is its shared
// part, after which the edit must not be used again.
type edit[K comparable, T any] struct {
	shared[K, T]
	number uint64
	room   int // for how many keys a new leaf gives room to each bucket
}

// edits numbers them, from 1.
var edits atomic.Uint64

// edit starts from the table, which stays as it is. It is quickest when as many
// keys are put as expected.
func (s shared[K, T]) edit(expected int) *edit[K, T] {
	const buckets = fan * fan * fan
	e := &edit[K, T]{shared: s, number: edits.Add(1), room: 3 * expected / (2 * buckets)}
	own := *or(s.root)
	e.root = &own
	return e
}

// put sets the value of a key; nil takes the key out.
func (e *edit[K, T]) put(key K, value *T) {
	hash := maphash.Comparable(seed, key)
	old := e.bucket(hash)
	was := find(old, key)
	if was == value {
		return
	}
	slot := e.slot(hash)
	if was == nil {
		*slot = append(*slot, pair[K, T]{key, value})
		e.size++
		return
	}
	next := make([]pair[K, T], 0, len(old))
	for _, p := range old {
		if p.key != key {
			next = append(next, p)
		}
	}
	e.size--
	if value != nil {
		next = append(next, pair[K, T]{key, value})
		e.size++
	}
	*slot = next
}

func (e *edit[K, T]) slot(hash uint64) *[]pair[K, T] {
	b := &e.root[hash%fan]
	if *b == nil || (*b).edit != e.number {
		*b = &branch[K, T]{leaves: or(*b).leaves, edit: e.number}
	}
	l := &(*b).leaves[hash/fan%fan]
	switch {
	case *l == nil:
		*l = e.leaf()
	case (*l).edit != e.number:
		*l = &leaf[K, T]{buckets: (*l).buckets, edit: e.number}
		for i := range (*l).buckets {
			(*l).buckets[i] = slices.Clip((*l).buckets[i])
		}
	}
	return &(*l).buckets[hash/(fan*fan)%fan]
}

// leaf is a new one, with room for what is expected cut from one array.
func (e *edit[K, T]) leaf() *leaf[K, T] {
	l := &leaf[K, T]{edit: e.number}
	if e.room > 0 {
		array := make([]pair[K, T], fan*e.room)
		for i := range l.buckets {
			l.buckets[i] = array[i*e.room : i*e.room : (i+1)*e.room]
		}
	}
	return l
}
