package dns

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	miekg "github.com/miekg/dns"
	"gvisor.dev/gvisor/pkg/tcpip"
	gvsum "gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

var clientAddr = netip.MustParseAddr("fd60:627a:a42b:7::1")

// makePacket builds a packet with an independent encoder; the checksum is that
// of UDP or ICMPv6.
func makePacket(protocol tcpip.TransportProtocolNumber, payload []byte) []byte {
	packet := make([]byte, header.IPv6MinimumSize+len(payload))
	source, destination := tcpip.AddrFrom16(clientAddr.As16()), tcpip.AddrFrom16(serviceAddr.As16())
	header.IPv6(packet).Encode(&header.IPv6Fields{
		PayloadLength: uint16(len(payload)), TransportProtocol: protocol, HopLimit: 64, SrcAddr: source, DstAddr: destination,
	})
	copy(packet[header.IPv6MinimumSize:], payload)
	fixChecksum(packet)
	return packet
}

func fixChecksum(packet []byte) {
	payload := packet[header.IPv6MinimumSize:]
	ip := header.IPv6(packet)
	at := 6
	if ip.TransportProtocol() == header.ICMPv6ProtocolNumber {
		at = 2
	}
	payload[at], payload[at+1] = 0, 0
	sum := header.PseudoHeaderChecksum(ip.TransportProtocol(), ip.SourceAddress(), ip.DestinationAddress(), uint16(len(payload)))
	sum = ^gvsum.Checksum(payload, sum)
	if sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(payload[at:], sum)
}

func udpPacket(message []byte) []byte {
	payload := make([]byte, header.UDPMinimumSize+len(message))
	header.UDP(payload).Encode(&header.UDPFields{SrcPort: 40000, DstPort: 53, Length: uint16(len(payload))})
	copy(payload[header.UDPMinimumSize:], message)
	return makePacket(header.UDPProtocolNumber, payload)
}

func echoPacket(data []byte) []byte {
	payload := append([]byte{128, 0, 0, 0, 1, 2, 3, 4}, data...)
	return makePacket(header.ICMPv6ProtocolNumber, payload)
}

// checkReply verifies headers and checksum with the independent decoder and
// returns the transport payload.
func checkReply(t *testing.T, request, reply []byte) []byte {
	t.Helper()
	ip := header.IPv6(reply)
	if !ip.IsValid(len(reply)) || int(ip.PayloadLength())+header.IPv6MinimumSize != len(reply) {
		t.Fatalf("invalid reply %x", reply)
	}
	asked := header.IPv6(request)
	if ip.SourceAddress() != asked.DestinationAddress() || ip.DestinationAddress() != asked.SourceAddress() || ip.HopLimit() != 64 {
		t.Fatalf("addresses or hop limit of the reply: %x", reply[:40])
	}
	payload := ip.Payload()
	sum := header.PseudoHeaderChecksum(ip.TransportProtocol(), ip.SourceAddress(), ip.DestinationAddress(), uint16(len(payload)))
	if gvsum.Checksum(payload, sum) != 0xffff {
		t.Fatalf("checksum of the reply %x", reply)
	}
	return payload
}

func TestAnswerPacket(t *testing.T) {
	r := published()
	// All lengths of the question, so that odd ones and all tails of the sum occur.
	for name := "x.coder"; len(name) < 60; name = "x" + name {
		request := udpPacket(ask(t, name, miekg.TypeAAAA, edns(0, false)))
		reply := r.AnswerPacket(nil, request)
		payload := header.UDP(checkReply(t, request, reply))
		if payload.SourcePort() != 53 || payload.DestinationPort() != 40000 || int(payload.Length()) != len(payload) {
			t.Fatalf("UDP header of the reply: %x", []byte(payload)[:8])
		}
		var m miekg.Msg
		if err := m.Unpack(payload.Payload()); err != nil || m.Rcode != miekg.RcodeNameError {
			t.Fatalf("%v %v", m.Rcode, err)
		}
	}
	for size := range 20 {
		data := bytes.Repeat([]byte{0xa5}, size)
		request := echoPacket(data)
		payload := checkReply(t, request, r.AnswerPacket(nil, request))
		if payload[0] != 129 || payload[1] != 0 || !bytes.Equal(payload[4:], append([]byte{1, 2, 3, 4}, data...)) {
			t.Fatalf("echo reply %x", payload)
		}
	}
}

