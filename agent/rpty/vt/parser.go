package vt

import (
	"unicode/utf8"
)

type state uint8

const (
	ground state = iota
	escape
	escapeMore // with an intermediate byte
	control    // a control sequence (CSI)
	text       // a string: OSC, DCS, APC, PM, SOS
	textEscape // ESC within a string
	character  // some bytes of UTF-8
)

// parameters of a control sequence; a missing one is 0.
type parameters struct {
	values [maxParameters]int
	more   [maxParameters]bool // the next one is a part of this one (a colon)
	count  int
}

// at is a parameter, or otherwise if it is missing or 0.
func (p *parameters) at(index, otherwise int) int {
	if index >= p.count || p.values[index] == 0 {
		return otherwise
	}
	return p.values[index]
}

// sequence is what has been read of one.
type sequence struct {
	parameters
	prefix       byte // < = > ?
	intermediate byte
	kind         byte // of a string: ] P _ ^ X
	data         []byte
	bad          bool // it is read to its end, and means nothing
}

// Segment is a part of the stream that ends between characters and sequences,
// so that a snapshot can be put between any two.
type Segment struct {
	Data []byte
	// Query: it asks the terminal something, and one of several should answer.
	Query bool
	// Rest: it belongs to a string whose beginning was in an earlier segment.
	Rest bool
	// Answer is what to reply when no terminal is there to do it.
	Answer string
}

// Feed reads what a program writes, changes the state, and returns the same
// bytes in segments, as terminals should get them. What is not finished is held
// back until it is, or too long.
func (t *Terminal) Feed(data []byte) []Segment {
	t.segments = nil
	for _, b := range data {
		t.step(b)
	}
	result := t.segments
	t.segments = nil
	return result
}

// Held is what Feed holds back at the end of a stream.
func (t *Terminal) Held() []byte { return t.held }

// emit adds bytes to the segments.
func (t *Terminal) emit(data []byte, rest bool) {
	if len(data) == 0 {
		return
	}
	if t.query || rest || len(t.segments) == 0 || t.segments[len(t.segments)-1].Query || t.segments[len(t.segments)-1].Rest {
		t.segments = append(t.segments, Segment{Query: t.query, Rest: rest, Answer: t.answer})
	}
	last := &t.segments[len(t.segments)-1]
	last.Data = append(last.Data, data...)
	t.query, t.answer = false, ""
}

// finish ends what is held, which was understood.
func (t *Terminal) finish() {
	t.state = ground
	t.emit(t.held, t.streaming)
	t.held, t.streaming = t.held[:0], false
}

// abandon ends what is held without passing it on: it has no meaning. A string
// of which a part was passed on is ended for those who got that.
func (t *Terminal) abandon() {
	t.state = ground
	if t.streaming {
		t.emit([]byte("\x1b\\"), true)
	}
	t.held, t.streaming = t.held[:0], false
}

func (t *Terminal) step(b byte) {
	if t.state == character {
		if b&0xc0 == 0x80 {
			t.held = append(t.held, b)
			if utf8.FullRune(t.held) {
				t.printHeld()
			}
			return
		}
		t.printHeld() // it is not whole, and b is not of it
	}
	switch {
	case b == 0x18 || b == 0x1a: // CAN and SUB
		t.abandon()
		return
	case b == 0x1b && t.state == text:
		t.state = textEscape
		t.held = append(t.held, b)
		return
	case b == 0x1b:
		t.abandon()
		t.begin(escape)
		t.held = append(t.held, b)
		return
	case b < 0x20 && t.state != text && t.state != textEscape:
		// A control within a sequence is done at once.
		t.execute(b)
		t.emit([]byte{b}, false)
		return
	case b == 0x7f && t.state != text && t.state != textEscape:
		return
	}
	t.held = append(t.held, b)
	switch t.state {
	case ground:
		t.stepGround()
	case escape, escapeMore:
		t.stepEscape(b)
	case control:
		t.stepControl(b)
	case text:
		t.stepText(b)
	case textEscape:
		t.stepTextEscape(b)
	case character: // has been done
	}
	t.limit()
}

// limit keeps what is held short.
func (t *Terminal) limit() {
	switch {
	case len(t.held) < maxHeld || t.state == ground:
	case t.state == text:
		t.emit(t.held, t.streaming)
		t.held, t.streaming = t.held[:0], true
		t.bad = true
	default:
		t.abandon()
	}
}

func (t *Terminal) begin(next state) {
	t.state = next
	t.sequence = sequence{data: t.data[:0]}
}

func (t *Terminal) stepGround() {
	if t.state = character; utf8.FullRune(t.held) {
		t.printHeld()
	}
}

func (t *Terminal) stepTextEscape(b byte) {
	if b == '\\' {
		t.endText()
		t.finish()
		return
	}
	// The escape begins another sequence.
	t.abandon()
	t.begin(escape)
	t.held = append(t.held, 0x1b)
	t.step(b)
}

func (t *Terminal) stepEscape(b byte) {
	switch {
	case b >= 0x7f:
		t.abandon() // no sequence has such a byte
	case b < 0x30:
		t.bad = t.bad || t.intermediate != 0
		t.intermediate = b
		t.state = escapeMore
	case t.state == escapeMore:
		t.escape(b)
		t.finish()
	case b == '[':
		t.state = control
	case b == ']' || b == 'P' || b == '_' || b == '^' || b == 'X':
		t.kind = b
		t.state = text
	default:
		t.escape(b)
		t.finish()
	}
}

func (t *Terminal) stepControl(b byte) {
	switch {
	case b >= '0' && b <= '9':
		if t.count == 0 {
			t.count = 1
		}
		if t.count <= maxParameters {
			value := &t.values[t.count-1]
			*value = min(*value*10+int(b-'0'), maxParameter)
		}
	case b == ';' || b == ':':
		t.count = max(t.count, 1)
		if t.count <= maxParameters {
			t.more[t.count-1] = b == ':' && t.count < maxParameters
			t.count++
		}
	case b >= 0x3c && b <= 0x3f:
		t.bad = t.bad || len(t.held) != 3 // only right after the introducer
		t.prefix = b
	case b < 0x30:
		t.bad = t.bad || t.intermediate != 0
		t.intermediate = b
	case b >= 0x40 && b < 0x7f:
		t.count = min(t.count, maxParameters)
		if t.count == maxParameters {
			t.more[maxParameters-1] = false
		}
		replaced := false
		if !t.bad {
			replaced = t.csi(b)
		}
		if replaced {
			t.held = t.held[:0]
		}
		t.finish()
	default:
		t.abandon() // no sequence has such a byte
	}
}

func (t *Terminal) stepText(b byte) {
	if b == 0x07 && t.kind == ']' {
		t.endText()
		t.finish()
		return
	}
	if !t.bad {
		t.data = append(t.data, b)
	}
}

// printHeld prints what is held: one character, or bytes that are none.
func (t *Terminal) printHeld() {
	for rest := t.held; len(rest) > 0; {
		r, size := utf8.DecodeRune(rest)
		rest = rest[size:]
		if r == utf8.RuneError && size == 1 {
			rest = nil // one mark for all of it
		}
		if r < 0x80 || r > 0x9f {
			t.print(r)
		}
	}
	t.finish()
}
