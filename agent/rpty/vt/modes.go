package vt

import (
	"strings"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
)

func widthOf(text string) int { return max(1, min(2, ansi.StringWidthWc(text))) }

// startsSet are the DEC private modes that are set at the start.
var startsSet = map[int]bool{7: true, 25: true}

// kept are the DEC private modes that are a part of the state: cursor keys,
// reverse video, autowrap, a blinking cursor, a visible one, reverse wrap, the
// backspace key, focus events, wheel as cursor keys, Meta, bracketed paste.
var kept = []int{1, 5, 7, 12, 25, 45, 67, 1004, 1007, 1034, 1036, 1039, 2004}

// varies are those of kept whose start is the terminal's own affair: they are
// a part of the state once a program has changed them.
var varies = map[int]bool{12: true, 1007: true, 1034: true, 1036: true, 1039: true}

// reset7 says that lines are not wrapped.
func (t *Terminal) reset7() bool {
	_, changed := t.modes[7]
	return changed
}

// setModes does SM and RM.
func (t *Terminal) setModes(set bool) {
	for _, mode := range t.values[:t.count] {
		switch mode {
		case 4:
			t.insert = set
		case 20:
			t.newline = set
		}
	}
}

// privateControl does sequences with a question mark.
func (t *Terminal) privateControl(final byte) {
	switch final {
	case 'h', 'l':
		for _, mode := range t.values[:t.count] {
			t.setPrivate(mode, final == 'h')
		}
	case 'J':
		t.eraseDisplay(t.at(0, 0)) // nothing here is protected from it
	case 'K':
		t.eraseLine(t.at(0, 0))
	case 'n', 'u', 'm', 'S':
		t.query = true
	case 'W':
		if t.at(0, 0) == 5 {
			t.tabs = nil
			t.resetTabs(0)
		}
	}
}

func (t *Terminal) setPrivate(mode int, set bool) {
	switch mode {
	case 6:
		t.cursor.origin = set
		t.address(0, 0)
	case 47, 1047:
		t.setAlternate(set)
	case 1048:
		if set {
			t.screen().saved = t.cursor
		} else {
			t.restore()
		}
	case 1049:
		if set && !t.alternate {
			t.main.saved = t.cursor
		}
		left := !set && t.alternate
		t.setAlternate(set)
		if left {
			t.restore()
		}
	case 9, 1000, 1001, 1002, 1003:
		t.mouse = choose(mode, set)
	case 1005, 1006, 1015, 1016:
		t.encoding = choose(mode, set)
	default:
		t.keepMode(mode, set)
	}
}

func choose(mode int, set bool) int {
	if set {
		return mode
	}
	return 0
}

func (t *Terminal) keepMode(mode int, set bool) {
	for _, each := range kept {
		switch {
		case each != mode:
		case !varies[mode] && set == startsSet[mode]:
			delete(t.modes, mode)
		default:
			t.modes[mode] = set
		}
	}
	if mode == 7 && !set {
		t.wrapping = false
	}
}

// setAlternate shows the other screen, which is clear then, or the main one.
func (t *Terminal) setAlternate(set bool) {
	if set == t.alternate {
		return
	}
	t.alternate = set
	t.wrapping = false
	t.other = screen{saved: newCursor(), keyboards: []int{0}}
	if set {
		t.other.lines = t.blank()
		for _, line := range t.other.lines {
			t.erase(line, 0, t.columns)
		}
	}
}

// extendedControl does sequences with a greater-than sign.
func (t *Terminal) extendedControl(final byte) {
	switch final {
	case 'c', 'q':
		t.query = true
	case 'm':
		t.modifyKeys(t.at(0, 0), t.at(1, 0))
	case 'n':
		t.modifyKeys(t.at(0, 2), -1)
	case 'u':
		boards := &t.screen().keyboards
		*boards = append(*boards, t.at(0, 0)&31)
		if len(*boards) > maxKeyboards {
			*boards = append([]int(nil), (*boards)[1:]...)
		}
	}
}

// modifyKeys is XTMODKEYS; -1 disables. Without a resource it resets all.
func (t *Terminal) modifyKeys(resource, value int) {
	switch {
	case t.count == 0 && value == 0:
		t.keys = [len(t.keys)]int{}
	case resource < len(t.keys) && value < 10:
		t.keys[resource] = value
	}
}

func (t *Terminal) popKeyboards(count int) {
	boards := &t.screen().keyboards
	if count >= len(*boards) {
		*boards = []int{0}
		return
	}
	*boards = (*boards)[:len(*boards)-count]
}

func (t *Terminal) setKeyboard(flags, how int) {
	boards := t.screen().keyboards
	last := &boards[len(boards)-1]
	flags &= 31
	switch how {
	case 1:
		*last = flags
	case 2:
		*last |= flags
	case 3:
		*last &^= flags
	}
}

func (t *Terminal) titleStack(push bool, which int) {
	switch {
	case which == 1: // the icon's name, which nobody sees
	case push:
		t.titles = append(t.titles, t.title)
		if len(t.titles) > maxTitles {
			t.titles = append([]string(nil), t.titles[1:]...)
		}
	case len(t.titles) > 0:
		t.title = t.titles[len(t.titles)-1]
		t.titles = t.titles[:len(t.titles)-1]
	}
}

// clean is text without what could end a sequence, and no longer than limit.
func clean(data string, limit int) string {
	result := strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f && r < 0xa0 || r == utf8.RuneError {
			return -1
		}
		return r
	}, data)
	for len(result) > limit {
		_, size := utf8.DecodeLastRuneInString(result)
		result = result[:len(result)-size]
	}
	return result
}
