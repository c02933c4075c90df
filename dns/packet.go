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
	if len(packet) < ipv6HeaderLen || packet[0]>>4 != 6 || packet[7] == 0 {
		return dst
	}
	size := int(binary.BigEndian.Uint16(packet[4:]))
	if len(packet) != ipv6HeaderLen+size || size < udpHeaderLen || !answerable(packet) {
		return dst
	}
	payload := packet[ipv6HeaderLen:]
	protocol := packet[6]
	base := len(dst)
	switch {
	case protocol == protocolUDP:
		if binary.BigEndian.Uint16(payload) == 0 || binary.BigEndian.Uint16(payload[2:]) != portDNS ||
			int(binary.BigEndian.Uint16(payload[4:])) != size {
			return dst
		}
	case protocol == protocolICMPv6 && payload[0] == echoRequest && payload[1] == 0:
	default:
		return dst
	}
	// A checksum that comes out as zero should be sent as 0xffff, but one of
	// 65,536 queries has zero: upstream completes the kernel's partial checksums
	// without that exception (wireguard-go/tun, GSOSplit). A resolver repeats
	// the very same packet for two minutes. A missing checksum is not right.
	if checksum(packet, protocol) != 0 {
		return dst
	}
	dst = append(dst, 0x60, 0, 0, 0, 0, 0, protocol, hopLimit)
	dst = append(append(dst, packet[24:40]...), packet[8:24]...)
	field := base + ipv6HeaderLen
	if protocol == protocolUDP {
		field += 6
		dst = append(dst, payload[2], payload[3], payload[0], payload[1], 0, 0, 0, 0)
		before := len(dst)
		dst = r.Answer(dst, payload[udpHeaderLen:], ednsSize)
		if len(dst) == before {
			return dst[:base]
		}
		binary.BigEndian.PutUint16(dst[base+ipv6HeaderLen+4:], uint16(len(dst)-base-ipv6HeaderLen))
	} else {
		field += 2
		dst = append(append(dst, echoReply, 0, 0, 0), payload[4:]...)
	}
	binary.BigEndian.PutUint16(dst[base+4:], uint16(len(dst)-base-ipv6HeaderLen))
	sum := checksum(dst[base:], protocol)
	if sum == 0 {
		sum = 0xffff // zero means "no checksum" in UDP
	}
	binary.BigEndian.PutUint16(dst[field:], sum)
	return dst
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
