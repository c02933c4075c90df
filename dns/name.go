package dns

import "strings"

// maxName is the longest name in wire form, the final zero included (RFC 1035,
// 3.1).
const maxName = 255

// maxLabel is the longest label.
const maxLabel = 63

// appendWire appends the wire form of a dotted name in lower case. It reports
// false, with dst as it was, when the name cannot be a DNS name. The root is
// not a name here: nobody may become authoritative for everything.
func appendWire(dst []byte, name string) ([]byte, bool) {
	name = strings.TrimSuffix(name, ".")
	if name == "" || len(name)+2 > maxName {
		return dst, false
	}
	base := len(dst)
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > maxLabel {
			return dst[:base], false
		}
		dst = append(dst, byte(len(label)))
		for i := range len(label) {
			dst = append(dst, lower(label[i]))
		}
	}
	return append(dst, 0), true
}

// lower is the ASCII rule of RFC 4343: no other byte has a case.
func lower(b byte) byte {
	if 'A' <= b && b <= 'Z' {
		return b + ('a' - 'A')
	}
	return b
}

// labelStarts marks the offsets of a wire name at which a label begins. A
// suffix matches at these only, because a label may hold any byte, the length
// byte of another label included.
type labelStarts [4]uint64

func (s *labelStarts) mark(offset int)    { s[offset>>6&3] |= 1 << (offset & 63) }
func (s *labelStarts) at(offset int) bool { return s[offset>>6&3]&(1<<(offset&63)) != 0 }

// zones are wire names, the longest first.
type zones []string

// newZones leaves out what cannot be a zone.
func newZones(suffixes []string) zones {
	result := make(zones, 0, len(suffixes))
	for _, suffix := range suffixes {
		wire, ok := appendWire(nil, strings.TrimPrefix(suffix, "."))
		if !ok {
			continue
		}
		at := 0
		for at < len(result) && len(result[at]) >= len(wire) {
			at++
		}
		result = append(result, "")
		copy(result[at+1:], result[at:])
		result[at] = string(wire)
	}
	return result
}

// find returns the offset in the name at which the longest zone begins.
func (z zones) find(name []byte, starts *labelStarts) (int, bool) {
	for _, zone := range z {
		offset := len(name) - len(zone)
		if offset >= 0 && string(name[offset:]) == zone && starts.at(offset) {
			return offset, true
		}
	}
	return 0, false
}

// Lengths of a full reverse name: 32 nibble labels, and "ip6.arpa".
const (
	reverseNibbles = 32
	reverseTail    = "\x03ip6\x04arpa\x00"
	reverseLen     = 2*reverseNibbles + len(reverseTail)
)

// reverseAddr reads the address of a full reverse name in lower-case wire form.
func reverseAddr(name []byte) (addr [16]byte, ok bool) {
	if len(name) != reverseLen || string(name[2*reverseNibbles:]) != reverseTail {
		return addr, false
	}
	for i := range reverseNibbles {
		if name[2*i] != 1 {
			return addr, false
		}
		digit := name[2*i+1]
		switch {
		case '0' <= digit && digit <= '9':
			digit -= '0'
		case 'a' <= digit && digit <= 'f':
			digit -= 'a' - 10
		default:
			return addr, false
		}
		// The first label is the lowest nibble.
		addr[15-i/2] |= digit << (4 * (i % 2))
	}
	return addr, true
}
