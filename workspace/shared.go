package workspace

import (
	"hash/maphash"
	"iter"
)

// seed is one for the process, so that any two tables agree on where things
// are and can be compared part by part.
var seed = maphash.MakeSeed()

// fan is the width of both levels of a table: 1024 buckets hold ten keys each
// with 10,000 agents, and a change copies some 1.3 KB however many there are.
const fan = 32

// shared is a hash table that is never changed: an edit makes the next one,
// which shares with it all that stayed the same. The zero value is empty.
// A value is never nil.
type shared[K comparable, T any] struct {
	root *[fan]*branch[K, T] // nil: empty
	size int
}

type branch[K comparable, T any] [fan][]pair[K, T]

type pair[K comparable, T any] struct {
	key   K
	value *T
}

func (s shared[K, T]) bucket(hash uint64) []pair[K, T] {
	if s.root == nil || s.root[hash%fan] == nil {
		return nil
	}
	return s.root[hash%fan][hash/fan%fan]
}

// get is the value of a key, nil if it has none.
func (s shared[K, T]) get(key K) *T {
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
		if s.root == nil {
			return
		}
		for _, b := range s.root {
			if b == nil {
				continue
			}
			for _, bucket := range b {
				for i := range bucket {
					if !yield(bucket[i].key, bucket[i].value) {
						return
					}
				}
			}
		}
	}
}

// since goes through the keys whose values are not the same pointers in both
// tables; nil stands for none. Parts that are shared are skipped, so that the
// cost between neighbours is that of what changed.
func (s shared[K, T]) since(older shared[K, T], changed func(key K, before, after *T)) {
	if s.root == older.root {
		return
	}
	var none [fan]*branch[K, T]
	before, after := older.root, s.root
	if before == nil {
		before = &none
	}
	if after == nil {
		after = &none
	}
	for i := range fan {
		if before[i] != after[i] {
			after[i].since(before[i], changed)
		}
	}
}

func (b *branch[K, T]) since(older *branch[K, T], changed func(key K, before, after *T)) {
	var none branch[K, T]
	if older == nil {
		older = &none
	}
	if b == nil {
		b = &none
	}
	for i := range fan {
		before, after := older[i], b[i]
		if len(before) == len(after) && (len(before) == 0 || &before[0] == &after[0]) {
			continue
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
}

// edit is a table in the making. Branches are copied when they are first
// touched, buckets at each change. The table that comes out is its shared part,
// after which the edit must not be used again.
type edit[K comparable, T any] struct {
	shared[K, T]
	owned   uint32 // bit per branch that is ours to write to
	started bool   // the root is ours too
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
	if !e.started {
		own := new([fan]*branch[K, T])
		if e.root != nil {
			*own = *e.root
		}
		e.root, e.started = own, true
	}
	at := hash % fan
	if e.owned&(1<<at) == 0 {
		own := new(branch[K, T])
		if e.root[at] != nil {
			*own = *e.root[at]
		}
		e.root[at] = own
		e.owned |= 1 << at
	}
	return &e.root[at][hash/fan%fan]
}
