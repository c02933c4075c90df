package dns

import (
	"bytes"
	"strings"
	"testing"

	miekg "github.com/miekg/dns"
)

func FuzzAnswer(f *testing.F) {
	for _, name := range []string{"main.myws.me.coder", "mAIN.myws.ME.coder", "nobody.coder", "coder", "example.com", "x.onion",
		"5.0.0.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.b.2.4.a.a.7.2.6.0.6.d.f.ip6.arpa"} {
		for _, qtype := range []uint16{miekg.TypeAAAA, miekg.TypeA, miekg.TypePTR, miekg.TypeANY, miekg.TypeSOA} {
			f.Add(ask(f, name, qtype, nil), 0)
			f.Add(ask(f, name, qtype, edns(0, true)), 1232)
			f.Add(ask(f, name, qtype, edns(1, false)), 40)
		}
	}
	f.Add([]byte("\xbe\xef\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x0c\x00\x1c\x00\x01"), 512)
	r := published()
	f.Fuzz(func(t *testing.T, message []byte, limit int) {
		kept := bytes.Clone(message)
		got := r.Answer([]byte("before"), message, limit)
		if !bytes.Equal(kept, message) {
			t.Fatal("the query was written to")
		}
		if !strings.HasPrefix(string(got), "before") {
			t.Fatal("what stood before the answer was written to")
		}
		checkAnswer(t, message, got[6:], limit)
	})
}

// checkAnswer holds for every answer to any bytes.
func checkAnswer(t *testing.T, message, answer []byte, limit int) {
	t.Helper()
	silent := len(message) < 2 || len(message) > 2 && message[2]&0x80 != 0
	if silent != (len(answer) == 0) {
		t.Fatalf("silence %t to %x", len(answer) == 0, message)
	}
	if silent {
		return
	}
	if !bytes.Equal(answer[:2], message[:2]) {
		t.Fatalf("id %x became %x", message[:2], answer[:2])
	}
	if limit > 0 && len(answer) > max(limit, headerLen) || len(answer) > plainSize {
		t.Fatalf("%d bytes with a limit of %d", len(answer), limit)
	}
	var decoded miekg.Msg
	if err := decoded.Unpack(answer); err != nil {
		t.Fatalf("decode answer %x to %x: %v", answer, message, err)
	}
	if !decoded.Response || !decoded.Authoritative || !decoded.RecursionAvailable || !decoded.AuthenticatedData || decoded.CheckingDisabled || decoded.Zero {
		t.Fatalf("flags of %x", answer[:4])
	}
	if len(decoded.Question) == 1 {
		end := headerLen
		for message[end] != 0 {
			end += int(message[end]) + 1
		}
		if end += 5; !bytes.HasPrefix(answer[headerLen:], message[headerLen:end]) {
			t.Fatalf("question %x became %x", message[headerLen:end], answer[headerLen:])
		}
	}
	// Whatever an independent decoder takes for an ordinary query has its
	// question echoed, unless there was no room.
	var asked miekg.Msg
	if asked.Unpack(message) == nil && len(asked.Question) == 1 && asked.Opcode == miekg.OpcodeQuery && !decoded.Truncated &&
		len(decoded.Question) == 0 && wholeQuestion(message) {
		t.Fatalf("the question of %x was not echoed", message)
	}
}

// wholeQuestion is whether the question has all its bytes and no compression
// pointer: the other decoder is lenient about both.
func wholeQuestion(message []byte) bool {
	at := headerLen
	for at < len(message) && message[at] != 0 {
		if message[at] > maxLabel {
			return false
		}
		at += int(message[at]) + 1
	}
	return at+5 <= len(message)
}

func FuzzAnswerPacket(f *testing.F) {
	query := ask(f, "myws.coder", miekg.TypeAAAA, edns(0, false))
	f.Add(udpPacket(query), true)
	f.Add(udpPacket(query[:1]), false)
	f.Add(echoPacket([]byte("hello")), false)
	f.Add([]byte{0x60}, false)
	r := published()
	f.Fuzz(func(t *testing.T, packet []byte, fix bool) {
		// Random bytes hardly ever have a right checksum: give them one, so
		// that the fuzzer gets behind it.
		if fix && len(packet) >= 48 && (packet[6] == protocolUDP || packet[6] == protocolICMPv6) {
			fixChecksum(packet)
		}
		kept := bytes.Clone(packet)
		reply := r.AnswerPacket(nil, packet)
		if !bytes.Equal(kept, packet) {
			t.Fatal("the packet was written to")
		}
		if len(reply) == 0 {
			return
		}
		payload := checkReply(t, packet, reply)
		if packet[6] == protocolUDP {
			checkAnswer(t, packet[48:], payload[8:], ednsSize)
		}
	})
}
