package platform

import (
	"encoding/binary"
	"net/netip"
)

// Numbers of route(4), from net/route.h and sys/socket.h of macOS, here so that
// reading and writing messages has no build tag.
const (
	rtmVersion = 5

	rtmAdd     = 0x1
	rtmDelete  = 0x2
	rtmChange  = 0x3
	rtmGet     = 0x4
	rtmNewAddr = 0xc
	rtmDelAddr = 0xd
	rtmIfInfo  = 0xe
	rtmIfInfo2 = 0x12
	rtmGet2    = 0x14

	rtfUp        = 0x1
	rtfGateway   = 0x2
	rtfHost      = 0x4
	rtfLLInfo    = 0x400
	rtfStatic    = 0x800
	rtfProto1    = 0x8000
	rtfWasCloned = 0x20000
	rtfIfScope   = 0x1000000

	rtaxDst     = 0
	rtaxGateway = 1
	rtaxNetmask = 2
	rtaxIfp     = 4
	rtaxCount   = 8

	afInet  = 2
	afLink  = 18
	afInet6 = 30
)

// Sizes in bytes, from the structures of the same headers.
const (
	routeHeader   = 92  // rt_msghdr, rt_msghdr2
	addressHeader = 20  // ifa_msghdr
	linkHeader    = 112 // if_msghdr
	link2Header   = 160 // if_msghdr2
	sockaddrIn    = 16  // sockaddr_in
	sockaddrIn6   = 28  // sockaddr_in6
	linkData      = 8   // where the name begins in a sockaddr_dl

	// routePadding follows the addresses of each request: without it macOS
	// writes past its end (golang.org/issue/22456).
	routePadding = 1024
)

// routeMark says that a route is ours: "protocol specific routing flag #1" of
// route(8), which macOS keeps and does not read. The other two are used by its
// own kernel.
const routeMark = rtfProto1

// host is the byte order of every Mac.
var host = binary.LittleEndian

// encodeRoute writes the request to add or delete an on-link route into an
// interface.
func encodeRoute(kind byte, dst netip.Prefix, index int, name string, pid, seq int) []byte {
	m := make([]byte, routeHeader, routeHeader+128+routePadding)
	m = appendAddr(m, dst.Addr())
	m = appendLink(m, index, name)
	m = appendAddr(m, maskOf(dst))
	m = append(m, make([]byte, routePadding)...)
	host.PutUint16(m, uint16(len(m)))
	m[2], m[3] = rtmVersion, kind
	host.PutUint32(m[8:], rtfUp|rtfStatic|routeMark)
	host.PutUint32(m[12:], 1<<rtaxDst|1<<rtaxGateway|1<<rtaxNetmask)
	host.PutUint32(m[16:], uint32(pid))
	host.PutUint32(m[20:], uint32(seq))
	return m
}

func maskOf(p netip.Prefix) netip.Addr {
	ones := netip.IPv6Unspecified().As16()
	for i := range p.Bits() {
		ones[i/8] |= 0x80 >> (i % 8)
	}
	if p.Addr().Is4() {
		return netip.AddrFrom4([4]byte(ones[:4]))
	}
	return netip.AddrFrom16(ones)
}

// appendAddr adds a sockaddr_in or a sockaddr_in6.
func appendAddr(m []byte, a netip.Addr) []byte {
	if a.Is4() {
		ip := a.As4()
		m = append(m, sockaddrIn, afInet, 0, 0)
		m = append(m, ip[:]...)
		return append(m, make([]byte, 8)...)
	}
	ip := a.As16()
	m = append(m, sockaddrIn6, afInet6, 0, 0, 0, 0, 0, 0)
	m = append(m, ip[:]...)
	return append(m, 0, 0, 0, 0)
}

// appendLink adds a sockaddr_dl, rounded up.
func appendLink(m []byte, index int, name string) []byte {
	length := linkData + len(name)
	m = append(m, byte(length), afLink, byte(index), byte(index>>8), 0, byte(len(name)), 0, 0)
	m = append(m, name...)
	return append(m, make([]byte, roundUp(length)-length)...)
}

// message is one of those that the kernel sends, or a dump consists of.
type message struct {
	kind   byte
	flags  uint32
	index  int            // of the interface, 0 if none
	sender int            // process that asked for it, 0 if none or unknown
	dst    netip.Prefix   // of a route
	link   string         // name of the interface, if it is told
	addrs  [rtaxCount]raw // as they came
}

// raw is a sockaddr as it came, four bytes at least. Its length byte may be less
// than its type has, and 0 (golang/go#70528).
type raw []byte

