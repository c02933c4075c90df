package main

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"time"
)

// A bill of materials is a store of numbered blocks with named roots. All
// numbers are big-endian. Layout of the file: a header of 512 bytes, the blocks,
// the table of blocks, the table of names.
const (
	bomHeader   = 512
	bomLeaf     = 4096 // size of a tree's node, in bytes
	bomLeafRows = 256  // paths in one leaf; 12 + 8*256 bytes fit
	bomSmall    = 128  // node size of the empty tree below VIndex
)

// The kinds of a path record.
const (
	bomFile = 1
	bomDir  = 2
)

// bomStore collects blocks; block 0 is none.
type bomStore struct {
	blocks [][]byte
	names  []bomName
}

type bomName struct {
	name  string
	block uint32
}

func (s *bomStore) add(data []byte) uint32 {
	s.blocks = append(s.blocks, data)
	return uint32(len(s.blocks))
}

func (s *bomStore) name(name string, block uint32) {
	s.names = append(s.names, bomName{name, block})
}

// packed writes values one after the other without padding.
func packed(values ...any) []byte {
	var out bytes.Buffer
	for _, value := range values {
		// Fixed-size values into a buffer: it cannot fail.
		_ = binary.Write(&out, binary.BigEndian, value)
	}
	return out.Bytes()
}

// tree is the record of a tree whose first node is child.
func bomTree(child, nodeSize, rows uint32) []byte {
	return packed([]byte("tree"), uint32(1), child, nodeSize, rows, uint8(0))
}

// bomNode is a leaf or an inner node, filled up to its size. Rows are pairs of
// blocks: what, and its key.
func bomNode(leaf bool, forward, backward uint32, rows [][2]uint32, size int) []byte {
	kind := uint16(0)
	if leaf {
		kind = 1
	}
	node := packed(kind, uint16(len(rows)), forward, backward)
	for _, row := range rows {
		node = append(node, packed(row[0], row[1])...)
	}
	return append(node, make([]byte, size-len(node))...)
}

// billOfMaterials lists the entries as Installer checks them.
func billOfMaterials(entries []entry, at time.Time) ([]byte, error) {
	ordered, parents, err := breadthFirst(entries)
	if err != nil {
		return nil, err
	}
	store := &bomStore{}
	// version, paths (and one more), and no record for each processor
	store.name("BomInfo", store.add(packed(uint32(1), uint32(len(ordered)+1), uint32(0))))
	rows := make([][2]uint32, 0, len(ordered))
	for number, e := range ordered {
		record := store.add(bomRecord(e, at))
		id := store.add(packed(uint32(number+1), record))
		key := store.add(append(packed(parents[number], []byte(e.name())), 0))
		rows = append(rows, [2]uint32{id, key})
	}
	store.name("Paths", store.add(bomTree(store.paths(rows), bomLeaf, uint32(len(rows)))))
	empty := func(size uint32) uint32 {
		return store.add(bomTree(store.add(bomNode(true, 0, 0, nil, int(size))), size, 0))
	}
	store.name("HLIndex", empty(bomLeaf))
	store.name("VIndex", store.add(packed(uint32(1), empty(bomSmall), uint32(0), uint8(0))))
	store.name("Size64", empty(bomLeaf))
	return store.bytes(), nil
}

// paths makes the leaves, chained both ways, and a root above them if there is
// more than one; it returns the first node's block.
func (s *bomStore) paths(rows [][2]uint32) uint32 {
	leaves := slices.Collect(slices.Chunk(rows, bomLeafRows))
	if len(leaves) <= 1 {
		return s.add(bomNode(true, 0, 0, rows, bomLeaf))
	}
	first := uint32(len(s.blocks) + 1)
	var above [][2]uint32
	for at, leaf := range leaves {
		var forward, backward uint32
		if at > 0 {
			backward = first + uint32(at) - 1
		}
		if at < len(leaves)-1 {
			forward = first + uint32(at) + 1
		}
		block := s.add(bomNode(true, forward, backward, leaf, bomLeaf))
		above = append(above, [2]uint32{block, leaf[len(leaf)-1][1]})
	}
	return s.add(bomNode(false, 0, 0, above, bomLeaf))
}

// bomRecord is what is checked of one path: 31 bytes, and 4 more of a file.
func bomRecord(e entry, at time.Time) []byte {
	const one, anyProcessor, owner, group, linkName = uint8(1), uint16(3), uint32(0), uint32(0), uint32(0)
	kind, sum := uint8(bomFile), cksum(e.Data)
	if e.dir() {
		kind, sum = bomDir, 0
	}
	record := packed(kind, one, anyProcessor, uint16(e.Mode), owner, group, uint32(at.Unix()), uint32(len(e.Data)), one, sum, linkName)
	if !e.dir() {
		record = append(record, 0, 0, 0, 0)
	}
	return record
}

// breadthFirst orders entries as the tree is keyed: by the number of the parent
// and then by name, where the number is the place in this very order. It also
// returns each entry's parent, 0 for the root.
func breadthFirst(entries []entry) ([]entry, []uint32, error) {
	below := map[string][]entry{}
	for _, e := range entries {
		if e.Path != "." {
			below[e.parent()] = append(below[e.parent()], e)
		}
	}
	if len(entries) == 0 || entries[0].Path != "." {
		return nil, nil, fmt.Errorf("list files: the first is not %q", ".")
	}
	ordered, parents := []entry{entries[0]}, []uint32{0}
	for at := 0; at < len(ordered); at++ {
		children := below[ordered[at].Path]
		slices.SortFunc(children, func(a, b entry) int { return cmp.Compare(a.name(), b.name()) })
		for _, child := range children {
			ordered, parents = append(ordered, child), append(parents, uint32(at+1))
		}
	}
	if len(ordered) != len(entries) {
		return nil, nil, fmt.Errorf("list files: %d of %d have no directory above them", len(entries)-len(ordered), len(entries))
	}
	return ordered, parents, nil
}

// bytes lays the store out.
func (s *bomStore) bytes() []byte {
	var blocks, table, names bytes.Buffer
	table.Write(packed(uint32(len(s.blocks)+1), uint32(0), uint32(0)))
	for _, block := range s.blocks {
		table.Write(packed(uint32(bomHeader+blocks.Len()), uint32(len(block))))
		blocks.Write(block)
	}
	// Nothing is free: a count of none, and room for two records.
	table.Write(make([]byte, 20))
	names.Write(packed(uint32(len(s.names))))
	for _, name := range s.names {
		names.Write(packed(name.block, uint8(len(name.name)), []byte(name.name)))
	}
	tableAt := uint32(bomHeader + blocks.Len())
	namesAt := tableAt + uint32(table.Len())
	out := packed([]byte("BOMStore"), uint32(1), uint32(len(s.blocks)), tableAt, uint32(table.Len()), namesAt, uint32(names.Len()))
	out = append(out, make([]byte, bomHeader-len(out))...)
	return slices.Concat(out, blocks.Bytes(), table.Bytes(), names.Bytes())
}
