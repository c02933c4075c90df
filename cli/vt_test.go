package cli

import (
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"
)

// vt is as much of a terminal as the full-screen view needs: two screens, a
// cursor, and the sequences of screen.go. What it does not know it refuses.
type vt struct {
	mu            sync.Mutex
	width, height int
	x, y          int
	alternate     bool
	hidden        bool // the cursor
	cells         [][]rune
	clipboard     string
	frames        int
	unknown       []string
	rest          []byte // of a sequence that has not all come yet
}

func newVT(width, height int) *vt {
	v := &vt{width: width, height: height}
	v.clear()
	return v
}

func (v *vt) clear() {
	v.cells = make([][]rune, v.height)
	for i := range v.cells {
		v.cells[i] = []rune(strings.Repeat(" ", v.width))
	}
}

func (v *vt) resize(width, height int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.width, v.height = width, height
	v.clear()
}

func (v *vt) Write(data []byte) (int, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	n := len(data)
	data = append(v.rest, data...)
	for len(data) > 0 {
		used := v.step(data)
		if used == 0 {
			break
		}
		data = data[used:]
	}
	v.rest = append([]byte{}, data...)
	return n, nil
}

// step takes one character or sequence; 0: it is not complete.
func (v *vt) step(data []byte) int {
	switch data[0] {
	case '\r':
		v.x = 0
	case '\n':
		v.y = min(v.y+1, v.height-1)
	case '\x1b':
		return v.sequence(data)
	default:
		if !utf8.FullRune(data) {
			return 0
		}
		r, size := utf8.DecodeRune(data)
		if v.x < v.width {
			v.cells[v.y][v.x] = r
		} else if v.alternate {
			v.unknown = append(v.unknown, "past the last column")
		}
		v.x++
		return size
	}
	return 1
}

func (v *vt) sequence(data []byte) int {
	if len(data) < 2 {
		return 0
	}
	if data[1] == ']' {
		end := strings.IndexByte(string(data), '\a')
		if end >= 0 {
			v.clipboard = string(data[2:end])
		}
		return end + 1
	}
	end := strings.IndexAny(string(data[2:]), "hlmHJK")
	if end < 0 {
		return 0
	}
	sequence := string(data[2 : end+3])
	switch {
	case sequence == "?1049h", sequence == "?1049l":
		v.alternate = sequence == "?1049h"
		v.clear()
	case sequence == "?25l", sequence == "?25h":
		v.hidden = sequence == "?25l"
	case sequence == "?2026h":
	case sequence == "?2026l":
		v.frames++
	case sequence == "H":
		v.x, v.y = 0, 0
	case sequence == "K", sequence == "J":
		for i := v.x; i < v.width; i++ {
			v.cells[v.y][i] = ' '
		}
		for i := v.y + 1; sequence == "J" && i < v.height; i++ {
			v.cells[i] = []rune(strings.Repeat(" ", v.width))
		}
	case strings.HasSuffix(sequence, "m"):
	default:
		v.unknown = append(v.unknown, fmt.Sprintf("%q", sequence))
	}
	return end + 3
}

// text is what is seen.
func (v *vt) text() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	var lines []string
	for _, line := range v.cells {
		lines = append(lines, strings.TrimRight(string(line), " "))
	}
	return strings.Join(lines, "\n")
}

func (v *vt) state() (alternate, hidden bool, clipboard string, unknown []string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.alternate, v.hidden, v.clipboard, v.unknown
}