// decode reads the messages of a datagram or a dump. What it does not know it
// leaves out; what is damaged ends the reading: every length is checked against
// what is left, so that no input of the kernel's can do harm.
func decode(buffer []byte) []message {
	var list []message
	for len(buffer) >= 4 {
		length := int(host.Uint16(buffer))
		if length < 4 || length > len(buffer) {
			break
		}
		if m, ok := decodeOne(buffer[:length]); ok {
			list = append(list, m)
		}
		buffer = buffer[length:]
	}
	return list
}

func decodeOne(b []byte) (message, bool) {
	m := message{kind: b[3]}
	var header int
	var present uint32
	switch {
	case b[2] != rtmVersion:
		return m, false
	case len(b) >= routeHeader && (m.kind >= rtmAdd && m.kind <= rtmGet || m.kind == rtmGet2):
		header, m.index, present = routeHeader, int(host.Uint16(b[4:])), host.Uint32(b[12:])
		if m.kind != rtmGet2 { // there it is the count of references
			m.sender = int(int32(host.Uint32(b[16:])))
		}
	case len(b) >= addressHeader && (m.kind == rtmNewAddr || m.kind == rtmDelAddr):
		header, m.index, present = addressHeader, int(host.Uint16(b[12:])), host.Uint32(b[4:])
	case len(b) >= linkHeader && m.kind == rtmIfInfo:
		header, m.index, present = linkHeader, int(host.Uint16(b[12:])), host.Uint32(b[4:])
	case len(b) >= link2Header && m.kind == rtmIfInfo2:
		header, m.index, present = link2Header, int(host.Uint16(b[12:])), host.Uint32(b[4:])
	default:
		return m, false
	}
	m.flags = host.Uint32(b[8:])
	if !m.split(present, b[header:]) {
		return m, false
	}
	m.link = linkName(m.addrs[rtaxIfp])
	if m.kind <= rtmGet || m.kind == rtmGet2 {
		var ok bool
		if m.dst, ok = prefixOf(m.addrs[rtaxDst], m.addrs[rtaxNetmask], m.flags); !ok {
			return m, false
		}
	}
	return m, true
}

// split cuts the addresses apart: those whose bits are set follow each other,
// each with its length first, padded to four bytes, which is also what a length
// of 0 takes.
func (m *message) split(present uint32, b []byte) bool {
	for i := range m.addrs {
		if present&(1<<i) == 0 {
			continue
		}
		if len(b) == 0 {
			return false
		}
		length := max(int(b[0]), min(4, len(b)))
		if length > len(b) {
			return false
		}
		m.addrs[i] = b[:length]
		b = b[min(roundUp(length), len(b)):]
	}
	return true
}

func roundUp(length int) int { return (length + 3) &^ 3 }

// prefixOf reads the destination of a route. The kernel cuts trailing zeros off
// a mask, down to nothing for a default route.
func prefixOf(dst, mask raw, flags uint32) (netip.Prefix, bool) {
	addr, ok := addrOf(dst)
	if !ok {
		return netip.Prefix{}, false
	}
	if flags&rtfHost != 0 {
		return netip.PrefixFrom(addr, addr.BitLen()), true
	}
	start := 4 // of the address in a sockaddr_in
	if addr.Is6() {
		start = 8
	}
	bits := 0
	for i := start; i < len(mask) && bits == 8*(i-start) && bits < addr.BitLen(); i++ {
		for bit := byte(0x80); bit != 0 && mask[i]&bit != 0; bit >>= 1 {
			bits++
		}
	}
	return netip.PrefixFrom(addr, bits).Masked(), true
}

// addrOf reads a sockaddr that may be shorter than its type. The kernel keeps
// the interface's index in the second word of a link-local address.
func addrOf(b raw) (netip.Addr, bool) {
	if len(b) < 2 {
		return netip.Addr{}, false
	}
	switch b[1] {
	case afInet:
		var ip [4]byte
		copy(ip[:], b[min(4, len(b)):])
		return netip.AddrFrom4(ip), true
	case afInet6:
		var ip [16]byte
		copy(ip[:], b[min(8, len(b)):])
		if netip.AddrFrom16(ip).IsLinkLocalUnicast() {
			ip[2], ip[3] = 0, 0
		}
		return netip.AddrFrom16(ip), true
	}
	return netip.Addr{}, false
}

// linkName reads the name in a sockaddr_dl, "" if there is none.
func linkName(b raw) string {
	if len(b) < linkData || b[1] != afLink || linkData+int(b[5]) > len(b) {
		return ""
	}
	return string(b[linkData : linkData+int(b[5])])
}
