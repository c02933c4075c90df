package platform

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func unhex(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const rtMetrics = `00000000 00000000 00000000 00000000 00000000 00000000 00000000
	00000000 00000000 00000000 00000000 00000000 00000000 00000000`

// linkIndex reads the index in a sockaddr_dl, 0 if there is none.
func linkIndex(b raw) int {
	if len(b) < linkData || b[1] != afLink {
		return 0
	}
	return int(host.Uint16(b[2:]))
}

// TestRouteRequestGolden: the bytes are those that golang.org/x/net/route makes
// of the same request, with its 1024 zeros at the end.
func TestRouteRequestGolden(t *testing.T) {
	tests := []struct {
		kind  byte
		dst   string
		index int
		name  string
		size  int
		want  string
	}{
		{rtmAdd, "fd60:627a:a42b::/48", 15, "utun4", 1188, `a4040501 00000000 01880000 07000000 92100000 07000000 00000000 00000000 00000000` + rtMetrics + `
			1c1e0000 00000000 fd60627a a42b0000 00000000 00000000 00000000
			0d120f00 00050000 7574756e 34000000
			1c1e0000 00000000 ffffffff ffff`},
		{rtmDelete, "fd60:627a:a42b::/48", 300, "utun12", 1188, `a4040502 00000000 01880000 07000000 92100000 07000000 00000000 00000000 00000000` + rtMetrics + `
			1c1e0000 00000000 fd60627a a42b0000 00000000 00000000 00000000
			0e122c01 00060000 7574756e 31320000
			1c1e0000 00000000 ffffffff ffff`},
		{rtmAdd, "100.64.0.0/10", 15, "utun4", 1164, `8c040501 00000000 01880000 07000000 92100000 07000000 00000000 00000000 00000000` + rtMetrics + `
			10020000 64400000 00000000 00000000
			0d120f00 00050000 7574756e 34000000
			10020000 ffc0`},
	}
	for _, test := range tests {
		got := encodeRoute(test.kind, netip.MustParsePrefix(test.dst), test.index, test.name, 4242, 7)
		if len(got) != test.size {
			t.Errorf("%s: %d bytes, want %d", test.dst, len(got), test.size)
		}
		if want := unhex(t, test.want); !bytes.Equal(bytes.TrimRight(got, "\x00"), want) {
			t.Errorf("%s: got\n%x\nwant\n%x", test.dst, bytes.TrimRight(got, "\x00"), want)
		}
	}
}

// dumped is a message as the kernel has it in a dump: type RTM_GET, addresses
// short of their trailing zeros.
func dumped(flags uint32, index int, present byte, addrs string, t testing.TB) []byte {
	body := unhex(t, addrs)
	m := make([]byte, routeHeader, routeHeader+len(body))
	m = append(m, body...)
	host.PutUint16(m, uint16(len(m)))
	m[2], m[3] = rtmVersion, rtmGet
	host.PutUint16(m[4:], uint16(index))
	host.PutUint32(m[8:], flags)
	m[12] = present
	return m
}

// TestDecodeCaptured reads what Macs have sent, as far as reports on the Go
// library show it (golang/go#70528 and the messages beside its tests).
func TestDecodeCaptured(t *testing.T) {
	tests := []struct {
		name    string
		message []byte
		dst     string
		index   int
		gateway string
	}{
		{
			"a whole message: scoped default route, addresses of length 0",
			unhex(t, `84000504 01000000 03080001 15000000 1b010000 f55a0000 03000000 00000000 00000000`+rtMetrics+`
				10020000 00000000 00000000 00000000 00020000 14120000 00000000 00000000 00000000 00000000`),
			"0.0.0.0/0", 1, "",
		},
		{
			"IPv4 network on a link, mask without a family",
			dumped(rtfUp, 4, 7, `10020000 c0a85600 00000000 00000000 14120400 06000000 00000000 00000000 00000000 07ffffff ffffff00`, t),
			"192.168.86.0/24", 4, "",
		},
		{
			"another VPN's network, named",
			dumped(rtfUp, 33, 7, `10020000 64710000 00000000 00000000 14122100 01080000 7574756e 34333139 00000000 06020000 ffff0000`, t),
			"100.113.0.0/16", 33, "",
		},
		{
			"IPv6 network, gateway with the index inside",
			dumped(rtfUp|rtfGateway, 33, 7, `1c1e0000 00000000 fd841b4e 62810000 00000000 00000000 00000000
				1c1e0000 00000000 fe800021 00000000 f22f4bff fe093bff 00000000 0e1e0000 00000000 ffffffff ffff0000`, t),
			"fd84:1b4e:6281::/48", 33, "fe80::f22f:4bff:fe09:3bff",
		},
		{
			"IPv6 default route, mask of two bytes",
			dumped(rtfUp|rtfGateway, 13, 7, `1c1e0000 00000000 00000000 00000000 00000000 00000000 00000000
				1c1e0000 00000000 fe800000 00000000 02d04cff fe1015d2 00000000 021e0000`, t),
			"::/0", 13, "fe80::2d0:4cff:fe10:15d2",
		},
		{
			"destination of length 0",
			dumped(rtfUp|rtfGateway, 33, 7, `001e0000 1c1e0000 00000000 fe800021 00000000 f22f4bff fe093bff 00000000
				0e1e0000 00000000 ffffffff ffff0000`, t),
			"::/48", 33, "fe80::f22f:4bff:fe09:3bff",
		},
		{
			"host",
			dumped(rtfUp|rtfHost, 4, 1, `10020000 c0a85607 00000000 00000000`, t),
			"192.168.86.7/32", 4, "",
		},
	}
	for _, test := range tests {
		list := decode(test.message)
		if len(list) != 1 {
			t.Errorf("%s: %d messages", test.name, len(list))
			continue
		}
		m := list[0]
		gateway, ok := addrOf(m.addrs[rtaxGateway])
		if m.dst.String() != test.dst || m.index != test.index || ok != (test.gateway != "") || ok && gateway.String() != test.gateway {
			t.Errorf("%s: %s via %s on %d", test.name, m.dst, gateway, m.index)
		}
	}
}

// addressMessage is an ifa_msghdr with the name of its interface.
func addressMessage(kind byte, index int, name string) []byte {
	m := make([]byte, addressHeader)
	m = appendLink(m, index, name)
	host.PutUint16(m, uint16(len(m)))
	m[2], m[3] = rtmVersion, kind
	host.PutUint32(m[4:], 1<<rtaxIfp)
	host.PutUint16(m[12:], uint16(index))
	return m
}

// linkMessage is an if_msghdr with the name of its interface.
func linkMessage(index int, name string) []byte {
	m := make([]byte, linkHeader)
	m = appendLink(m, index, name)
	host.PutUint16(m, uint16(len(m)))
	m[2], m[3] = rtmVersion, rtmIfInfo
	host.PutUint32(m[4:], 1<<rtaxIfp)
	host.PutUint16(m[12:], uint16(index))
	return m
}

func TestDecodeLinksAndAddresses(t *testing.T) {
	stream := append(addressMessage(rtmNewAddr, 6, "en0"), linkMessage(300, "awdl0")...)
	stream = append(stream, 8, 0, rtmVersion, 0x63, 0, 0, 0, 0) // a type of another version's
	stream = append(stream, addressMessage(rtmDelAddr, 15, "utun4")...)
	list := decode(stream)
	if len(list) != 3 || list[0].link != "en0" || list[1].link != "awdl0" || list[1].index != 300 || list[2].index != 15 || list[2].kind != rtmDelAddr {
		t.Errorf("got %+v", list)
	}
	for cut := range stream { // torn anywhere: what was whole is read
		if got := decode(stream[:cut]); len(got) > 3 {
			t.Errorf("cut at %d: %d messages", cut, len(got))
		}
	}
}

// TestDecodeDamaged: an address that says it is longer than its message does
// not reach into the next one.
func TestDecodeDamaged(t *testing.T) {
	whole := dumped(rtfUp, 4, 1, `10020000 c0a85607 00000000 00000000`, t)
	for _, length := range []byte{17, 40, 200, 255} {
		damaged := slices.Clone(whole)
		damaged[routeHeader] = length
		list := decode(slices.Concat(damaged, whole))
		if len(list) != 1 {
			t.Errorf("length %d: %+v", length, list)
		}
	}
	if list := decode(whole); len(list) != 1 {
		t.Errorf("undamaged: %+v", list)
	}
}

// FuzzDecode: nothing that a kernel or anybody else sends does harm.
func FuzzDecode(f *testing.F) {
	f.Add(encodeRoute(rtmAdd, netip.MustParsePrefix("fd60:627a:a42b::/48"), 15, "utun4", 1, 1))
	f.Add(append(addressMessage(rtmNewAddr, 6, "en0"), linkMessage(7, "awdl0")...))
	f.Add(dumped(rtfUp, 4, 7, `10020000 c0a85600 00000000 00000000 14120400 06000000 00000000 00000000 00000000 07ffffff ffffff00`, f))
	f.Add([]byte{4, 0, 5, 1})
	f.Fuzz(func(t *testing.T, buffer []byte) {
		list := decode(buffer)
		if len(list) > len(buffer)/addressHeader {
			t.Errorf("%d messages in %d bytes", len(list), len(buffer))
		}
		for _, m := range list {
			route := m.kind <= rtmGet || m.kind == rtmGet2
			if route && (!m.dst.IsValid() || m.dst.Masked() != m.dst) {
				t.Errorf("a route to %v", m.dst)
			}
			_ = linkIndex(m.addrs[rtaxGateway])
		}
		planRoutes(list, nil, 1)
		sortMessages(list, 1, 1, func(int) string { return "" })
	})
}

// FuzzRouteRequest: what is asked for is what a reader of the request reads.
func FuzzRouteRequest(f *testing.F) {
	f.Add([]byte{0xfd, 0x60}, uint8(48), uint16(15), "utun4")
	f.Add([]byte{100, 64, 0, 0}, uint8(10), uint16(0), "")
	f.Fuzz(func(t *testing.T, ip []byte, bits uint8, index uint16, name string) {
		addr := netip.AddrFrom16([16]byte(append(ip, make([]byte, 16)...)[:16]))
		if len(ip) == 4 {
			addr = netip.AddrFrom4([4]byte(ip))
		}
		if len(name) > 15 || addr.IsLinkLocalUnicast() {
			t.Skip()
		}
		dst := netip.PrefixFrom(addr, int(bits)%(addr.BitLen()+1)).Masked()
		list := decode(encodeRoute(rtmAdd, dst, int(index), name, 77, 1))
		if len(list) != 1 || list[0].dst != dst || list[0].sender != 77 || list[0].flags&routeMark == 0 ||
			linkIndex(list[0].addrs[rtaxGateway]) != int(index) || linkName(list[0].addrs[rtaxGateway]) != name {
			t.Errorf("%s into %d %q became %+v", dst, index, name, list)
		}
	})
}
