package define

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// problemLimit bounds how many problems of one document are named.
const problemLimit = 100

// foundLimit bounds how much of a wrong value is quoted, in bytes.
const foundLimit = 60

const wantDocument = "a document as `causeway-server agent example` prints it"

// Problem is one mistake in a document.
type Problem struct {
	// Line is 0 where there is none to name.
	Line int
	// Path names the value, as in "scripts[0].cron"; "" is the whole document.
	Path string
	// Found and Want say what is there and what should be. Neither has the value
	// of a secret.
	Found, Want string
}

func (p Problem) String() string {
	var words []string
	if p.Line > 0 {
		words = append(words, fmt.Sprintf("line %d", p.Line))
	}
	if p.Path != "" {
		words = append(words, p.Path)
	}
	return strings.Join(append(words, fmt.Sprintf("found %s, want %s", p.Found, p.Want)), ": ")
}

// InvalidError is all that is wrong with a document, in the order of its lines.
type InvalidError struct {
	Problems []Problem
	// More counts those that are not named.
	More int
}

func (e *InvalidError) Error() string {
	lines := []string{fmt.Sprintf("read agent definition: %d mistakes:", len(e.Problems)+e.More)}
	if len(e.Problems) == 1 && e.More == 0 {
		lines[0] = "read agent definition: 1 mistake:"
	}
	for _, problem := range e.Problems {
		lines = append(lines, "  "+problem.String())
	}
	if e.More > 0 {
		lines = append(lines, fmt.Sprintf("  and %d more", e.More))
	}
	return strings.Join(lines, "\n")
}

// shorten cuts a text that is to be quoted.
func shorten(value string) string {
	if len(value) <= foundLimit {
		return value
	}
	cut := foundLimit
	for !utf8.RuneStart(value[cut]) {
		cut--
	}
	return value[:cut] + "..."
}

func quote(value string) string { return strconv.Quote(shorten(value)) }
