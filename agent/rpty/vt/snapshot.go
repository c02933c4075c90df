package vt

import (
	"maps"
	"slices"
	"strconv"
	"unicode/utf8"
)

// known brings a terminal of which nothing is known into the state after a
// reset, without RIS, which would also erase what the user had before: the main
// screen, no modes, the whole screen as region, ASCII, no tab stops, the
// terminal's own colours, an empty screen.
const known = "\x1b\\\x1b[?1049l\x1b[<16u\x1b[=0u\x1b[!p\x1b[4;20l\x1b[?1;5;45;67;1004;2004l\x1b[?7;25h" +
	"\x1b[?9;1000;1001;1002;1003l\x1b[?1005;1006;1015;1016l\x1b[>m\x1b>\x1b[r\x1b[0m\x1b]8;;\x1b\\\x1b(B\x1b)B\x1b*B\x1b+B\x0f\x1b[3g\x1b[0 q" +
	"\x1b]104\x1b\\\x1b]110\x1b\\\x1b]111\x1b\\\x1b]112\x1b\\\x1b[H\x1b[2J"

// Snapshot is what brings a terminal of the same size into this state, from
// whatever state it is in. The last lines of the history come first, as many as
// asked for. What is held back is no part of it.
func (t *Terminal) Snapshot(history int) []byte {
	w := &writer{terminal: t, out: append(make([]byte, 0, 16<<10), known...)}
	w.add("\x1b[?7l") // nothing wraps while screens are painted
	w.history(t.history[len(t.history)-min(history, len(t.history)):])
	w.paint(t.main.lines)
	w.keyboards(t.main.keyboards)
	w.savedCursor(t.main.saved)
	if t.alternate {
		// Entering saves the cursor of the main screen: once more what it was.
		w.cursor(t.main.saved)
		w.add("\x1b[?1049h")
		w.plain()
		w.add("\x1b[2J")
		w.paint(t.other.lines)
		w.keyboards(t.other.keyboards)
		w.savedCursor(t.other.saved)
	}
	w.settings()
	w.region()
	w.modes()
	return w.out
}

// writer writes a snapshot.
type writer struct {
	terminal *Terminal
	out      []byte
	pen      style
	wraps    bool // the terminal wraps
}

func (w *writer) add(text string) { w.out = append(w.out, text...) }

// sequence writes a control sequence with numbers.
func (w *writer) sequence(prefix string, final string, numbers ...int) {
	w.add("\x1b[" + prefix)
	for i, number := range numbers {
		if i > 0 {
			w.add(";")
		}
		w.out = strconv.AppendInt(w.out, int64(number), 10)
	}
	w.add(final)
}

func (w *writer) place(x, y int) { w.sequence("", "H", y+1, x+1) }

func (w *writer) setPen(pen style) {
	pen.attributes &^= wide | tail
	if pen == w.pen {
		return
	}
	link := pen.link
	if link != w.pen.link {
		data := w.terminal.links[link]
		if link == 0 {
			data = ";"
		}
		w.add("\x1b]8;" + data + "\x1b\\")
	}
	w.pen.link = link
	if pen != w.pen {
		w.out = pen.appendSGR(w.out)
	}
	w.pen = pen
}

// plain is the state in which screens are painted.
func (w *writer) plain() {
	w.add("\x1b[?6l\x1b(B\x1b)B\x1b*B\x1b+B\x0f")
	w.setPen(style{})
}

func (w *writer) history(lines [][]cell) {
	for _, line := range lines {
		w.cells(line)
		w.setPen(style{}) // the line that comes up is erased with it
		w.add("\r\n")
	}
	// The last of them are still on the screen.
	if left := min(len(lines), w.terminal.rows-1); left > 0 {
		w.place(0, w.terminal.rows-1)
		for range left {
			w.add("\n")
		}
	}
}

func (w *writer) paint(lines [][]cell) {
	for y, line := range lines {
		end := len(line)
		for end > 0 && line[end-1] == (cell{}) {
			end--
		}
		if end > 0 {
			w.place(0, y)
			w.cells(line[:end])
		}
	}
}

