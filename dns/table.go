package dns

import (
	"bytes"
	"iter"
	"net/netip"
	"strings"
)

// Table is an immutable set of names with their addresses, the suffixes it is
// authoritative for, and the prefixes whose reverse names it answers.
type Table struct {
	zones    zones
	prefixes []netip.Prefix
	names    *index
	addrs    *index
	size     int
}

// Change is one step from a table to the next: the name gets this address, or
// goes away if the address is the zero Addr.
type Change struct {
	// Name in lower case, without a trailing dot.
	Name string
	// Addr must be an IPv6 address, or zero.
	Addr netip.Addr
}

// NewTable builds a table from nothing, in time proportional to the number of
// hosts, which is about size; for the next one use [Table.With]. Suffixes and
// names are in lower case without a trailing dot, each name once. What cannot be answered is left out: a name that
// is outside the suffixes or too long for DNS, and an address that is not IPv6.
// [Table.Len] tells how many names stayed.
func NewTable(suffixes []string, size int, hosts iter.Seq2[string, netip.Addr], ptrPrefixes []netip.Prefix) *Table {
	t := &Table{zones: newZones(suffixes)}
	for _, prefix := range ptrPrefixes {
		if prefix.IsValid() && prefix.Addr().Is6() {
			t.prefixes = append(t.prefixes, prefix.Masked())
		}
	}
	var wires joint
	entries := make([]entry, 0, size)
	var scratch [maxName + 1]byte
	odd := false // some name was not as it should be given
	for name, addr := range hosts {
		wire, ok := t.accept(scratch[:0], name, addr)
		if !ok {
			continue
		}
		odd = odd || len(wire) != len(name)+2 || strings.ToLower(name) != name
		stored := wires.keep(wire)
		entries = append(entries, entry{hash: hashString(stored), name: stored, addr: addr.As16()})
	}
	if odd {
		entries = dropDoubles(entries)
	}
	t.names = buildIndex(entries)
	t.size = len(entries)
	for i := range entries {
		entries[i].hash = hashAddr(&entries[i].addr)
	}
	t.addrs = buildIndex(entries)
	return t
}

// joint makes strings that share what is allocated: one allocation for many,
// and a string that stays alive keeps no more than jointSize.
type joint struct{ strings.Builder }

const jointSize = 8 << 10

func (j *joint) keep(text []byte) string {
	if j.Cap()-j.Len() < len(text) {
		j.Reset() // what was handed out stays
		j.Grow(jointSize)
	}
	start := j.Len()
	j.Write(text)
	return j.String()[start:]
}

// dropDoubles settles names that were given twice in different spellings: the
// lower address stays, so that the result does not depend on map order.
func dropDoubles(entries []entry) []entry {
	at := make(map[string]int, len(entries))
	kept := entries[:0]
	for _, e := range entries {
		i, seen := at[e.name]
		switch {
		case !seen:
			at[e.name] = len(kept)
			kept = append(kept, e)
		case bytes.Compare(e.addr[:], kept[i].addr[:]) < 0:
			kept[i] = e
		}
	}
	return kept
}

// accept appends the wire form of a name that this table can answer.
func (t *Table) accept(dst []byte, name string, addr netip.Addr) ([]byte, bool) {
	if !addr.Is6() || addr.Is4In6() || addr.Zone() != "" {
		return dst, false
	}
	wire, ok := appendWire(dst, name)
	if !ok {
		return dst, false
	}
	var starts labelStarts
	for at := 0; at < len(wire); at += int(wire[at]) + 1 {
		starts.mark(at)
	}
	_, ok = t.zones.find(wire, &starts)
	return wire, ok
}

// With returns the table after the changes, which are applied in order; the
// receiver stays as it is. The cost depends on the number of changes, not on
// that of the names. A name that a table cannot hold (see [NewTable]) is left
// out.
func (t *Table) With(changes []Change) *Table {
	names, addrs := newEdit(t.names), newEdit(t.addrs)
	next := &Table{zones: t.zones, prefixes: t.prefixes, size: t.size}
	var scratch [maxName + 1]byte
	for _, change := range changes {
		wire, ok := appendWire(scratch[:0], change.Name)
		if !ok {
			continue
		}
		name := string(wire)
		hash := hashString(name)
		if old, ok := names.remove(hash, name); ok {
			addrs.remove(hashAddr(&old.addr), name)
			next.size--
		}
		if _, ok := t.accept(scratch[:0], change.Name, change.Addr); !ok {
			continue
		}
		added := entry{hash: hash, name: name, addr: change.Addr.As16()}
		names.add(added)
		added.hash = hashAddr(&added.addr)
		addrs.add(added)
		next.size++
	}
	next.names, next.addrs = &names.x, &addrs.x
	return next
}

// Len is the number of names.
func (t *Table) Len() int { return t.size }

// Lookup returns the address of a name in any case, with or without a trailing
// dot.
func (t *Table) Lookup(name string) (netip.Addr, bool) {
	var scratch [maxName + 1]byte
	wire, ok := appendWire(scratch[:0], name)
	if !ok {
		return netip.Addr{}, false
	}
	e := t.names.byName(wire)
	if e == nil {
		return netip.Addr{}, false
	}
	return netip.AddrFrom16(e.addr), true
}

// Changes lists what turns the old hosts into the new ones, for [Table.With].
func Changes(old, new map[string]netip.Addr) []Change {
	var changes []Change
	for name, addr := range new {
		if old[name] != addr {
			changes = append(changes, Change{Name: name, Addr: addr})
		}
	}
	for name := range old {
		if _, ok := new[name]; !ok {
			changes = append(changes, Change{Name: name})
		}
	}
	return changes
}
