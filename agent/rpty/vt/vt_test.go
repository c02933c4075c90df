package vt

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// after is a terminal that has got the bytes.
func after(columns, rows int, data string) *Terminal {
	t := New(columns, rows)
	t.Feed([]byte(data))
	return t
}

// comparable is the state without the parser's, and with links by name.
func comparable(t *Terminal) *Terminal {
	c := *t
	c.state, c.sequence, c.held, c.streaming, c.segments = 0, sequence{}, nil, false, nil
	c.query, c.answer, c.last, c.remembered = false, "", "", 0
	names := []string{""}
	rename := func(number *uint16) {
		for i, name := range names {
			if name == t.links[*number] {
				*number = uint16(i)
				return
			}
		}
		names = append(names, t.links[*number])
		*number = uint16(len(names) - 1)
	}
	copied := func(lines [][]cell) [][]cell {
		result := make([][]cell, len(lines))
		for y := range lines {
			result[y] = append([]cell{}, lines[y]...)
			for x := range result[y] {
				rename(&result[y][x].link)
			}
		}
		return result
	}
	c.history, c.main.lines, c.other.lines = copied(t.history), copied(t.main.lines), copied(t.other.lines)
	rename(&c.cursor.pen.link)
	rename(&c.main.saved.pen.link)
	rename(&c.other.saved.pen.link)
	c.links = names
	if len(c.titles) == 0 {
		c.titles = nil
	}
	return &c
}

// difference names what differs, or is empty.
func difference(a, b *Terminal) string {
	x, y := reflect.ValueOf(*comparable(a)), reflect.ValueOf(*comparable(b))
	for i := range x.NumField() {
		one, two := fmt.Sprintf("%+v", x.Field(i)), fmt.Sprintf("%+v", y.Field(i))
		if one != two {
			return fmt.Sprintf("%s:\n%s\n%s", x.Type().Field(i).Name, one, two)
		}
	}
	return ""
}

// checkSnapshot is the promise: a fresh terminal, and one that was used, have
// the state after the snapshot.
func checkSnapshot(t *testing.T, a *Terminal) {
	t.Helper()
	columns, rows := a.Size()
	snapshot := a.Snapshot(MaxHistory)
	b := after(columns, rows, string(snapshot))
	if got := difference(a, b); got != "" {
		t.Fatalf("a fresh terminal differs in %s", got)
	}
	if again := b.Snapshot(MaxHistory); !bytes.Equal(snapshot, again) {
		t.Fatal("the snapshot of the snapshot differs")
	}
	used := after(columns, rows, "\x1b[?1049h\x1b[?6h\x1b[2;3r\x1b[4h\x1b[?1003;1006;2004;1h\x1b(0\x1b[41mx\x1b=\x1b[?25l\x1b[>4;2m\x1b[>1u\x1b[6 q\x1b]8;;u\x1b\\\x1b]4;1;red\x1b\\\x1b]11;red\x1b\\\x1b[20h\x1b]0;hal")
	used.Feed(snapshot)
	// What is not reset: a snapshot adds to the history, and to the titles.
	plain := *a
	plain.history, plain.historySize, plain.titles, plain.title, plain.directory = nil, 0, nil, "", ""
	used.history, used.historySize, used.titles, used.title, used.directory = nil, 0, nil, "", ""
	if got := difference(&plain, used); got != "" {
		t.Fatalf("a used terminal differs in %s", got)
	}
}

var pieces = []string{
	"a", "b", "hello", " ", "\n", "\r", "\r\n", "\t", "\b", "é", "漢", "字", "e\u0301", "\u0301", "👩‍💻", "\u200d", "\xff", "\xc3", "\x9b", "\x7f",
	"\x0e", "\x0f", "\x1b(0", "\x1b)0", "\x1b(B", "\x1bn", "\x1bo", "\x1b*0", "qqq", "\x1b7", "\x1b8", "\x1bD", "\x1bM", "\x1bE", "\x1bH", "\x1b#8", "\x1bc",
	"\x1b=", "\x1b>", "\x1b[", "\x1b]", "\x1bP", "\x1b_", "\x1b\\", "\x07", "\x18", "\x1a", "\x1b",
	"\x1b]0;title\x07", "\x1b]2;one\x1b\\", "\x1b[22t", "\x1b[23;0t", "\x1b]8;id=1;http://a\x1b\\", "\x1b]8;;b:c\x07", "\x1b]8;;\x07",
	"\x1b]4;3;#ff0000\x07", "\x1b]11;rgb:1/2/3\x07", "\x1b]104\x07", "\x1b]111\x07", "\x1b]7;file:///x\x07",
	"\x1b[!p", "\x1b[3g", "\x1b[g", "\x1b[?5W", "\x1b[3J", "\x1b[>4;2m", "\x1b[>4n", "\x1b[>m", "\x1b[>1u", "\x1b[<u", "\x1b[=5;2u", "\x1b[5 q", "\x1b[2 q",
	"\x1b[38;2;1;2;3m", "\x1b[48:2::4:5:6m", "\x1b[38;5;200m", "\x1b[58;5;3m", "\x1b[4:3m", "\x1b[1;3;7;9m", "\x1b[0m", "\x1b[m", "\x1b[41m", "\x1b[53;21m", "\x1b[97;105m",
}

