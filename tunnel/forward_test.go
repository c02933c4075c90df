package tunnel

import (
	"encoding/binary"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/causewayhq/causeway/dns"
	"github.com/causewayhq/causeway/proto"
)

func TestUpstreamUsable(t *testing.T) {
	for text, want := range map[string]bool{
		"192.0.2.1": true, "2001:db8::1": true, "fe80::1%eth0": true, "10.0.0.1": true,
		proto.DNSAddr.String(): false, "fd60:627a:a42b:1::1": false, "fd7a:115c:a1e0::53": false,
		"127.0.0.53": false, "0.0.0.0": false, "::": false, "::ffff:0.0.0.0": false, "::1": false, "::ffff:127.0.0.1": false,
	} {
		if got := upstreamUsable(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

// foreignPacket asks the service address for example.org.
func foreignPacket() []byte {
	message := append([]byte{0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}, "\x07example\x03org\x00\x00\x01\x00\x01"...)
	packet := append([]byte{6 << 4, 0, 0, 0, 0, 0, protocolUDP, 64}, make([]byte, 32)...)
	from, to := netip.MustParseAddr("fd60:627a:a42b::1").As16(), proto.DNSAddr.As16()
	copy(packet[8:], from[:])
	copy(packet[24:], to[:])
	packet = append(packet, 0x30, 0x39, 0, 53, 0, 0, 0, 0)
	packet = append(packet, message...)
	size := uint16(len(packet) - headerLen)
	binary.BigEndian.PutUint16(packet[4:], size)
	binary.BigEndian.PutUint16(packet[headerLen+4:], size)
	sum := uint32(size) + protocolUDP
	padded := append(packet[8:len(packet):len(packet)], 0)
	for i := 0; i+1 < len(padded); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(padded[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(packet[headerLen+6:], ^uint16(sum))
	return packet
}

// Without the setting, and without anybody to ask, all is as it was: refused.
func TestForwardingIsOptIn(t *testing.T) {
	nobody := func() []netip.Addr { return nil }
	ours := func() []netip.Addr { return []netip.Addr{proto.DNSAddr, netip.MustParseAddr("127.0.0.53")} }
	somebody := func() []netip.Addr { return []netip.Addr{netip.MustParseAddr("fe80::1%nosuch0")} } // nothing is sent
	for name, test := range map[string]struct {
		upstreams func() []netip.Addr
		forwarded bool
	}{"off": {nil, false}, "nobody to ask": {nobody, false}, "only ourselves": {ours, false}, "on": {somebody, true}} {
		t.Run(name, func(t *testing.T) {
			r := newResolver(ingredients{log: slog.New(slog.DiscardHandler), kept: saved{Suffix: "coder"}, upstreams: test.upstreams})
			packet := foreignPacket()
			if reply := r.dns.AnswerPacket(nil, packet); len(reply) == 0 || reply[headerLen+8+3]&15 != 5 {
				t.Fatalf("the resolver itself says %x", reply)
			}
			began := time.Now()
			if got := r.forwardPacket(packet); got != test.forwarded {
				t.Errorf("forwarded: %v", got)
			}
			if took := time.Since(began); took > 100*time.Millisecond {
				t.Errorf("the host's packets waited for %v", took)
			}
			r.forward.Close()
			done := make(chan []byte, 1)
			if got := r.forwardMessage(packet[forwardedHeaders:], func(answer []byte) { done <- answer }); got != test.forwarded {
				t.Errorf("forwarded over TCP: %v", got)
			} else if got && <-done != nil {
				t.Error("an answer after the end")
			}
			own := append([]byte{0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}, "\x04myws\x05coder\x00\x00\x1c\x00\x01"...)
			if r.forwardMessage(own, nil) || dns.Failure(own) == nil {
				t.Error("our own name is forwarded")
			}
		})
	}
}

// A forwarder that was asked for and cannot be had is told, and harms nothing.
func TestForwarderUnused(t *testing.T) {
	for name, test := range map[string]struct {
		mode  string
		asked bool
		want  bool
	}{
		"refused":   {hostsMode, true, true},
		"in use":    {"resolv.conf", true, false},
		"not asked": {hostsMode, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, newPlane(t), t.TempDir())
			r.host.mode, r.config.DNSForwarder = test.mode, test.asked
			r.start()
			status := r.waitState(Connected)
			if hint := problemOf(status, CodeForwarder); (hint != nil) != test.want {
				t.Errorf("problems %+v", status.Problems)
			}
		})
	}
}
