package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// idt is a table as msiinfo exports it and msibuild imports it: three lines of
// names, types, and the table's own name with its keys, then the rows; fields are
// separated by tabs.
type idt struct {
	header [3]string
	keys   int
	rows   []string
}

var errNoTable = errors.New("not a table: three lines of heading are missing")

func parse(text string) (idt, error) {
	lines := strings.Split(strings.TrimRight(strings.ReplaceAll(text, "\r\n", "\n"), "\n"), "\n")
	if len(lines) < 3 {
		return idt{}, errNoTable
	}
	t := idt{header: [3]string(lines[:3]), rows: lines[3:]}
	columns, about := strings.Split(lines[0], "\t"), strings.Split(lines[2], "\t")
	for _, key := range about[1:] {
		if !slices.Contains(columns, key) {
			return idt{}, fmt.Errorf("table %s has no column %q", about[0], key)
		}
	}
	t.keys = len(about) - 1
	for i, row := range t.rows {
		if got := strings.Count(row, "\t") + 1; got != len(columns) {
			return idt{}, fmt.Errorf("table %s: row %d has %d fields, not %d", about[0], i+1, got, len(columns))
		}
	}
	return t, nil
}

// key is what no two rows have alike: the first columns.
func (t idt) key(row string) string {
	return strings.Join(strings.SplitN(row, "\t", t.keys+1)[:t.keys], "\t")
}

// overlay puts rows into a table, which may be empty if it does not exist.
func overlay(table, rows string) (string, error) {
	added, err := parse(rows)
	if err != nil {
		return "", err
	}
	merged := added
	if strings.TrimSpace(table) != "" {
		if merged, err = parse(table); err != nil {
			return "", err
		}
		if merged.header[0] != added.header[0] || merged.header[2] != added.header[2] {
			return "", fmt.Errorf("the table is %q of %q, the rows are for %q of %q", merged.header[2], merged.header[0], added.header[2], added.header[0])
		}
		for _, row := range added.rows {
			same := func(other string) bool { return merged.key(other) == merged.key(row) }
			merged.rows = append(slices.DeleteFunc(merged.rows, same), row)
		}
	}
	slices.Sort(merged.rows)
	return strings.Join(append(merged.header[:], merged.rows...), "\r\n") + "\r\n", nil
}
