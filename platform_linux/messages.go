package platform

import "encoding/binary"

// Message types and attributes of rtnetlink(7), here by number so that the
// reader of messages has no build tag.
const (
	rtmNewLink  = 16
	rtmDelLink  = 17
	rtmNewAddr  = 20
	rtmDelAddr  = 21
	rtmNewRoute = 24
	rtmDelRoute = 25
	rtmNewRule  = 32
	rtmDelRule  = 33

	rtaOIF = 4

	rtTableLocal  = 255
	rtmFCloned    = 0x200
	rtnUnicast    = 1
	rtnBlackhole  = 6
	rtnProhibit   = 8 // with unreachable between the two
	familyIPv4    = 2
	familyIPv6    = 10
	headerLength  = 16
	linkLength    = 16 // struct ifinfomsg
	addressLength = 8  // struct ifaddrmsg
	routeLength   = 12 // struct rtmsg
)

// affected lists the indexes of the interfaces that a datagram of the link,
// address, route and rule groups tells of; 0 stands for a rule, and for a route
// without an interface. Routes of the local table and cache entries are left out: they
// follow from addresses and neighbours. Whatever is damaged ends the reading.
func affected(datagram []byte) []int {
	var list []int
	for len(datagram) >= headerLength {
		length := int(binary.NativeEndian.Uint32(datagram))
		if length < headerLength || length > len(datagram) {
			break
		}
		kind := binary.NativeEndian.Uint16(datagram[4:])
		body := datagram[headerLength:length]
		if index, ok := affectedBy(kind, body); ok {
			list = append(list, index)
		}
		datagram = datagram[min(align(length), len(datagram)):]
	}
	return list
}

func affectedBy(kind uint16, body []byte) (index int, ok bool) {
	switch kind {
	case rtmNewLink, rtmDelLink:
		if len(body) < linkLength {
			return 0, false
		}
		return int(int32(binary.NativeEndian.Uint32(body[4:]))), true
	case rtmNewAddr, rtmDelAddr:
		if len(body) < addressLength {
			return 0, false
		}
		return int(int32(binary.NativeEndian.Uint32(body[4:]))), true
	case rtmNewRoute, rtmDelRoute:
		if len(body) < routeLength {
			return 0, false
		}
		family, table, kind := body[0], body[4], body[7]
		flags := binary.NativeEndian.Uint32(body[8:])
		if family != familyIPv4 && family != familyIPv6 || table == rtTableLocal ||
			kind != rtnUnicast && (kind < rtnBlackhole || kind > rtnProhibit) || flags&rtmFCloned != 0 {
			return 0, false
		}
		return outInterface(body[routeLength:]), true
	case rtmNewRule, rtmDelRule:
		return 0, true
	}
	return 0, false
}

// outInterface finds RTA_OIF among a route's attributes.
func outInterface(attributes []byte) int {
	for len(attributes) >= 4 {
		length := int(binary.NativeEndian.Uint16(attributes))
		if length < 4 || length > len(attributes) {
			return 0
		}
		if binary.NativeEndian.Uint16(attributes[2:]) == rtaOIF && length >= 8 {
			return int(int32(binary.NativeEndian.Uint32(attributes[4:])))
		}
		attributes = attributes[min(align(length), len(attributes)):]
	}
	return 0
}

func align(length int) int { return (length + 3) &^ 3 }
