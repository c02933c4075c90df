package dns

import "encoding/binary"

// Numbers of RFC 1035, 2136, 3596 and 6891.
const (
	headerLen = 12

	typeSOA  = 6
	typePTR  = 12
	typeAAAA = 28
	typeOPT  = 41
	typeANY  = 255

	classIN = 1

	rcodeOK       = 0
	rcodeFormErr  = 1
	rcodeServFail = 2
	rcodeNXDomain = 3
	rcodeNotImp   = 4
	rcodeRefused  = 5
	rcodeBadVers  = 16

	flagQR = 0x80 // third byte of the header
	flagAA = 0x04
	flagTC = 0x02
	flagRD = 0x01
	flagRA = 0x80 // fourth byte
	flagAD = 0x20
)

// query is what the answer depends on.
type query struct {
	name    [maxName + 1]byte // wire form, lower case
	nameLen int
	starts  labelStarts
	// end is the offset behind the question, or 0 if there is none that can
	// be echoed.
	end    int
	qtype  uint16
	qclass uint16

	opt     bool // an OPT record was there
	version byte
	dnssec  bool // its DO bit, which RFC 3225 wants back
	udpSize int
}

// parse reads a whole query. It reports false when it is malformed; the
// question and the OPT record are set as far as it got.
func (q *query) parse(message []byte) bool {
	if len(message) < headerLen {
		return false
	}
	if binary.BigEndian.Uint16(message[4:]) != 1 || !q.parseQuestion(message) {
		return false
	}
	offset := q.end
	for section := 6; section < headerLen; section += 2 {
		// A count cannot make this loop longer than the message, for each
		// record takes at least eleven bytes of it.
		for range binary.BigEndian.Uint16(message[section:]) {
			next, ok := q.parseRecord(message, offset, section == 10)
			if !ok {
				return false
			}
			offset = next
		}
	}
	return offset == len(message)
}

// parseQuestion reads the one question. A compression pointer has nothing to
// point to there, so it is malformed.
func (q *query) parseQuestion(message []byte) bool {
	offset, length := headerLen, 0
	for {
		if offset >= len(message) {
			return false
		}
		size := int(message[offset])
		if size > maxLabel || length+size+1 > maxName || offset+1+size > len(message) {
			return false
		}
		q.starts.mark(length)
		q.name[length] = byte(size)
		for i := 1; i <= size; i++ {
			q.name[length+i] = lower(message[offset+i])
		}
		offset += size + 1
		length += size + 1
		if size == 0 {
			break
		}
	}
	if offset+4 > len(message) {
		return false
	}
	q.nameLen = length
	q.qtype = binary.BigEndian.Uint16(message[offset:])
	q.qclass = binary.BigEndian.Uint16(message[offset+2:])
	q.end = offset + 4
	return true
}

// parseRecord steps over one record and takes note of an OPT in the additional
// section.
func (q *query) parseRecord(message []byte, offset int, additional bool) (next int, ok bool) {
	start := offset
	offset, ok = skipName(message, offset)
	if !ok || offset+10 > len(message) {
		return 0, false
	}
	fixed := message[offset : offset+10]
	data := offset + 10
	next = data + int(binary.BigEndian.Uint16(fixed[8:]))
	if next > len(message) {
		return 0, false
	}
	if binary.BigEndian.Uint16(fixed) != typeOPT {
		return next, true
	}
	// RFC 6891, 6.1.1: at most one, at the root, in the additional section.
	if !additional || q.opt || message[start] != 0 || !wellFormedOptions(message[data:next]) {
		return 0, false
	}
	q.opt = true
	q.udpSize = int(binary.BigEndian.Uint16(fixed[2:]))
	q.version = fixed[5]
	q.dnssec = fixed[6]&0x80 != 0
	return next, true
}

// skipName returns the offset behind a name that may end in a pointer. Where it
// points to does not matter: no record but OPT is read.
func skipName(message []byte, offset int) (int, bool) {
	for length := 0; offset < len(message) && length < maxName; {
		size := int(message[offset])
		switch {
		case size == 0:
			return offset + 1, true
		case size >= 0xc0:
			return offset + 2, offset+2 <= len(message)
		case size > maxLabel:
			return 0, false
		}
		offset += size + 1
		length += size + 1
	}
	return 0, false
}

func wellFormedOptions(data []byte) bool {
	for len(data) > 0 {
		if len(data) < 4 {
			return false
		}
		size := 4 + int(binary.BigEndian.Uint16(data[2:]))
		if size > len(data) {
			return false
		}
		data = data[size:]
	}
	return true
}
