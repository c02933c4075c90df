package vt

import (
	"slices"
	"strconv"
	"strings"
)

// dynamic is added to the number of a dynamic colour (OSC 10 to 12) to tell it
// from one of the palette.
const dynamic = 1000

// endText does a string that has come to its end.
func (t *Terminal) endText() {
	if t.bad {
		return
	}
	data := string(t.data)
	switch t.kind {
	case 'P':
		// DECRQSS and XTGETTCAP ask.
		t.query = strings.HasPrefix(data, "$q") || strings.HasPrefix(data, "+q")
	case ']':
		number, rest, _ := strings.Cut(data, ";")
		if command, err := strconv.Atoi(number); err == nil {
			t.osc(command, rest)
		}
	}
}

func (t *Terminal) osc(command int, data string) {
	switch command {
	case 0, 2:
		t.title = clean(data, maxTitle)
	case 7:
		t.directory = clean(data, maxTitle)
	case 8:
		t.setLink(data)
	case 4:
		fields := strings.Split(data, ";")
		for i := 0; i+1 < len(fields); i += 2 {
			if index, err := strconv.Atoi(fields[i]); err == nil && index >= 0 && index < 256 {
				t.setColour(index, fields[i+1])
			}
		}
	case 10, 11, 12:
		for i, field := range strings.Split(data, ";") {
			if command+i <= 12 {
				t.setColour(dynamic+command+i, field)
			}
		}
	case 104:
		if data == "" {
			for index := range 256 {
				delete(t.colours, index)
			}
			return
		}
		for field := range strings.SplitSeq(data, ";") {
			if index, err := strconv.Atoi(field); err == nil && index < 256 {
				delete(t.colours, index)
			}
		}
	case 110, 111, 112:
		delete(t.colours, dynamic+command-100)
	case 52:
		t.query = strings.HasSuffix(data, ";?")
	}
}

func (t *Terminal) setColour(index int, value string) {
	value = clean(value, maxColour)
	switch {
	case value == "?":
		t.query = true
	case value != "" && len(t.colours) < maxColours:
		t.colours[index] = value
	}
}

// setLink is OSC 8: parameters;address, with an empty address for the end.
func (t *Terminal) setLink(data string) {
	_, address, found := strings.Cut(data, ";")
	if !found || address == "" || len(data) > maxLink || clean(data, maxLink) != data {
		t.cursor.pen.link = 0
		return
	}
	index := slices.Index(t.links, data)
	if index < 0 {
		index = t.freeLink()
		if index > 0 {
			t.links[index] = data
		}
	}
	t.cursor.pen.link = uint16(index)
}

// freeLink is a number that no cell uses, or 0.
func (t *Terminal) freeLink() int {
	if len(t.links) <= maxLinks {
		t.links = append(t.links, "")
		return len(t.links) - 1
	}
	used := make([]bool, len(t.links))
	used[0] = true
	for _, lines := range [][][]cell{t.main.lines, t.other.lines, t.history} {
		for _, line := range lines {
			for x := range line {
				used[line[x].link] = true
			}
		}
	}
	used[t.main.saved.pen.link], used[t.other.saved.pen.link] = true, true
	return max(0, slices.Index(used, false))
}