func TestAnswerPacketSilence(t *testing.T) {
	query := ask(t, "myws.coder", miekg.TypeAAAA, nil)
	multicast, loopback := netip.MustParseAddr("ff02::1").As16(), netip.IPv6Loopback().As16()
	change := func(fix bool, change func([]byte)) []byte {
		packet := udpPacket(query)
		change(packet)
		if fix {
			fixChecksum(packet)
		}
		return packet
	}
	cases := map[string][]byte{
		"empty":               nil,
		"one byte":            {0x60},
		"header only":         udpPacket(query)[:40],
		"cut":                 udpPacket(query)[:60],
		"trailing byte":       append(udpPacket(query), 0),
		"version 4":           change(true, func(p []byte) { p[0] = 0x45 }),
		"hop limit 0":         change(true, func(p []byte) { p[7] = 0 }),
		"extension header":    change(false, func(p []byte) { p[6] = 0 }),
		"fragment":            change(false, func(p []byte) { p[6] = 44 }),
		"TCP":                 change(false, func(p []byte) { p[6] = 6 }),
		"bad checksum":        change(false, func(p []byte) { p[50] ^= 1 }),
		"no checksum":         change(false, func(p []byte) { p[46], p[47] = 0, 0 }),
		"other port":          change(true, func(p []byte) { p[43] = 54 }),
		"source port 0":       change(true, func(p []byte) { p[40], p[41] = 0, 0 }),
		"short UDP length":    change(true, func(p []byte) { p[45]-- }),
		"long UDP length":     change(true, func(p []byte) { p[45]++ }),
		"UDP length below 8":  change(true, func(p []byte) { p[45] = 7 }),
		"multicast source":    change(true, func(p []byte) { copy(p[8:24], multicast[:]) }),
		"unspecified source":  change(true, func(p []byte) { clear(p[8:24]) }),
		"loopback source":     change(true, func(p []byte) { copy(p[8:24], loopback[:]) }),
		"to multicast":        change(true, func(p []byte) { copy(p[24:40], multicast[:]) }),
		"from itself":         change(true, func(p []byte) { copy(p[8:24], p[24:40]) }),
		"response":            udpPacket(ask(t, "myws.coder", miekg.TypeAAAA, func(m *miekg.Msg) { m.Response = true })),
		"empty datagram":      udpPacket(nil),
		"echo reply":          func() []byte { p := echoPacket(nil); p[40] = 129; fixChecksum(p); return p }(),
		"echo, code 1":        func() []byte { p := echoPacket(nil); p[41] = 1; fixChecksum(p); return p }(),
		"echo, bad checksum":  func() []byte { p := echoPacket(nil); p[47] ^= 1; return p }(),
		"neighbour discovery": func() []byte { p := echoPacket(nil); p[40] = 135; fixChecksum(p); return p }(),
	}
	r := published()
	for title, packet := range cases {
		if got := r.AnswerPacket([]byte("x"), packet); string(got) != "x" {
			t.Errorf("%s: reply %x", title, got)
		}
	}
}

// TestZeroChecksum holds that a query is answered whose checksum happens to be
// zero and was not turned into 0xffff on its way through the device.
func TestZeroChecksum(t *testing.T) {
	r := published()
	message := ask(t, "myws.coder", miekg.TypeAAAA, nil)
	for id := range 1 << 16 {
		binary.BigEndian.PutUint16(message, uint16(id))
		packet := udpPacket(message)
		field := packet[header.IPv6MinimumSize+6:][:2]
		if binary.BigEndian.Uint16(field) != 0xffff {
			continue
		}
		field[0], field[1] = 0, 0
		if reply := r.AnswerPacket(nil, packet); len(reply) == 0 {
			t.Errorf("no answer to the query with id %d", id)
		}
		return
	}
	t.Fatal("no id gives this checksum")
}
