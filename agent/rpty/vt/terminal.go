package vt

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
)

// cursor is what DECSC saves.
type cursor struct {
	x, y     int
	pen      style
	charsets [4]byte // the final byte of what was designated: B is ASCII
	shift    int     // which of them is in use
	origin   bool    // positions count from the scroll region
}

func newCursor() cursor { return cursor{charsets: [4]byte{'B', 'B', 'B', 'B'}} }

// screen is one of the two. The other screen keeps nothing while the main one
// is shown, for entering it clears it.
type screen struct {
	lines     [][]cell
	saved     cursor
	keyboards []int // of the Kitty protocol; the last is in use
}

// Terminal is the state. It is not safe for use by several goroutines.
type Terminal struct {
	columns, rows int

	main, other screen
	alternate   bool
	cursor      cursor
	// wrapping: a character was printed in the last column, and the next one goes
	// to the next line.
	wrapping    bool
	top, bottom int // of the scroll region; bottom is its last line
	tabs        []bool
	links       []string // id;address, by number; the first is none
	history     [][]cell // lines that left the main screen, oldest first
	historySize int      // in cells
	remembered  uint64   // lines since the start
	last        string   // the character that REP repeats

	insert, newline bool
	shape           int // of the cursor
	keypad          bool
	modes           map[int]bool // DEC private modes that are not as at the start
	mouse, encoding int          // the mode in use, or 0
	keys            [8]int       // XTMODKEYS
	title           string
	titles          []string
	directory       string // as OSC 7 reports it
	colours         map[int]string

	// of the parser
	state state
	sequence
	held      []byte
	streaming bool // a part of what is read was passed on
	query     bool // what is read asks something
	answer    string
	segments  []Segment
}

// New makes a terminal in the state after a reset.
func New(columns, rows int) *Terminal {
	t := &Terminal{}
	t.columns, t.rows = Clamp(columns, rows)
	t.reset()
	return t
}

// reset is RIS.
func (t *Terminal) reset() {
	fresh := Terminal{
		columns: t.columns, rows: t.rows, bottom: t.rows - 1, cursor: newCursor(),
		remembered: t.remembered, links: []string{""}, modes: map[int]bool{}, colours: map[int]string{},
		state: t.state, sequence: t.sequence, held: t.held, streaming: t.streaming, segments: t.segments,
	}
	fresh.main = screen{lines: fresh.blank(), saved: newCursor(), keyboards: []int{0}}
	fresh.other = screen{saved: newCursor(), keyboards: []int{0}}
	fresh.resetTabs(0)
	*t = fresh
}

func (t *Terminal) blank() [][]cell {
	lines := make([][]cell, t.rows)
	for y := range lines {
		lines[y] = make([]cell, t.columns)
	}
	return lines
}

// resetTabs puts a stop at each eighth column from the given one on.
func (t *Terminal) resetTabs(from int) {
	t.tabs = append(t.tabs[:min(from, len(t.tabs))], make([]bool, max(0, t.columns-from))...)
	for x := from; x < t.columns; x++ {
		t.tabs[x] = x%8 == 0 && x > 0
	}
}

func (t *Terminal) screen() *screen {
	if t.alternate {
		return &t.other
	}
	return &t.main
}

func (t *Terminal) line(y int) []cell { return t.screen().lines[y] }

// Size is the one in use.
func (t *Terminal) Size() (columns, rows int) { return t.columns, t.rows }

// Title is what the program has called its window.
func (t *Terminal) Title() string { return t.title }

// Remembered counts the lines that have left the main screen so far. MaxHistory
// of them are kept at most.
func (t *Terminal) Remembered() uint64 { return t.remembered }

// MaxHistory is enough for Snapshot to give all of the history.
const MaxHistory = maxHistory

// Streaming says that a part of a string was passed on, and the rest is to come.
func (t *Terminal) Streaming() bool { return t.streaming }

// print puts a character where the cursor is.
func (t *Terminal) print(r rune) {
	width := 1
	if r >= 0x80 {
		width = ansi.StringWidthWc(string(r))
	} else {
		r = t.translate(r)
	}
	if width == 0 {
		t.mark(r)
		return
	}
	content := string(r)
	t.last = content
	t.put(content, width)
}

// put puts text that is width cells wide where the cursor is.
func (t *Terminal) put(content string, width int) {
	if width > t.columns {
		content, width = string(utf8.RuneError), 1
	}
	wrap := !t.reset7()
	if (t.wrapping || t.cursor.x+width > t.columns) && wrap {
		t.cursor.x = 0
		t.index()
	}
	t.wrapping = false
	t.cursor.x = min(t.cursor.x, t.columns-width)
	line, x := t.line(t.cursor.y), t.cursor.x
	if t.insert {
		t.insertCells(width)
	}
	t.split(line, x)
	t.split(line, x+width)
	pen := t.cursor.pen
	if content == " " {
		content = ""
	}
	line[x] = cell{content, pen}
	if width == 2 {
		line[x].attributes |= wide
		line[x+1] = cell{"", pen}
		line[x+1].attributes |= tail
	}
	t.cursor.x += width
	if t.cursor.x >= t.columns {
		t.cursor.x = t.columns - 1
		t.wrapping = wrap
	}
}

