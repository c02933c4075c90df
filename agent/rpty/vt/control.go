package vt

import (
	"fmt"
	"strings"
)

// execute does a C0 control.
func (t *Terminal) execute(b byte) {
	t.last = ""
	switch b {
	case 0x05: // ENQ
		t.query = true
	case '\b':
		t.move(t.cursor.x-1, t.cursor.y)
	case '\t':
		t.tab(1)
	case '\n', '\v', '\f':
		if t.newline {
			t.cursor.x = 0
		}
		t.wrapping = false
		t.index()
	case '\r':
		t.move(0, t.cursor.y)
	case 0x0e:
		t.cursor.shift = 1
	case 0x0f:
		t.cursor.shift = 0
	}
}

// tab goes to the count-th stop, backwards if it is negative.
func (t *Terminal) tab(count int) {
	x, step := t.cursor.x, 1
	if count < 0 {
		step, count = -1, -count
	}
	for ; count > 0 && x+step >= 0 && x+step < t.columns; x += step {
		if t.tabs[x+step] {
			count--
		}
	}
	t.move(x, t.cursor.y)
}

// escape does a sequence of ESC and final.
func (t *Terminal) escape(final byte) {
	t.last = "" // it may look another way in another character set
	if t.bad {
		return
	}
	switch t.intermediate {
	case 0:
		t.plainEscape(final)
	case '(', ')', '*', '+':
		if final != '0' && final != 'A' {
			final = 'B' // of those that nobody uses
		}
		t.cursor.charsets[t.intermediate-'('] = final
	case '#':
		if final == '8' {
			t.align()
		}
	}
}

func (t *Terminal) plainEscape(final byte) {
	switch final {
	case '7':
		t.screen().saved = t.cursor
	case '8':
		t.restore()
	case 'D':
		t.wrapping = false
		t.index()
	case 'E':
		t.move(0, t.cursor.y)
		t.index()
	case 'H':
		t.tabs[t.cursor.x] = true
	case 'M':
		t.wrapping = false
		t.reverseIndex()
	case 'Z':
		t.ask(attributesAnswer)
	case 'c':
		t.reset()
	case '=', '>':
		t.keypad = final == '='
	case 'n':
		t.cursor.shift = 2
	case 'o':
		t.cursor.shift = 3
	}
}

// restore is DECRC.
func (t *Terminal) restore() {
	t.last = ""
	t.cursor = t.screen().saved
	t.move(t.cursor.x, t.cursor.y)
	t.confine()
}

// confine brings the cursor into the region when positions count from there.
func (t *Terminal) confine() {
	if t.cursor.origin {
		t.cursor.y = min(max(t.cursor.y, t.top), t.bottom)
	}
}

// align is DECALN: the screen full of E.
func (t *Terminal) align() {
	t.top, t.bottom, t.cursor.origin = 0, t.rows-1, false
	t.move(0, 0)
	for _, line := range t.screen().lines {
		for x := range line {
			line[x] = cell{text: "E"}
		}
	}
}

// The replies of a plain xterm, for when no terminal is there to reply.
const attributesAnswer = "\x1b[?1;2c"

// ask marks what is read as a question.
func (t *Terminal) ask(answer string) { t.query, t.answer = true, answer }

// csi does a control sequence. It says whether what terminals get instead of it
// has been put out already.
func (t *Terminal) csi(final byte) (replaced bool) {
	switch {
	case t.prefix == 0 && t.intermediate == 0 && final == 'b':
		t.repeat(t.at(0, 1))
		return true
	case t.prefix == 0 && t.intermediate == 0:
		if !t.cursorControl(final) {
			t.plainControl(final)
		}
	case t.prefix == '?' && t.intermediate == 0:
		t.privateControl(final)
	case t.prefix == '>' && t.intermediate == 0:
		t.extendedControl(final)
	case t.prefix == '<' && t.intermediate == 0 && final == 'u':
		t.popKeyboards(t.at(0, 1))
	case t.prefix == '=' && t.intermediate == 0:
		switch final {
		case 'u':
			t.setKeyboard(t.at(0, 0), t.at(1, 1))
		case 'c':
			t.query = true
		}
	case t.prefix == 0 && t.intermediate == ' ' && final == 'q':
		if shape := t.at(0, 0); shape <= 6 {
			t.shape = shape
		}
	case t.prefix == 0 && t.intermediate == '!' && final == 'p':
		t.softReset()
	case t.intermediate == '$' && final == 'p': // DECRQM
		t.query = true
	case t.intermediate == '$' && final == 'w', t.intermediate == '*' && final == 'y':
		t.query = true
	}
	return false
}

// repeat is REP. Terminals get the characters, so that what they have to repeat
// is no part of the state; no more than one line of them.
func (t *Terminal) repeat(count int) {
	if t.last == "" {
		return
	}
	count = min(count, t.columns)
	t.emit([]byte(strings.Repeat(t.last, count)), false)
	for range count {
		t.put(t.last, widthOf(t.last))
	}
}

