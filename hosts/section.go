package hosts

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
)

// Entry is one line of the section.
type Entry struct {
	Name string // without a trailing dot
	Addr netip.Addr
}

// Valid is whether the entry can be written: a line break or a space in a name
// would say something else than was meant.
func (e Entry) Valid() bool {
	if !e.Addr.IsValid() || e.Addr.Zone() != "" || e.Name == "" || len(e.Name) > 253 {
		return false
	}
	for i := range len(e.Name) {
		switch b := e.Name[i]; {
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9', b == '-', b == '_', b == '.':
		default:
			return false
		}
	}
	return !strings.HasPrefix(e.Name, "#")
}

// Line ends for a file that has none yet.
const (
	LF   = "\n"
	CRLF = "\r\n"
)

// ErrEncoding is returned for a file in UTF-16, which no resolver reads and
// which ASCII lines would spoil.
var ErrEncoding = errors.New("file is in UTF-16")

// The markers are whole lines. The text after startMarker ends with a pair of
// parentheses that hold the sum of the lines between and what Remove has to
// know; see block.
const (
	startMarker = "# >>> causeway"
	startText   = startMarker + ": names of your workspaces. This part is rewritten and removed, edit outside of it. "
	endMarker   = "# <<< causeway"

	// noteJoined: a line end was added in front of the section.
	noteJoined = "line end added before"
	// noteCreated: there was no file.
	noteCreated = "file created"
)

var (
	bomUTF8  = []byte("\xef\xbb\xbf")
	bomsWide = [][]byte{[]byte("\xff\xfe"), []byte("\xfe\xff")}
)

// block is where a section was found: content[start:end], with its last line
// end.
type block struct {
	start, end int
	eol        string
	joined     bool
	created    bool
}

// find returns the sections in a file. A start marker without an end before the
// next start or the end of the file is not ours, except when the lines up to
// the end of the file are exactly those that we wrote.
func find(content []byte) []block {
	var blocks []block
	var open *block
	var sum string
	body := 0
	offset := 0
	if bytes.HasPrefix(content, bomUTF8) {
		offset = len(bomUTF8)
	}
	for offset < len(content) {
		next := len(content)
		if i := bytes.IndexByte(content[offset:], '\n'); i >= 0 {
			next = offset + i + 1
		}
		line := content[offset:next]
		switch text := strings.TrimRight(string(line), " \t\r\n"); {
		case text == endMarker && open != nil:
			open.end = next
			blocks = append(blocks, *open)
			open = nil
		case isStart(text):
			open = &block{start: offset, eol: LF}
			if bytes.HasSuffix(line, []byte(CRLF)) {
				open.eol = CRLF
			}
			body = next
			_, notes, _ := strings.Cut(text, "(")
			fields := strings.Split(strings.TrimSuffix(notes, ")"), ", ")
			sum = fields[0]
			for _, note := range fields[1:] {
				open.joined = open.joined || note == noteJoined
				open.created = open.created || note == noteCreated
			}
		}
		offset = next
	}
	if open != nil && body < len(content) && sumOf(content[body:]) == sum {
		open.end = len(content)
		blocks = append(blocks, *open)
	}
	return blocks
}

func isStart(text string) bool {
	rest, ok := strings.CutPrefix(text, startMarker)
	return ok && (rest == "" || rest[0] == ' ' || rest[0] == ':')
}

// sumOf is short: it guards against a mistake, not against an attack.
func sumOf(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:8])
}

func encode(entries []Entry, eol string, joined, created bool) []byte {
	var body bytes.Buffer
	for _, e := range entries {
		if e.Valid() {
			body.WriteString(e.Addr.String() + " " + e.Name + eol)
		}
	}
	notes := sumOf(body.Bytes())
	if joined {
		notes += ", " + noteJoined
	}
	if created {
		notes += ", " + noteCreated
	}
	return []byte(startText + "(" + notes + ")" + eol + body.String() + endMarker + eol)
}

// add returns the content with one section of these entries: where the section
// was, or at the end. The new lines end as most lines of the file do, or with
// eol if there are none. Entries that are not valid are left out. Without
// entries it is Remove. The section notes it if the file was created for it.
func add(content []byte, entries []Entry, eol string, created bool) ([]byte, error) {
	if len(entries) == 0 {
		return Remove(content)
	}
	if err := checkEncoding(content); err != nil {
		return nil, err
	}
	blocks := find(content)
	if len(blocks) == 1 {
		b := blocks[0]
		section := encode(entries, b.eol, b.joined, b.created)
		return bytes.Join([][]byte{content[:b.start], section, content[b.end:]}, nil), nil
	}
	for _, b := range blocks {
		created = created || b.created
	}
	content = cut(content, blocks)
	eol = dominant(content, eol)
	joined := len(content) > 0 && !bytes.Equal(content, bomUTF8) && content[len(content)-1] != '\n'
	front := content
	if joined {
		front = append(bytes.Clone(content), eol...)
	}
	return append(bytes.Clone(front), encode(entries, eol, joined, created)...), nil
}

// Remove returns the content without any section of ours.
func Remove(content []byte) ([]byte, error) {
	if err := checkEncoding(content); err != nil {
		return nil, err
	}
	return cut(content, find(content)), nil
}

// cut takes the blocks out. The line end in front of one goes too if we added
// it, unless somebody has written behind the section meanwhile.
func cut(content []byte, blocks []block) []byte {
	result := make([]byte, 0, len(content))
	from := 0
	for _, b := range blocks {
		result = append(result, content[from:b.start]...)
		if b.joined && b.end == len(content) {
			result = bytes.TrimSuffix(result, []byte(b.eol))
		}
		from = b.end
	}
	return append(result, content[from:]...)
}

// createdByUs is whether the file did not exist before the section did.
func createdByUs(content []byte) bool {
	for _, b := range find(content) {
		if b.created {
			return true
		}
	}
	return false
}

func checkEncoding(content []byte) error {
	for _, bom := range bomsWide {
		if bytes.HasPrefix(content, bom) {
			return ErrEncoding
		}
	}
	return nil
}

// dominant is the line end of most lines.
func dominant(content []byte, eol string) string {
	all := bytes.Count(content, []byte(LF))
	crlf := bytes.Count(content, []byte(CRLF))
	switch {
	case all == 0 || all == 2*crlf:
		return eol
	case 2*crlf > all:
		return CRLF
	default:
		return LF
	}
}