// random makes a stream of a program that does anything.
func random(r *rand.Rand, length int) string {
	var b strings.Builder
	for range length {
		switch r.IntN(4) {
		case 0:
			b.WriteString(pieces[r.IntN(len(pieces))])
		case 1:
			finals := "@ABCDEFGHIJKLMPSTXZ`abdefgrsu"
			fmt.Fprintf(&b, "\x1b[%d;%d%c", r.IntN(12), r.IntN(24), finals[r.IntN(len(finals))])
		case 2:
			modes := []int{1, 5, 6, 7, 9, 12, 25, 45, 47, 67, 1000, 1002, 1003, 1004, 1005, 1006, 1007, 1015, 1047, 1048, 1049, 2004, 2026}
			fmt.Fprintf(&b, "\x1b[?%d%c", modes[r.IntN(len(modes))], "hl"[r.IntN(2)])
			if r.IntN(4) == 0 {
				fmt.Fprintf(&b, "\x1b[%d%c", []int{4, 20}[r.IntN(2)], "hl"[r.IntN(2)])
			}
		default:
			for range r.IntN(20) {
				b.WriteRune([]rune("abc def漢é─ x")[r.IntN(12)])
			}
		}
	}
	return b.String()
}

// The state after a snapshot is the state, for whatever came before.
func TestSnapshotIsTheState(t *testing.T) {
	for seed := range uint64(600) {
		r := rand.New(rand.NewPCG(seed, 1))
		a := New(1+r.IntN(24), 1+r.IntN(10))
		for range 1 + r.IntN(4) {
			a.Feed([]byte(random(r, r.IntN(40))))
			if r.IntN(3) == 0 {
				a.Resize(1+r.IntN(24), 1+r.IntN(10))
			}
		}
		if !t.Run(fmt.Sprint(seed), func(t *testing.T) { checkSnapshot(t, a) }) {
			return
		}
	}
}

// What comes in pieces has the effect of the whole, and terminals get the same
// either way: the segments of one, fed to another, give the same state.
func TestPiecesAndSegments(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 2))
		stream := []byte(random(r, 40))
		whole, pieces, viewer := New(20, 6), New(20, 6), New(20, 6)
		for _, segment := range whole.Feed(stream) {
			viewer.Feed(segment.Data)
		}
		for i := range stream {
			pieces.Feed(stream[i : i+1])
		}
		if got := difference(whole, pieces); got != "" {
			t.Fatalf("%d: pieces differ in %s", seed, got)
		}
		if got := difference(whole, viewer); got != "" {
			t.Fatalf("%d: viewer differs in %s\n%q", seed, got, stream)
		}
	}
}

// A viewer that comes at any byte sees what one sees that was there before.
func TestJoinAnywhere(t *testing.T) {
	for seed := range uint64(80) {
		r := rand.New(rand.NewPCG(seed, 3))
		stream := []byte(random(r, 12))
		for at := 0; at <= len(stream); at += 1 + r.IntN(5) {
			session := New(20, 6)
			session.Feed(stream[:at])
			viewer := after(20, 6, string(session.Snapshot(MaxHistory)))
			skip := session.Streaming()
			for _, segment := range session.Feed(stream[at:]) {
				skip = skip && segment.Rest
				if !skip {
					viewer.Feed(segment.Data)
				}
			}
			if got := difference(session, viewer); got != "" {
				t.Fatalf("%d at %d: %s\n%q", seed, at, got, stream)
			}
		}
	}
}

func FuzzState(f *testing.F) {
	for seed := range uint64(20) {
		f.Add([]byte(random(rand.New(rand.NewPCG(seed, 4)), 30)), uint8(20), uint8(6))
	}
	f.Fuzz(func(t *testing.T, data []byte, columns, rows uint8) {
		a := New(int(columns%40)+1, int(rows%20)+1)
		a.Feed(data[:len(data)/2])
		a.Resize(int(rows%40)+1, int(columns%20)+1)
		a.Feed(data[len(data)/2:])
		checkSnapshot(t, a)
	})
}