// cursorControl does what moves the cursor.
func (t *Terminal) cursorControl(final byte) bool {
	one := t.at(0, 1)
	switch final {
	case 'A', 'k':
		t.up(one)
	case 'B', 'e':
		t.down(one)
	case 'C', 'a':
		t.move(t.cursor.x+one, t.cursor.y)
	case 'D', 'j':
		t.move(t.cursor.x-one, t.cursor.y)
	case 'E':
		t.down(one)
		t.move(0, t.cursor.y)
	case 'F':
		t.up(one)
		t.move(0, t.cursor.y)
	case 'G', '`':
		t.move(one-1, t.cursor.y)
	case 'H', 'f':
		t.address(t.at(1, 1)-1, one-1)
	case 'd':
		t.address(t.cursor.x, one-1)
	case 'I':
		t.tab(one)
	case 'Z':
		t.tab(-one)
	case 's':
		t.screen().saved = t.cursor
	case 'u':
		t.restore()
	default:
		return false
	}
	return true
}

func (t *Terminal) plainControl(final byte) {
	one, line := t.at(0, 1), t.line(t.cursor.y)
	switch final {
	case '@':
		t.insertCells(one)
		t.wrapping = false
	case 'P':
		t.deleteCells(one)
		t.wrapping = false
	case 'X':
		t.erase(line, t.cursor.x, min(t.cursor.x+one, t.columns))
		t.wrapping = false
	case 'J':
		t.eraseDisplay(t.at(0, 0))
	case 'K':
		t.eraseLine(t.at(0, 0))
	case 'L', 'M':
		t.lines(final, one)
	case 'S':
		t.scrollUp(t.top, one)
	case 'T':
		if t.count <= 1 { // with five it starts a highlight
			t.scrollDown(t.top, one)
		}
	case 'g':
		switch t.at(0, 0) {
		case 0:
			t.tabs[t.cursor.x] = false
		case 3:
			clear(t.tabs)
		}
	case 'h', 'l':
		t.setModes(final == 'h')
	case 'm':
		t.cursor.pen.sgr(t.parameters)
	case 'r':
		t.setRegion(t.at(0, 1)-1, t.at(1, t.rows)-1)
	case 'c', 'n', 'x', 't':
		t.ansiQuery(final)
	}
}

func (t *Terminal) lines(final byte, count int) {
	if t.cursor.y < t.top || t.cursor.y > t.bottom {
		return
	}
	if final == 'L' {
		t.scrollDown(t.cursor.y, count)
	} else {
		t.deleteLines(count)
	}
	t.move(0, t.cursor.y)
}

// deleteLines is DL: like scrolling, but what goes is not remembered.
func (t *Terminal) deleteLines(count int) {
	lines := t.screen().lines[t.cursor.y : t.bottom+1]
	count = min(count, len(lines))
	gone := append([][]cell(nil), lines[:count]...)
	copy(lines, lines[count:])
	copy(lines[len(lines)-count:], gone)
	for _, line := range gone {
		t.erase(line, 0, t.columns)
	}
}

func (t *Terminal) eraseDisplay(which int) {
	lines := t.screen().lines
	from, to := 0, t.rows
	switch which {
	case 0:
		t.eraseLine(0)
		from = t.cursor.y + 1
	case 1:
		t.eraseLine(1)
		to = t.cursor.y
	case 2:
		t.wrapping = false
	case 3:
		t.history, t.historySize = nil, 0
		return
	default:
		return
	}
	for _, line := range lines[min(from, to):to] {
		t.erase(line, 0, t.columns)
	}
}

func (t *Terminal) eraseLine(which int) {
	from, to := 0, t.columns
	switch which {
	case 0:
		from = t.cursor.x
	case 1:
		to = t.cursor.x + 1
	case 2:
	default:
		return
	}
	t.erase(t.line(t.cursor.y), from, to)
	t.wrapping = false
}

func (t *Terminal) setRegion(top, bottom int) {
	bottom = min(bottom, t.rows-1)
	if top >= bottom {
		return
	}
	t.top, t.bottom = top, bottom
	t.address(0, 0)
}

// softReset is DECSTR.
func (t *Terminal) softReset() {
	t.last = ""
	delete(t.modes, 1)
	delete(t.modes, 7)
	delete(t.modes, 25)
	t.insert, t.keypad = false, false
	t.top, t.bottom = 0, t.rows-1
	x, y := t.cursor.x, t.cursor.y
	t.cursor = newCursor()
	t.cursor.x, t.cursor.y = x, y
	t.wrapping = false
	t.screen().saved = newCursor()
}

// ansiQuery does DA, DSR, DECREQTPARM and the window operations.
func (t *Terminal) ansiQuery(final byte) {
	which := t.at(0, 0)
	switch {
	case final == 'c':
		t.ask(attributesAnswer)
	case final == 'n' && which == 5:
		t.ask("\x1b[0n")
	case final == 'n' && which == 6:
		y := t.cursor.y
		if t.cursor.origin {
			y -= t.top
		}
		t.ask(fmt.Sprintf("\x1b[%d;%dR", y+1, t.cursor.x+1))
	case final == 'n', final == 'x':
		t.query = true
	case which == 22 || which == 23:
		t.titleStack(which == 22, t.at(1, 0))
	case which == 11 || which >= 13 && which <= 21:
		t.query = true
	}
}
