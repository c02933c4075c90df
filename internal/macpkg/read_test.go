package main

import (
	"encoding/binary"
	"fmt"
	"path"
)

// The reader of bills of materials below shares nothing with the writer: it
// goes by the file's layout, checks every reference, and gives up at the first
// thing that is not as it should be.

type bomLine struct {
	path           string
	mode           uint16
	owner, group   uint32
	mtime          uint32
	size, checksum uint32
	kind           uint8
}

type bomReader struct {
	data   []byte
	blocks [][]byte
	roots  map[string]uint32
}

func openBom(data []byte) (*bomReader, error) {
	if len(data) < 512 || string(data[:8]) != "BOMStore" || binary.BigEndian.Uint32(data[8:]) != 1 {
		return nil, fmt.Errorf("no BOMStore of version 1")
	}
	field := func(at int) uint32 { return binary.BigEndian.Uint32(data[at:]) }
	count, tableAt, tableLen, namesAt, namesLen := field(12), field(16), field(20), field(24), field(28)
	if int(tableAt+tableLen) > len(data) || int(namesAt+namesLen) > len(data) {
		return nil, fmt.Errorf("tables outside of the file")
	}
	r := &bomReader{data: data, roots: map[string]uint32{}}
	table := data[tableAt : tableAt+tableLen]
	rows := binary.BigEndian.Uint32(table)
	if rows != count+1 || int(tableLen) != 4+int(rows)*8+20 {
		return nil, fmt.Errorf("table of %d rows in %d bytes for %d blocks", rows, tableLen, count)
	}
	end := uint32(512)
	for row := range rows {
		at, length := binary.BigEndian.Uint32(table[4+row*8:]), binary.BigEndian.Uint32(table[8+row*8:])
		if row == 0 && (at != 0 || length != 0) || row > 0 && at != end {
			return nil, fmt.Errorf("block %d is at %d, not at %d", row, at, end)
		}
		if row > 0 {
			end = at + length
		}
		r.blocks = append(r.blocks, data[at:at+length])
	}
	if end != tableAt {
		return nil, fmt.Errorf("blocks end at %d, the table begins at %d", end, tableAt)
	}
	names := data[namesAt : namesAt+namesLen]
	left := binary.BigEndian.Uint32(names)
	for names = names[4:]; left > 0; left-- {
		length := int(names[4])
		r.roots[string(names[5:5+length])] = binary.BigEndian.Uint32(names)
		names = names[5+length:]
	}
	if len(names) != 0 {
		return nil, fmt.Errorf("%d bytes after the names", len(names))
	}
	return r, nil
}

func (r *bomReader) block(number uint32) []byte { return r.blocks[number] }

// tree returns the number of rows that a tree claims and its first node.
func (r *bomReader) tree(block uint32, nodeSize uint32) (rows, child uint32, err error) {
	tree := r.block(block)
	if len(tree) != 21 || string(tree[:4]) != "tree" || binary.BigEndian.Uint32(tree[4:]) != 1 {
		return 0, 0, fmt.Errorf("block %d is no tree", block)
	}
	child = binary.BigEndian.Uint32(tree[8:])
	if got := binary.BigEndian.Uint32(tree[12:]); got != nodeSize || len(r.block(child)) != int(nodeSize) {
		return 0, 0, fmt.Errorf("tree %d has nodes of %d bytes", block, got)
	}
	return binary.BigEndian.Uint32(tree[16:]), child, nil
}

// list walks the paths from the first leaf on, and checks the root above.
func (r *bomReader) list() ([]bomLine, error) {
	rows, node, err := r.tree(r.roots["Paths"], 4096)
	if err != nil {
		return nil, err
	}
	var keys []uint32 // of the leaves, as the root has them
	var above [][2]uint32
	if binary.BigEndian.Uint16(r.block(node)) == 0 {
		above = bomRows(r.block(node))
		node = above[0][0]
	}
	var lines []bomLine
	paths := map[uint32]string{0: ""}
	var before uint32
	var last [2]any
	for leaf := node; leaf != 0; {
		data := r.block(leaf)
		if binary.BigEndian.Uint16(data) != 1 || binary.BigEndian.Uint32(data[8:]) != before {
			return nil, fmt.Errorf("leaf %d is not chained to %d", leaf, before)
		}
		for _, row := range bomRows(data) {
			line, id, key, err := r.line(row, paths)
			if err != nil {
				return nil, err
			}
			if last[0] != nil && (last[0].(uint32) > key.parent || last[0].(uint32) == key.parent && last[1].(string) >= key.name) {
				return nil, fmt.Errorf("%q is out of order", line.path)
			}
			last = [2]any{key.parent, key.name}
			paths[id] = line.path
			lines = append(lines, line)
		}
		all := bomRows(data)
		keys = append(keys, all[len(all)-1][1])
		before, leaf = leaf, binary.BigEndian.Uint32(data[4:])
	}
	for at, row := range above {
		if row[1] != keys[at] {
			return nil, fmt.Errorf("root's key %d is not its leaf's last", at)
		}
	}
	if above != nil && len(above) != len(keys) || int(rows) != len(lines) {
		return nil, fmt.Errorf("%d lines and %d leaves, the tree says %d and its root %d", len(lines), len(keys), rows, len(above))
	}
	return lines, nil
}

func bomRows(node []byte) [][2]uint32 {
	var rows [][2]uint32
	for at := range int(binary.BigEndian.Uint16(node[2:])) {
		rows = append(rows, [2]uint32{binary.BigEndian.Uint32(node[12+at*8:]), binary.BigEndian.Uint32(node[16+at*8:])})
	}
	return rows
}

type bomKey struct {
	parent uint32
	name   string
}

func (r *bomReader) line(row [2]uint32, paths map[uint32]string) (bomLine, uint32, bomKey, error) {
	info, key := r.block(row[0]), r.block(row[1])
	id, record := binary.BigEndian.Uint32(info), r.block(binary.BigEndian.Uint32(info[4:]))
	parent, name := binary.BigEndian.Uint32(key), string(key[4:len(key)-1])
	above, known := paths[parent]
	if !known || key[len(key)-1] != 0 {
		return bomLine{}, 0, bomKey{}, fmt.Errorf("%q comes before its parent %d", name, parent)
	}
	line := bomLine{
		path: path.Join(above, name), kind: record[0], mode: binary.BigEndian.Uint16(record[4:]),
		owner: binary.BigEndian.Uint32(record[6:]), group: binary.BigEndian.Uint32(record[10:]), mtime: binary.BigEndian.Uint32(record[14:]),
		size: binary.BigEndian.Uint32(record[18:]), checksum: binary.BigEndian.Uint32(record[23:]),
	}
	want := 31
	if line.kind == 1 {
		want = 35
	}
	if len(record) != want || record[1] != 1 || record[22] != 1 {
		return bomLine{}, 0, bomKey{}, fmt.Errorf("record of %q: % x", line.path, record)
	}
	return line, id, bomKey{parent, name}, nil
}