// cells writes characters. After one whose width terminals do not agree about,
// the column is said.
func (w *writer) cells(line []cell) {
	for x := 0; x < len(line); x++ {
		each := line[x]
		if each.attributes&tail != 0 {
			continue
		}
		w.setPen(each.style)
		if each.text == "" {
			w.add(" ")
			continue
		}
		width := 1
		if each.attributes&wide != 0 {
			width = 2
		}
		if _, size := utf8.DecodeRuneInString(each.text); size < len(each.text) && x+width == len(line) && !w.wraps {
			// Where nothing wraps, marks would go to the character before.
			w.add("\x1b[?7h" + each.text + "\x1b[?7l")
			continue
		}
		w.add(each.text)
		if each.text[0] >= utf8.RuneSelf && x+width < len(line) && w.doubtful(each.text) {
			w.sequence("", "G", x+width+1)
		}
	}
}

// doubtful says whether terminals may disagree about the width of text: all but
// Latin letters and what screens are drawn with.
func (w *writer) doubtful(text string) bool {
	r, size := utf8.DecodeRuneInString(text)
	return size < len(text) || r >= 0x300 && (r < 0x2500 || r >= 0x25a0)
}

// cursor brings about what DECSC saves. The region is the whole screen.
func (w *writer) cursor(c cursor) {
	w.add("\x1b[?6l")
	if c.origin {
		w.add("\x1b[?6h")
	}
	w.place(c.x, c.y)
	w.setPen(c.pen)
	w.charsets(c)
}

func (w *writer) charsets(c cursor) {
	for i, final := range c.charsets {
		w.add("\x1b" + string(rune('('+i)) + string(rune(final)))
	}
	w.add([]string{"\x0f", "\x0e", "\x1bn", "\x1bo"}[c.shift])
}

func (w *writer) savedCursor(c cursor) {
	w.cursor(c)
	w.add("\x1b7")
	w.plain()
}

func (w *writer) keyboards(boards []int) {
	for i, flags := range boards {
		if i == 0 {
			w.sequence("=", "u", flags)
		} else {
			w.sequence(">", "u", flags)
		}
	}
}

// settings are those that no cursor has a part in.
func (w *writer) settings() {
	t := w.terminal
	for x, stop := range t.tabs {
		if stop {
			w.place(x, 0)
			w.add("\x1bH")
		}
	}
	for _, title := range t.titles {
		w.add("\x1b]2;" + title + "\x1b\\\x1b[22;2t")
	}
	if t.title != "" || len(t.titles) > 0 {
		w.add("\x1b]2;" + t.title + "\x1b\\")
	}
	if t.directory != "" {
		w.add("\x1b]7;" + t.directory + "\x1b\\")
	}
	for _, index := range slices.Sorted(maps.Keys(t.colours)) {
		command := "4;" + strconv.Itoa(index)
		if index >= dynamic {
			command = strconv.Itoa(index - dynamic)
		}
		w.add("\x1b]" + command + ";" + t.colours[index] + "\x1b\\")
	}
	w.sequence("", " q", t.shape)
	for resource, value := range t.keys {
		switch {
		case value < 0:
			w.sequence(">", "n", resource)
		case value > 0:
			w.sequence(">", "m", resource, value)
		}
	}
}

// region sets the scroll region and the cursor within it.
func (w *writer) region() {
	t := w.terminal
	c := t.cursor
	w.sequence("", "r", t.top+1, t.bottom+1)
	y := c.y
	if c.origin {
		w.add("\x1b[?6h")
		y -= t.top
	}
	if !t.reset7() {
		w.add("\x1b[?7h")
		w.wraps = true
	}
	x := c.x
	line := t.line(c.y)
	if t.wrapping && line[x].attributes&tail != 0 {
		x--
	}
	w.place(x, y)
	if t.wrapping {
		// The last character is printed again: nothing else makes a terminal wrap
		// at the next one.
		w.cells(line[x:])
	}
	w.setPen(c.pen)
	w.charsets(c)
}

func (w *writer) modes() {
	t := w.terminal
	if t.insert {
		w.add("\x1b[4h")
	}
	if t.newline {
		w.add("\x1b[20h")
	}
	if t.keypad {
		w.add("\x1b=")
	}
	for _, mode := range slices.Sorted(maps.Keys(t.modes)) {
		if mode == 7 {
			continue // wraps were never switched on
		}
		final := "l"
		if t.modes[mode] {
			final = "h"
		}
		w.sequence("?", final, mode)
	}
	for _, mode := range []int{t.mouse, t.encoding} {
		if mode != 0 {
			w.sequence("?", "h", mode)
		}
	}
}
