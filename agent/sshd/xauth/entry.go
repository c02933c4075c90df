// Package xauth reads and writes Xauthority files, in which X clients look up
// the cookie of a display. Other programs that write the file, xauth(1) first
// of all, are kept out by the lock files that they know as well.
package xauth

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// FamilyLocal is the family of displays on this host; the address is then its
// host name. X clients take it for TCP to localhost, too.
const FamilyLocal = 256

// MagicCookie is the name of the protocol that everybody uses.
const MagicCookie = "MIT-MAGIC-COOKIE-1"

// Entry says what a client of one display proves its right with.
type Entry struct {
	Family  uint16
	Address string
	Number  string // of the display, in decimal
	Name    string // of the protocol
	Data    []byte
}

// sameDisplay says that the two entries cannot stand in a file together.
func (e Entry) sameDisplay(other Entry) bool {
	return e.Family == other.Family && e.Address == other.Address && e.Number == other.Number && e.Name == other.Name
}

func (e Entry) equal(other Entry) bool {
	return e.sameDisplay(other) && string(e.Data) == string(other.Data)
}

// errDamaged: the bytes are not those of an Xauthority file.
var errDamaged = errors.New("the file is damaged")

// Append adds the entry's bytes: the family, then four strings, each behind its
// length; all numbers have 16 bits, the high byte first.
func Append(to []byte, e Entry) ([]byte, error) {
	to = binary.BigEndian.AppendUint16(to, e.Family)
	for _, field := range []string{e.Address, e.Number, e.Name, string(e.Data)} {
		if len(field) > math.MaxUint16 {
			return nil, fmt.Errorf("encode xauthority entry: a field has %d bytes", len(field))
		}
		to = binary.BigEndian.AppendUint16(to, uint16(len(field)))
		to = append(to, field...)
	}
	return to, nil
}

// Parse reads a whole file.
func Parse(content []byte) ([]Entry, error) {
	var entries []Entry
	for len(content) > 0 {
		if len(content) < 2 {
			return nil, errDamaged
		}
		e := Entry{Family: binary.BigEndian.Uint16(content)}
		content = content[2:]
		var data string
		for _, field := range []*string{&e.Address, &e.Number, &e.Name, &data} {
			if len(content) < 2 {
				return nil, errDamaged
			}
			size := int(binary.BigEndian.Uint16(content))
			content = content[2:]
			if len(content) < size {
				return nil, errDamaged
			}
			*field, content = string(content[:size]), content[size:]
		}
		e.Data = []byte(data)
		entries = append(entries, e)
	}
	return entries, nil
}
