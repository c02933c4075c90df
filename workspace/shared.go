package workspace

import (
	"hash/maphash"
	"iter"
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
// first touched, buckets at each change. The table that comes out is its shared
// part, after which the edit must not be used again.
type edit[K comparable, T any] struct {
	shared[K, T]
	number uint64
}

// edits numbers them, from 1.
var edits atomic.Uint64

// edit starts from the table, which stays as it is.
func (s shared[K, T]) edit() *edit[K, T] {
	e := &edit[K, T]{shared: s, number: edits.Add(1)}
	own := *or(s.root)
	e.root = &own
	return e
}

// put sets the value of a key; nil takes the key out.
func (e *edit[K, T]) put(key K, value *T) {
	hash := maphash.Comparable(seed, key)
	old := e.bucket(hash)
	if find(old, key) == value {
		return
	}
	next := make([]pair[K, T], 0, len(old)+1)
	for _, p := range old {
		if p.key != key {
			next = append(next, p)
		}
	}
	e.size += len(next) - len(old)
	if value != nil {
		next = append(next, pair[K, T]{key, value})
		e.size++
	}
	*e.slot(hash) = next
}

func (e *edit[K, T]) slot(hash uint64) *[]pair[K, T] {
	b := &e.root[hash%fan]
	if *b == nil || (*b).edit != e.number {
		*b = &branch[K, T]{leaves: or(*b).leaves, edit: e.number}
	}
	l := &(*b).leaves[hash/fan%fan]
	if *l == nil || (*l).edit != e.number {
		*l = &leaf[K, T]{buckets: or(*l).buckets, edit: e.number}
	}
	return &(*l).buckets[hash/(fan*fan)%fan]
}