// mark adds a mark of no width to the character before the cursor.
func (t *Terminal) mark(r rune) {
	x := t.cursor.x
	if !t.wrapping {
		x--
	}
	line := t.line(t.cursor.y)
	if x >= 0 && line[x].attributes&tail != 0 {
		x--
	}
	if x < 0 || line[x].text == "" || len(line[x].text)+utf8.RuneLen(r) > maxText {
		return
	}
	line[x].text += string(r)
}

// split makes blanks of both halves of a wide character that x cuts.
func (t *Terminal) split(line []cell, x int) {
	if x > 0 && x < len(line) && line[x].attributes&tail != 0 {
		line[x-1] = line[x-1].erased()
		line[x] = line[x].erased()
	}
}

// graphics is DEC's special graphics, from _ to ~.
var graphics = []rune(" ◆▒␉␌␍␊°±␤␋┘┐┌└┼⎺⎻─⎼⎽├┤┴┬│≤≥π≠£·")

func (t *Terminal) translate(r rune) rune {
	switch t.cursor.charsets[t.cursor.shift] {
	case '0':
		if r >= '_' && r <= '~' {
			return graphics[r-'_']
		}
	case 'A':
		if r == '#' {
			return '£'
		}
	}
	return r
}

// index moves the cursor down, and the scroll region up at its end.
func (t *Terminal) index() {
	switch {
	case t.cursor.y == t.bottom:
		t.scrollUp(t.top, 1)
	case t.cursor.y < t.rows-1:
		t.cursor.y++
	}
}

func (t *Terminal) reverseIndex() {
	switch {
	case t.cursor.y == t.top:
		t.scrollDown(t.top, 1)
	case t.cursor.y > 0:
		t.cursor.y--
	}
}

// scrollUp moves the lines from y to the end of the region up.
func (t *Terminal) scrollUp(y, count int) {
	count = min(count, t.bottom-y+1)
	lines := t.screen().lines[y : t.bottom+1]
	for _, line := range lines[:count] {
		if y == 0 && !t.alternate {
			t.remember(line)
		}
	}
	gone := slices.Clone(lines[:count])
	copy(lines, lines[count:])
	copy(lines[len(lines)-count:], gone)
	for _, line := range gone {
		t.erase(line, 0, t.columns)
	}
}

// scrollDown moves the lines from y to the end of the region down.
func (t *Terminal) scrollDown(y, count int) {
	count = min(count, t.bottom-y+1)
	lines := t.screen().lines[y : t.bottom+1]
	gone := slices.Clone(lines[len(lines)-count:])
	copy(lines[count:], lines)
	copy(lines, gone)
	for _, line := range gone {
		t.erase(line, 0, t.columns)
	}
}

func (t *Terminal) erase(line []cell, from, to int) {
	t.split(line, from)
	t.split(line, to)
	blank := t.cursor.pen.erased()
	for x := from; x < to; x++ {
		line[x] = blank
	}
}

// insertCells makes room at the cursor.
func (t *Terminal) insertCells(count int) {
	line, x := t.line(t.cursor.y), t.cursor.x
	count = min(count, t.columns-x)
	t.split(line, x)
	t.split(line, t.columns-count)
	copy(line[x+count:], line[x:])
	blank := t.cursor.pen.erased()
	for i := x; i < x+count; i++ {
		line[i] = blank
	}
}

func (t *Terminal) deleteCells(count int) {
	line, x := t.line(t.cursor.y), t.cursor.x
	count = min(count, t.columns-x)
	t.split(line, x)
	t.split(line, x+count)
	copy(line[x:], line[x+count:])
	blank := t.cursor.pen.erased()
	for i := t.columns - count; i < t.columns; i++ {
		line[i] = blank
	}
}

// move puts the cursor somewhere on the screen.
func (t *Terminal) move(x, y int) {
	t.cursor.x, t.cursor.y = min(max(x, 0), t.columns-1), min(max(y, 0), t.rows-1)
	t.wrapping = false
}

// address puts the cursor where a program says, which may count from the region.
func (t *Terminal) address(x, y int) {
	if t.cursor.origin {
		y = min(max(y, 0)+t.top, t.bottom)
	}
	t.move(x, y)
}

// up and down stop at the region when they begin within it.
func (t *Terminal) up(count int) {
	first := 0
	if t.cursor.y >= t.top {
		first = t.top
	}
	t.move(t.cursor.x, max(t.cursor.y-count, first))
}

func (t *Terminal) down(count int) {
	last := t.rows - 1
	if t.cursor.y <= t.bottom {
		last = t.bottom
	}
	t.move(t.cursor.x, min(t.cursor.y+count, last))
}

// Text is what the screen shows, line by line, without blanks at their ends.
func (t *Terminal) Text() string {
	var result strings.Builder
	for _, line := range t.screen().lines {
		var text strings.Builder
		for _, each := range line {
			switch {
			case each.attributes&tail != 0:
			case each.text == "":
				text.WriteByte(' ')
			default:
				text.WriteString(each.text)
			}
		}
		result.WriteString(strings.TrimRight(text.String(), " ") + "\n")
	}
	return result.String()
}
