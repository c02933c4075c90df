package cli

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// Our section of a configuration of ssh stands between these lines. The second
// form of the first says that what stood before did not end with a line break,
// so that taking the section away leaves every byte as it was; the third that
// there was no file.
const (
	sectionBegin  = "# >>> causeway config-ssh >>>"
	sectionJoined = "# >>> causeway config-ssh, after a line without an end >>>"
	sectionAlone  = "# >>> causeway config-ssh, in a file of its own >>>"
	sectionEnd    = "# <<< causeway config-ssh <<<"
)

// errDamaged: what is ours cannot be told from what is not.
var errDamaged = errors.New("the lines that begin and end Causeway's section do not pair up")

// section is where ours stands: all of a file is before + ours + after.
type section struct {
	before, ours, after []byte

	found, joined, alone bool
}

// findSection looks for whole lines only.
func findSection(file []byte) (section, error) {
	begin, end, joined, alone, offset := -1, -1, false, false, 0
	for line := range bytes.Lines(file) {
		switch text := string(bytes.TrimSuffix(line, []byte("\n"))); text {
		case sectionBegin, sectionJoined, sectionAlone:
			if begin >= 0 {
				return section{}, errDamaged
			}
			begin, joined, alone = offset, text == sectionJoined, text == sectionAlone
		case sectionEnd:
			if begin < 0 || end >= 0 {
				return section{}, errDamaged
			}
			end = offset + len(line)
		}
		offset += len(line)
	}
	switch {
	case begin < 0:
		return section{before: file}, nil
	case end < 0 || joined && begin == 0:
		return section{}, errDamaged
	}
	return section{before: file[:begin], ours: file[begin:end], after: file[end:], found: true, joined: joined, alone: alone}, nil
}

// withSection is the file with our section, in its old place or at the end:
// options of before count first, so that the user's own win.
func withSection(file []byte, lines []string) ([]byte, error) {
	s, err := findSection(file)
	if err != nil {
		return nil, err
	}
	begin := sectionBegin
	before := bytes.Clone(s.before)
	if s.joined || !s.found && len(before) > 0 && before[len(before)-1] != '\n' {
		begin = sectionJoined
	}
	if begin == sectionJoined && !s.found {
		before = append(before, '\n')
	}
	if s.alone || file == nil {
		begin = sectionAlone
	}
	ours := begin + "\n" + strings.Join(lines, "\n") + "\n" + sectionEnd + "\n"
	return append(append(before, ours...), s.after...), nil
}

// withoutSection is the file as it was without it; nil: there was none.
func withoutSection(file []byte) ([]byte, error) {
	s, err := findSection(file)
	if err != nil {
		return nil, err
	}
	if s.alone && len(s.before)+len(s.after) == 0 {
		return nil, nil
	}
	before := bytes.Clone(s.before)
	if s.joined && len(s.after) == 0 {
		before = before[:len(before)-1]
	}
	return append(before, s.after...), nil
}

// diff shows how one text becomes another, where all changes are in one place,
// with some lines around it.
func diff(name string, from, to []byte) string {
	const around = 3
	old, now := lines(from), lines(to)
	head := 0
	for head < len(old) && head < len(now) && old[head] == now[head] {
		head++
	}
	tail := 0
	for tail < len(old)-head && tail < len(now)-head && old[len(old)-1-tail] == now[len(now)-1-tail] {
		tail++
	}
	if head == len(old) && head == len(now) {
		return ""
	}
	first, last := max(head-around, 0), max(tail-around, 0)
	var out strings.Builder
	start := func(count int) int { return first + min(count, 1) }
	oldCount, newCount := len(old)-last-first, len(now)-last-first
	fmt.Fprintf(&out, "--- %s\n+++ %s\n@@ -%d,%d +%d,%d @@\n", name, name, start(oldCount), oldCount, start(newCount), newCount)
	for _, part := range []struct {
		mark  string
		lines []string
	}{{" ", old[first:head]}, {"-", old[head : len(old)-tail]}, {"+", now[head : len(now)-tail]}, {" ", now[len(now)-tail : len(now)-last]}} {
		for _, line := range part.lines {
			text, whole := strings.CutSuffix(line, "\n")
			out.WriteString(part.mark + printable(text) + "\n")
			if !whole {
				out.WriteString("\\ No newline at end of file\n")
			}
		}
	}
	return out.String()
}

func lines(text []byte) []string {
	var all []string
	for line := range strings.Lines(string(text)) {
		all = append(all, line)
	}
	return all
}
