package tunnel

import (
	"encoding/binary"
	"log/slog"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/causewayhq/causeway/proto"
)

// queryPacket is a DNS question in UDP in IPv6, as the host would send it.
func queryPacket(t *testing.T, kept saved, name string) []byte {
	t.Helper()
	query := dnsmessage.Message{Header: dnsmessage.Header{ID: 99}, Questions: []dnsmessage.Question{
		{Name: dnsmessage.MustNewName(name), Type: dnsmessage.TypeAAAA, Class: dnsmessage.ClassINET},
	}}
	payload, err := query.Pack()
	if err != nil {
		t.Fatal(err)
	}
	packet := make([]byte, 48, 48+len(payload))
	packet[0], packet[nextHeader], packet[7] = 0x60, protocolUDP, 64
	binary.BigEndian.PutUint16(packet[4:], uint16(8+len(payload)))
	from, to := kept.address().Addr().As16(), proto.DNSAddr.As16()
	copy(packet[8:], from[:])
	copy(packet[24:], to[:])
	binary.BigEndian.PutUint16(packet[40:], 5353)
	binary.BigEndian.PutUint16(packet[42:], 53)
	binary.BigEndian.PutUint16(packet[44:], uint16(8+len(payload)))
	packet = append(packet, payload...)
	binary.BigEndian.PutUint16(packet[46:], udpSum(packet))
	return packet
}

func udpSum(packet []byte) uint16 {
	total := uint32(protocolUDP) + uint32(len(packet)-headerLen)
	for i := 8; i < len(packet); i += 2 {
		total += uint32(packet[i]) << 8
		if i+1 < len(packet) {
			total += uint32(packet[i+1])
		}
	}
	for total > 0xffff {
		total = total>>16 + total&0xffff
	}
	return ^uint16(total)
}

// The real data plane on a device without a kernel: a question that the host
// routes into the tunnel comes back answered.
func TestRealPartsAnswerThroughTheDevice(t *testing.T) {
	kept := full(t)
	dev := newDevice(&order{})
	engine, answers, err := realParts(ingredients{log: slog.New(slog.DiscardHandler), profile: profile(), device: dev, kept: kept, addresses: newAddressBook()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { answers.close(); _ = engine.Close() })
	answers.replace("coder", kept.Workspaces.MaxNames(), kept.Workspaces.Names("alice", "coder"))
	deadline := time.After(10 * time.Second)
	for {
		dev.in <- queryPacket(t, kept, "main.myws.me.coder.")
		select {
		case packet := <-dev.out:
			var answer dnsmessage.Message
			if len(packet) < 48 || answer.Unpack(packet[48:]) != nil {
				continue // something else that the engine says
			}
			record, ok := answer.Answers[0].Body.(*dnsmessage.AAAAResource)
			if !ok || record.AAAA != addrOf("main").As16() {
				t.Errorf("answer %v", answer)
			}
			return
		case <-time.After(time.Second): // the engine may not read yet
		case <-deadline:
			t.Fatal("no answer came out of the device")
		}
	}
}
