package platform

import (
	"encoding/binary"
	"slices"
	"testing"
)

// message builds a netlink message; the length is filled in.
func message(kind uint16, body ...byte) []byte {
	m := make([]byte, headerLength, headerLength+len(body))
	binary.NativeEndian.PutUint16(m[4:], kind)
	m = append(m, body...)
	binary.NativeEndian.PutUint32(m, uint32(len(m)))
	return append(m, make([]byte, align(len(m))-len(m))...)
}

func number(n int32) []byte {
	return binary.NativeEndian.AppendUint32(nil, uint32(n))
}

func linkBody(index int32) []byte {
	return slices.Concat(make([]byte, 4), number(index), make([]byte, 8))
}

func addressBody(index int32) []byte {
	return slices.Concat([]byte{familyIPv6, 128, 0, 0}, number(index))
}

func routeBody(family, table, kind byte, flags int32, attributes ...byte) []byte {
	return slices.Concat([]byte{family, 48, 0, 0, table, 173, 0, kind}, number(flags), attributes)
}

func attribute(kind uint16, value ...byte) []byte {
	a := binary.NativeEndian.AppendUint16(nil, uint16(4+len(value)))
	a = binary.NativeEndian.AppendUint16(a, kind)
	a = append(a, value...)
	return append(a, make([]byte, align(len(a))-len(a))...)
}

func TestAffected(t *testing.T) {
	oif := func(n int32) []byte { return attribute(rtaOIF, number(n)...) }
	route := message(rtmNewRoute, routeBody(familyIPv6, 254, rtnUnicast, 0, slices.Concat(attribute(1, 1, 2, 3), oif(9))...)...)
	huge := message(rtmNewLink, linkBody(5)...)
	binary.NativeEndian.PutUint32(huge, 1<<31)
	tests := []struct {
		name     string
		datagram []byte
		want     []int
	}{
		{"link", message(rtmNewLink, linkBody(5)...), []int{5}},
		{"link gone", message(rtmDelLink, linkBody(5)...), []int{5}},
		{"address", message(rtmNewAddr, addressBody(6)...), []int{6}},
		{"address gone", message(rtmDelAddr, addressBody(6)...), []int{6}},
		{"route", route, []int{9}},
		{"several", slices.Concat(message(rtmNewLink, linkBody(5)...), route, message(rtmDelAddr, addressBody(6)...)), []int{5, 9, 6}},
		{"multipath route", message(rtmDelRoute, routeBody(familyIPv4, 254, rtnUnicast, 0)...), []int{0}},
		{"local table", message(rtmNewRoute, routeBody(familyIPv6, rtTableLocal, rtnUnicast, 0, oif(9)...)...), nil},
		{"cache entry", message(rtmNewRoute, routeBody(familyIPv6, 254, rtnUnicast, rtmFCloned, oif(9)...)...), nil},
		{"multicast route", message(rtmNewRoute, routeBody(familyIPv6, 254, 5, 0, oif(9)...)...), nil},
		{"route to nowhere", message(rtmNewRoute, routeBody(familyIPv6, 77, 7, 0)...), []int{0}},
		{"rule", message(rtmNewRule, 10), []int{0}},
		{"rule gone", message(rtmDelRule, 10), []int{0}},
		{"bridge", message(rtmNewRoute, routeBody(7, 254, rtnUnicast, 0, oif(9)...)...), nil},
		{"neighbour", message(28, make([]byte, 16)...), nil},
		{"short link", message(rtmNewLink, 1, 2, 3), nil},
		{"short address", message(rtmNewAddr, 1, 2, 3), nil},
		{"short route", message(rtmNewRoute, 10), nil},
		{"short attribute", message(rtmNewRoute, routeBody(familyIPv6, 254, rtnUnicast, 0, 1, 0, 4, 0)...), []int{0}},
		{"length too long", huge, nil},
		{"length too short", make([]byte, headerLength), nil},
		{"empty", nil, nil},
	}
	for _, test := range tests {
		if got := affected(test.datagram); !slices.Equal(got, test.want) {
			t.Errorf("%s: got %v, want %v", test.name, got, test.want)
		}
	}
}

func FuzzAffected(f *testing.F) {
	f.Add(message(rtmNewLink, linkBody(5)...))
	f.Add(message(rtmNewRoute, routeBody(familyIPv6, 254, rtnUnicast, 0, attribute(rtaOIF, number(9)...)...)...))
	f.Fuzz(func(t *testing.T, datagram []byte) {
		if n := len(affected(datagram)); n > len(datagram)/headerLength {
			t.Errorf("%d messages in %d bytes", n, len(datagram))
		}
	})
}
