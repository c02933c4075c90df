package define

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// value is one value of a document on its way into a definition. What is wrong
// with it goes to problems, and the way goes on.
type value struct {
	node
	path     string
	problems *[]Problem
}

func (v value) complain(line int, path, found, want string) {
	*v.problems = append(*v.problems, Problem{Line: line, Path: path, Found: found, Want: want})
}

// wrong complains of the value itself.
func (v value) wrong(found, want string) { v.complain(v.line, v.path, found, want) }

// found says what the value is, for somebody who wanted something else.
func (v value) found() string {
	switch v.kind {
	case text:
		return quote(v.text)
	case number, truth:
		return fmt.Sprintf("%s (%s)", v.kind, shorten(v.text))
	default:
		return v.kind.String()
	}
}

// is says whether the value is of a kind. Nothing at all counts as not given.
func (v value) is(wanted kind) bool {
	if v.kind == wanted {
		return true
	}
	if v.kind != nothing {
		want := wanted.String()
		if wanted == text && (v.kind == number || v.kind == truth) {
			want += "; put it in quotes"
		}
		v.wrong(v.found(), want)
	}
	return false
}

func (v value) below(key string, of node) value {
	path := key
	if !plainKey(key) {
		path = "[" + quote(key) + "]"
	} else if v.path != "" {
		path = "." + key
	}
	return value{node: of, path: v.path + path, problems: v.problems}
}

func plainKey(key string) bool {
	return key != "" && len(key) <= displayLimit && strings.IndexFunc(key, func(char rune) bool { return !wordChar(char) }) < 0
}

func wordChar(char rune) bool {
	return char >= 'a' && char <= 'z' || char >= 'A' && char <= 'Z' || char >= '0' && char <= '9' || char == '_' || char == '-'
}

// each gives the members of a mapping, each key once.
func (v value) each(do func(line int, key string, of value)) {
	if !v.is(mapping) {
		return
	}
	seen := map[string]int{}
	for _, entry := range v.members {
		of := v.below(entry.key, entry.node)
		if first, twice := seen[entry.key]; twice {
			v.complain(entry.line, of.path, fmt.Sprintf("the same key as on line %d", first), "each key once")
			continue
		}
		seen[entry.key] = entry.line
		do(entry.line, entry.key, of)
	}
}

// object reads a mapping of which the keys are known.
func (v value) object(fields map[string]func(value), required ...string) {
	given := map[string]bool{}
	v.each(func(line int, key string, of value) {
		read, known := fields[key]
		if !known {
			v.complain(line, of.path, "an unknown key", "one of "+strings.Join(slices.Sorted(maps.Keys(fields)), ", "))
			return
		}
		given[key] = of.kind != nothing
		if given[key] {
			read(of)
		}
	})
	if v.kind != mapping {
		return
	}
	for _, key := range required {
		if !given[key] {
			v.complain(v.first(), v.below(key, node{}).path, "nothing", "a value")
		}
	}
}

// first is the line on which a mapping begins.
func (v value) first() int {
	if len(v.members) > 0 {
		return v.members[0].line
	}
	return v.line
}

// list reads each item of a list of at most so many.
func (v value) list(most int, what string, read func(value)) {
	if !v.is(list) {
		return
	}
	if len(v.items) > most {
		v.wrong(fmt.Sprintf("%d %s", len(v.items), what), fmt.Sprintf("at most %d", most))
		return
	}
	for i, item := range v.items {
		of := value{node: item, path: v.path + "[" + strconv.Itoa(i) + "]", problems: v.problems}
		if of.kind == nothing {
			of.wrong("nothing", "a value")
			continue
		}
		read(of)
	}
}

// block reads a text of several lines, which must not be empty.
func (v value) block(limit int) string {
	if !v.is(text) {
		return ""
	}
	switch {
	case strings.TrimSpace(v.text) == "":
		v.wrong("an empty text", "something in it")
	case len(v.text) > limit:
		v.wrong(fmt.Sprintf("%d bytes", len(v.text)), fmt.Sprintf("at most %d", limit))
	case strings.ContainsRune(v.text, 0):
		v.wrong("a NUL character", "text without it")
	}
	return v.text
}

// oneLine reads a text of one line, without anything that a terminal would act on.
func (v value) oneLine(limit int) string {
	before := len(*v.problems)
	read := v.block(limit)
	if at := strings.IndexFunc(read, func(char rune) bool { return !unicode.IsPrint(char) }); at >= 0 && len(*v.problems) == before {
		v.wrong("a character that cannot be printed in "+quote(read), "one line of plain text")
	}
	return read
}

func (v value) flag() bool { return v.is(truth) && v.text == "true" }

func (v value) count(least, most int) int {
	if !v.is(number) {
		return least
	}
	read, err := strconv.Atoi(v.text)
	if err != nil || read < least || read > most {
		v.wrong(shorten(v.text), fmt.Sprintf("a whole number from %d to %d", least, most))
		return least
	}
	return read
}

// duration reads a time span. Zero is good where it means something.
func (v value) duration(zero bool, least, most time.Duration) Duration {
	want := fmt.Sprintf("a time from %s to %s, such as 30s, 5m or 1h30m", plain(least), plain(most))
	if zero {
		want += ", or 0"
	}
	if v.kind != text && v.kind != number {
		v.wrong(v.found(), want)
		return 0
	}
	read, err := time.ParseDuration(v.text)
	switch {
	case err == nil && zero && read == 0:
	case err != nil, read < least, read > most:
		v.wrong(quote(v.text), want)
		return Duration(least)
	}
	return Duration(read)
}

// plain is a time span without the zeros at its end.
func plain(span time.Duration) string {
	written := span.String()
	if strings.HasSuffix(written, "m0s") {
		written = strings.TrimSuffix(written, "0s")
	}
	if strings.HasSuffix(written, "h0m") {
		written = strings.TrimSuffix(written, "0m")
	}
	return written
}

func (v value) oneOf(choices ...string) string {
	read := v.oneLine(displayLimit)
	if read != "" && !slices.Contains(choices, read) {
		v.wrong(quote(read), "one of "+strings.Join(choices, ", "))
	}
	return read
}

// unique complains of a name that another item of the same list has.
func (v value) unique(name string, seen map[string]int) {
	if first, twice := seen[name]; twice && name != "" {
		v.wrong(fmt.Sprintf("%s, which stands already on line %d", quote(name), first), "a name of its own")
		return
	}
	seen[name] = v.line
}

func byLine(a, b Problem) int { return cmp.Compare(a.Line, b.Line) }
