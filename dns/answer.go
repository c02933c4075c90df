package dns

import "encoding/binary"

const (
	// ttl is short, as upstream's, so that a name follows its workspace at
	// once and nothing has to be flushed. Also the negative one.
	ttl = 2
	// ednsSize is the largest UDP answer and what we announce: with IPv6 and
	// UDP headers it fits the smallest MTU of IPv6, 1280.
	ednsSize = 1232
	// plainSize is the largest UDP answer without EDNS.
	plainSize = 512
	// maxMessage is what the length prefix of TCP can say.
	maxMessage = 65535
)

// Answer appends the answer to a query and returns the extended slice, or dst
// as it was if the query deserves silence: a response, or less than an id.
// limit is the largest message the transport takes, in bytes; 0 means TCP. Over
// UDP the client's own limit (512, or its EDNS size up to 1232) holds too. It
// does not allocate if dst has room, and does not keep the slices.
func (r *Resolver) Answer(dst, message []byte, limit int) []byte {
	if len(message) < 2 || len(message) > 2 && message[2]&flagQR != 0 {
		return dst
	}
	var q query
	var v verdict
	opcode, rd := byte(0), byte(0)
	if len(message) > 2 {
		opcode, rd = message[2]&0x78, message[2]&flagRD
	}
	wellFormed := q.parse(message)
	switch {
	case opcode != 0:
		v.rcode = rcodeNotImp // even if it is malformed: other opcodes have other formats
	case !wellFormed:
		v.rcode = rcodeFormErr
	case q.opt && q.version > 0:
		v.rcode = rcodeBadVers
	case q.qclass != classIN:
		v.rcode = rcodeRefused
	default:
		r.current.Load().decide(&q, &v)
	}
	base := len(dst)
	dst = append(dst, message[0], message[1], flagQR|flagAA|opcode|rd, flagRA|flagAD|byte(v.rcode&15),
		0, 0, 0, 0, 0, 0, 0, 0)
	if q.end > 0 {
		dst[base+5] = 1
		dst = append(dst, message[headerLen:q.end]...)
	}
	question := len(dst)
	dst = v.append(dst, base)
	dst = q.appendOPT(dst, base, v.rcode)
	allowed := q.allowed(limit)
	if len(dst)-base > allowed {
		dst = q.truncate(dst, base, question, allowed, v.rcode)
	}
	return dst
}

// allowed is the largest answer in bytes.
func (q *query) allowed(limit int) int {
	if limit <= 0 {
		return maxMessage
	}
	own := plainSize
	if q.opt {
		own = min(max(q.udpSize, plainSize), ednsSize)
	}
	return min(limit, own)
}

// truncate leaves header, question and OPT, as far as they fit, and says TC.
func (q *query) truncate(dst []byte, base, question, allowed, rcode int) []byte {
	if question-base > allowed {
		question = base + headerLen
		dst[base+5] = 0
	}
	dst = dst[:question]
	dst[base+2] |= flagTC
	clear(dst[base+6 : base+headerLen])
	if withOPT := q.appendOPT(dst, base, rcode); len(withOPT)-base <= allowed {
		return withOPT
	}
	dst[base+11] = 0
	return dst
}

// append writes the answer and authority sections of the message at base.
func (v *verdict) append(dst []byte, base int) []byte {
	switch v.answer {
	case typeAAAA:
		dst[base+7] = 1
		dst = append(dst, 0xc0, headerLen, 0, typeAAAA, 0, classIN, 0, 0, 0, ttl, 0, 16)
		dst = append(dst, v.addr[:]...)
	case typePTR:
		dst[base+7] = 1
		dst = append(dst, 0xc0, headerLen, 0, typePTR, 0, classIN, 0, 0, 0, ttl, 0, byte(len(v.target)))
		dst = append(dst, v.target...)
	case typeSOA:
		dst[base+7] = 1
		return v.appendSOA(dst)
	}
	if v.soa {
		dst[base+9] = 1
		dst = v.appendSOA(dst)
	}
	return dst
}

// Fields of our SOA records. Nothing transfers the zone, so that only the
// minimum has a meaning.
const (
	soaSerial  = 1
	soaRefresh = 3600
	soaRetry   = 600
	soaExpire  = 86400
)

// soaMailbox is the first label of the responsible mailbox.
const soaMailbox = "\x0ahostmaster"

// appendSOA writes the SOA of the zone, whose name is the end of the question
// name: owner, primary server and mailbox point there.
func (v *verdict) appendSOA(dst []byte) []byte {
	pointer := uint16(0xc000 | (headerLen + v.zone))
	dst = binary.BigEndian.AppendUint16(dst, pointer)
	dst = append(dst, 0, typeSOA, 0, classIN, 0, 0, 0, ttl, 0, byte(2+len(soaMailbox)+2+5*4))
	dst = binary.BigEndian.AppendUint16(dst, pointer)
	dst = append(dst, soaMailbox...)
	dst = binary.BigEndian.AppendUint16(dst, pointer)
	for _, field := range [5]uint32{soaSerial, soaRefresh, soaRetry, soaExpire, ttl} {
		dst = binary.BigEndian.AppendUint32(dst, field)
	}
	return dst
}

// appendOPT answers an OPT with ours, and the absence of one with none.
func (q *query) appendOPT(dst []byte, base, rcode int) []byte {
	if !q.opt {
		return dst
	}
	flags := byte(0)
	if q.dnssec {
		flags = 0x80
	}
	dst[base+11] = 1
	return append(dst, 0, 0, typeOPT, ednsSize>>8, ednsSize&0xff, byte(rcode>>4), 0, flags, 0, 0, 0)
}
