package vt

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// What a hostile program can make a terminal keep: both screens at their largest
// and full of the longest characters, links, titles, colours and history.
func TestMemoryIsBounded(t *testing.T) {
	used := func() uint64 {
		runtime.GC()
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	before := used()
	a := New(1<<20, 1<<20)
	if columns, rows := a.Size(); columns != maxColumns || columns*rows > maxArea {
		t.Fatalf("%d x %d", columns, rows)
	}
	long := []byte(strings.Repeat("\u6f22"+strings.Repeat("\u0301", 20), 100))
	fill := func() {
		for i := range 2000 {
			a.Feed(fmt.Appendf(nil, "\x1b]8;;http://a/%d%s\x1b\\\x1b]4;%d;%s\a\x1b[22t\x1b]0;%d%s\a\x1b[>5u", i, strings.Repeat("x", 1900), i%300, strings.Repeat("c", 200), i, strings.Repeat("t", 1000)))
			a.Feed(long)
		}
	}
	fill()
	a.Feed([]byte("\x1b[?1049h"))
	fill()
	a.Feed([]byte("\x1b]52;c;" + strings.Repeat("y", 1<<20)))
	kept := used() - before
	t.Logf("%.1f MiB kept", float64(kept)/(1<<20))
	if kept > 16<<20 {
		t.Errorf("%d bytes are kept", kept)
	}
	if len(a.history) > maxHistory || a.historySize > maxHistoryCells || len(a.links) > maxLinks+1 || len(a.held) > maxHeld || len(a.titles) > maxTitles {
		t.Errorf("history %d of %d, links %d, held %d, titles %d", len(a.history), a.historySize, len(a.links), len(a.held), len(a.titles))
	}
	runtime.KeepAlive(a)
}

// How fast output passes through the state, and how fast a snapshot is made.
func BenchmarkFeed(b *testing.B) {
	a := New(200, 50)
	data := []byte(strings.Repeat("\x1b[32mdrwxr-xr-x\x1b[0m 2 user user 4096 some file name\r\n", 100))
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		a.Feed(data)
	}
}

func BenchmarkSnapshot(b *testing.B) {
	a := New(200, 50)
	a.Feed([]byte(strings.Repeat("\x1b[32mdrwxr-xr-x\x1b[0m 2 user user 4096 some file name\r\n", 1100)))
	for b.Loop() {
		b.SetBytes(int64(len(a.Snapshot(MaxHistory))))
	}
}
