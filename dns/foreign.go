package dns

import (
	"encoding/binary"
	"net/netip"
	"strings"
)

// UDPLimit is the largest answer over UDP that fits into one packet.
const UDPLimit = ednsSize

// Foreign says that a query is a good one and for a name that is none of ours:
// [Resolver.Answer] would refuse it, and a forwarder may have it. What is inside
// our suffixes is not foreign, whether or not there is such a name, nor is a
// reverse name of our prefixes, nor .onion.
func (r *Resolver) Foreign(message []byte) bool {
	if len(message) < headerLen || message[2]&(flagQR|0x78) != 0 {
		return false
	}
	var q query
	if !q.parse(message) || q.opt && q.version > 0 || q.qclass != classIN {
		return false
	}
	var v verdict
	r.current.Load().decide(&q, &v)
	if !v.foreign {
		return false
	}
	_, ours := r.reverse.find(q.name[:q.nameLen], &q.starts)
	return !ours
}

// ForeignPacket gives the query of a packet that [Resolver.AnswerPacket] would
// answer, if it is foreign. The query is a part of the packet.
func (r *Resolver) ForeignPacket(packet []byte) (message []byte, foreign bool) {
	payload, ok := acceptPacket(packet)
	if !ok || packet[6] != protocolUDP {
		return nil, false
	}
	message = payload[udpHeaderLen:]
	return message, r.Foreign(message)
}

// ReplyPacket appends the packet that takes an answer to where a packet of
// ForeignPacket came from.
func ReplyPacket(dst, packet, answer []byte) []byte {
	base := len(dst)
	dst = append(appendHeaders(dst, packet), answer...)
	complete(dst[base:])
	return dst
}

// Fit makes an answer of somebody else small enough for who asked, by leaving
// header, question and OPT. Limit is as for [Resolver.Answer]. The query is a
// foreign one.
func Fit(answer, message []byte, limit int) []byte {
	var q query
	if !q.parse(message) || len(answer) <= q.allowed(limit) {
		return answer
	}
	short := append(append([]byte(nil), answer[:headerLen]...), message[headerLen:q.end]...)
	binary.BigEndian.PutUint16(short[4:], 1)
	return q.truncate(short, 0, len(short), q.allowed(limit), int(answer[3]&15))
}

// Failure is the answer SERVFAIL to a foreign query.
func Failure(message []byte) []byte {
	var q query
	if !q.parse(message) {
		return nil
	}
	answer := append([]byte{message[0], message[1], flagQR | message[2]&flagRD, flagRA | rcodeServFail, 0, 1, 0, 0, 0, 0, 0, 0}, message[headerLen:q.end]...)
	return q.appendOPT(answer, 0, rcodeServFail)
}

// reverseZones are the zones below ip6.arpa of prefixes that end at a nibble;
// others begin at the next shorter one.
func reverseZones(prefixes []netip.Prefix) zones {
	names := make([]string, 0, len(prefixes))
	for _, prefix := range prefixes {
		if !prefix.Addr().Is6() {
			continue
		}
		const digits = "0123456789abcdef"
		addr := prefix.Addr().As16()
		var name strings.Builder
		for i := prefix.Bits()/4 - 1; i >= 0; i-- {
			name.WriteByte(digits[addr[i/2]>>(4*(1-i%2))&15])
			name.WriteByte('.')
		}
		names = append(names, name.String()+"ip6.arpa")
	}
	return newZones(names)
}
