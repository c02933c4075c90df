package tray

import (
	"strings"
	"unicode"
)

// printable is a text without what could play tricks with a line: names and
// errors come from the control plane. Control and format characters, among them
// those that reverse the direction of writing, become blanks.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
}

// Unicode's isolates keep the direction of a text from reaching its neighbours.
const (
	firstStrongIsolate = "\u2068"
	popIsolate         = "\u2069"
)

// cut is a text fit for a line: printable, at most limit characters, and without
// a say in how the rest of the line is written.
func cut(text string, limit int) string {
	if len(text) > 4*limit {
		// Not more than this is looked at, whatever the length.
		text = text[:4*limit]
	}
	text = strings.TrimSpace(printable(strings.ToValidUTF8(text, "")))
	if runes := []rune(text); len(runes) > limit {
		text = string(runes[:limit-1]) + "…"
	}
	if strings.IndexFunc(text, rightToLeft) >= 0 {
		return firstStrongIsolate + text + popIsolate
	}
	return text
}

func rightToLeft(r rune) bool {
	return unicode.In(r, unicode.Hebrew, unicode.Arabic, unicode.Syriac, unicode.Thaana, unicode.Nko)
}
