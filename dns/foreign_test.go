package dns

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	miekg "github.com/miekg/dns"
)

// Nothing of ours goes to a stranger, with a table or before there is one.
func TestForeign(t *testing.T) {
	full := New([]string{"coder"}, servicePrefix)
	full.Publish(NewTable([]string{"coder"}, 1, func(yield func(string, netip.Addr) bool) {
		yield("myws.coder", clientAddr)
	}, []netip.Prefix{servicePrefix}))
	empty := New([]string{"coder"}, servicePrefix)
	tests := []struct {
		name    string
		qtype   uint16
		change  func(*miekg.Msg)
		foreign bool
	}{
		{"example.org", miekg.TypeA, nil, true},
		{"example.org", miekg.TypeANY, edns(0, true), true},
		{"coder.example.org", miekg.TypeAAAA, nil, true},
		{"xcoder", miekg.TypeAAAA, nil, true},
		{".", miekg.TypeNS, nil, true},
		{reverse(t, netip.MustParseAddr("2001:db8::1")), miekg.TypePTR, nil, true},
		{reverse(t, netip.MustParseAddr("fd60:627a:a42c::1")), miekg.TypePTR, nil, true},
		{"1.2.0.192.in-addr.arpa", miekg.TypePTR, nil, true},
		{"coder", miekg.TypeAAAA, nil, false},
		{"CODER", miekg.TypeDS, nil, false},
		{"myws.coder", miekg.TypeAAAA, nil, false},
		{"myws.coder", miekg.TypeMX, nil, false},
		{"no.such.Coder", miekg.TypeA, nil, false},
		{"abc.onion", miekg.TypeA, nil, false},
		{reverse(t, clientAddr), miekg.TypePTR, nil, false},
		{reverse(t, clientAddr), miekg.TypeTXT, nil, false},
		{"b.2.4.a.a.7.2.6.0.6.d.f.ip6.arpa", miekg.TypeSOA, nil, false},
		{"example.org", miekg.TypeA, func(m *miekg.Msg) { m.Opcode = miekg.OpcodeNotify }, false},
		{"example.org", miekg.TypeA, func(m *miekg.Msg) { m.Response = true }, false},
		{"example.org", miekg.TypeA, func(m *miekg.Msg) { m.Question[0].Qclass = miekg.ClassCHAOS }, false},
		{"example.org", miekg.TypeA, edns(1, false), false},
	}
	for _, test := range tests {
		for which, resolver := range map[string]*Resolver{"with a table": full, "before there is one": empty} {
			query := ask(t, test.name, test.qtype, test.change)
			if got := resolver.Foreign(query); got != test.foreign {
				t.Errorf("%s %s, %s: foreign is %v", test.name, miekg.TypeToString[test.qtype], which, got)
			}
		}
	}
	for _, broken := range [][]byte{nil, {0, 1}, ask(t, "example.org", miekg.TypeA, nil)[:20]} {
		if full.Foreign(broken) {
			t.Errorf("%x is foreign", broken)
		}
	}
}

func TestForeignPacketAndReply(t *testing.T) {
	r := New([]string{"coder"})
	query := ask(t, "example.org", miekg.TypeA, nil)
	packet := udpPacket(query)
	message, foreign := r.ForeignPacket(packet)
	if !foreign || !bytes.Equal(message, query) {
		t.Fatalf("%v %x", foreign, message)
	}
	answer := Failure(query)
	reply := ReplyPacket(nil, packet[:ipv6HeaderLen+udpHeaderLen], answer)
	if payload := checkReply(t, packet, reply); !bytes.Equal(payload[udpHeaderLen:], answer) {
		t.Errorf("%x", payload)
	}
	packet[len(packet)-1] ^= 1
	if _, foreign := r.ForeignPacket(packet); foreign {
		t.Error("a packet with a wrong checksum is forwarded")
	}
	if _, foreign := r.ForeignPacket(echoPacket(query)); foreign {
		t.Error("an echo request is forwarded")
	}
}

func TestFit(t *testing.T) {
	for _, do := range []func(*miekg.Msg){nil, edns(0, true)} {
		query := ask(t, "example.org", miekg.TypeTXT, do)
		long := new(miekg.Msg)
		if err := long.Unpack(query); err != nil {
			t.Fatal(err)
		}
		long.SetReply(long)
		long.Rcode = miekg.RcodeNameError
		for range 20 {
			long.Answer = append(long.Answer, &miekg.TXT{Hdr: miekg.RR_Header{Name: "example.org.", Rrtype: miekg.TypeTXT, Class: miekg.ClassINET}, Txt: []string{strings.Repeat("x", 200)}})
		}
		wire, err := long.Pack()
		if err != nil {
			t.Fatal(err)
		}
		if got := Fit(wire, query, 0); !bytes.Equal(got, wire) {
			t.Error("changed for TCP")
		}
		var short miekg.Msg
		if err := short.Unpack(Fit(wire, query, UDPLimit)); err != nil {
			t.Fatal(err)
		}
		if !short.Truncated || short.Id != 0xbeef || len(short.Answer) != 0 || len(short.Question) != 1 || short.Rcode != miekg.RcodeNameError || (short.IsEdns0() != nil) != (do != nil) {
			t.Errorf("got %v", &short)
		}
	}
}

func FuzzForeign(f *testing.F) {
	f.Add(ask(f, "example.org", miekg.TypeA, edns(0, true)))
	f.Add(ask(f, "myws.coder", miekg.TypeAAAA, nil))
	r := New([]string{"coder"}, servicePrefix)
	f.Fuzz(func(t *testing.T, message []byte) {
		if !r.Foreign(message) {
			return
		}
		if answer := r.Answer(nil, message, 0); len(answer) < headerLen || answer[3]&15 != rcodeRefused {
			t.Fatalf("foreign, but answered with %x", answer)
		}
		if failure := Failure(message); len(failure) < headerLen || failure[3]&15 != rcodeServFail || failure[0] != message[0] {
			t.Fatalf("failure is %x", failure)
		}
	})
}
