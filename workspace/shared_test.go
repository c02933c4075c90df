package workspace

import (
	"fmt"
	"testing"
)

// TestTablesOfOneParent: what two edits of one table put into the same buckets,
// in which the parent was given room, stays apart.
func TestTablesOfOneParent(t *testing.T) {
	const size = fan * fan * fan
	values := make([]int, 3*size)
	first := shared[int, int]{}.edit(size)
	for i := range size {
		first.put(i, &values[i])
	}
	parent := first.shared
	var children [2]shared[int, int]
	for child := range children {
		next := parent.edit(size)
		for i := range size {
			next.put((child+1)*size+i, &values[(child+1)*size+i])
		}
		next.put(child, nil)
		children[child] = next.shared
	}
	check := func(name string, table shared[int, int], want map[int]bool) {
		t.Helper()
		if table.size != len(want) {
			t.Errorf("%s: %d keys, want %d", name, table.size, len(want))
		}
		for i := range values {
			if got := table.get(i); want[i] != (got == &values[i]) || !want[i] && got != nil {
				t.Fatalf("%s: key %d is there: %t, want %t", name, i, got != nil, want[i])
			}
		}
	}
	want := map[int]bool{}
	for i := range size {
		want[i] = true
	}
	check("parent", parent, want)
	for child, table := range children {
		want := map[int]bool{}
		for i := range size {
			want[i], want[(child+1)*size+i] = true, true
		}
		delete(want, child)
		check(fmt.Sprint("child ", child), table, want)
	}
}
