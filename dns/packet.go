package dns

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// Numbers of RFC 8200, 768 and 4443.
const (
	ipv6HeaderLen = 40
	udpHeaderLen  = 8
	icmpHeaderLen = 8

	protocolUDP    = 17
	protocolICMPv6 = 58

	echoRequest = 128
	echoReply   = 129

	portDNS  = 53
	hopLimit = 64
)

// AnswerPacket takes a whole IPv6 packet that was sent to the service address
// and appends the whole reply, or returns dst as it was if there is none. It
// answers DNS queries to UDP port 53 and, so that the service can be pinged,
// ICMPv6 echo requests. Anything else is met with silence: extension headers
// (fragments among them), wrong lengths, wrong or missing checksums, a hop
// limit of zero, and source addresses that cannot be replied to. It does not
// allocate if dst has room; the slices must not overlap.
func (r *Resolver) AnswerPacket(dst, packet []byte) []byte {
	payload, ok := acceptPacket(packet)
	if !ok {
		return dst
	}
	protocol, base := packet[6], len(dst)
	dst = appendHeaders(dst, packet)
	if protocol == protocolUDP {
		before := len(dst)
		if dst = r.Answer(dst, payload[udpHeaderLen:], ednsSize); len(dst) == before {
			return dst[:base]
		}
	} else {
		dst = append(dst, payload[4:]...)
	}
	complete(dst[base:])
	return dst
}

// acceptPacket gives what is behind the IPv6 header of a packet that deserves
// an answer.
func acceptPacket(packet []byte) (payload []byte, ok bool) {
	if len(packet) < ipv6HeaderLen || packet[0]>>4 != 6 || packet[7] == 0 {
		return nil, false
	}
	size := int(binary.BigEndian.Uint16(packet[4:]))
	if len(packet) != ipv6HeaderLen+size || size < udpHeaderLen || !answerable(packet) {
		return nil, false
	}
	payload = packet[ipv6HeaderLen:]
	protocol := packet[6]
	switch {
	case protocol == protocolUDP:
		if binary.BigEndian.Uint16(payload) == 0 || binary.BigEndian.Uint16(payload[2:]) != portDNS ||
			int(binary.BigEndian.Uint16(payload[4:])) != size {
			return nil, false
		}
	case protocol == protocolICMPv6 && payload[0] == echoRequest && payload[1] == 0:
	default:
		return nil, false
	}
	// A checksum that comes out as zero should be sent as 0xffff, but one of
	// 65,536 queries has zero: upstream completes the kernel's partial checksums
	// without that exception (wireguard-go/tun, GSOSplit). A resolver repeats
	// the very same packet for two minutes. A missing checksum is not right.
	return payload, checksum(packet, protocol) == 0
}

// appendHeaders begins the reply to an accepted packet: its IPv6 header and the
// first bytes of what follows, lengths and checksum left open.
func appendHeaders(dst, packet []byte) []byte {
	protocol, payload := packet[6], packet[ipv6HeaderLen:]
	dst = append(dst, 0x60, 0, 0, 0, 0, 0, protocol, hopLimit)
	dst = append(append(dst, packet[24:40]...), packet[8:24]...)
	if protocol == protocolUDP {
		return append(dst, payload[2], payload[3], payload[0], payload[1], 0, 0, 0, 0)
	}
	return append(dst, echoReply, 0, 0, 0)
}

// complete fills in the lengths and the checksum of a reply.
func complete(reply []byte) {
	size, protocol, field := uint16(len(reply)-ipv6HeaderLen), reply[6], ipv6HeaderLen+2
	binary.BigEndian.PutUint16(reply[4:], size)
	if protocol == protocolUDP {
		field = ipv6HeaderLen + 6
		binary.BigEndian.PutUint16(reply[ipv6HeaderLen+4:], size)
	}
	sum := checksum(reply, protocol)
	if sum == 0 {
		sum = 0xffff // zero means "no checksum" in UDP
	}
	binary.BigEndian.PutUint16(reply[field:], sum)
}

// answerable is whether a reply with source and destination exchanged makes
// sense.
func answerable(packet []byte) bool {
	source := netip.AddrFrom16([16]byte(packet[8:24]))
	destination := netip.AddrFrom16([16]byte(packet[24:40]))
	return !source.IsMulticast() && !source.IsUnspecified() && !source.IsLoopback() &&
		!destination.IsMulticast() && !destination.IsUnspecified() && source != destination
}

// checksum is the internet checksum of a packet without extension headers, with
// its pseudo header. Over a packet that carries a right checksum it is zero.
func checksum(packet []byte, protocol byte) uint16 {
	// One's complement addition does not mind the word size, nor the order of
	// addends: 64 bits at a time, carries added back, then folded.
	sum := uint64(len(packet)-ipv6HeaderLen) + uint64(protocol)
	carry := uint64(0)
	data := packet[8:]
	for ; len(data) >= 8; data = data[8:] {
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(data), carry)
	}
	if len(data) > 0 {
		var tail [8]byte
		copy(tail[:], data)
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(tail[:]), carry)
	}
	sum, carry = bits.Add64(sum, 0, carry)
	sum += carry
	sum = sum>>32 + sum&0xffffffff
	sum = sum>>32 + sum&0xffffffff
	sum = sum>>16 + sum&0xffff
	sum = sum>>16 + sum&0xffff
	return ^uint16(sum)
}
