package relay

import (
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"tailscale.com/net/stun"
)

func TestSTUN(t *testing.T) {
	for _, listen := range []string{"127.0.0.1:0", "[::1]:0", ":0"} {
		t.Run(listen, func(t *testing.T) {
			s, err := ListenSTUN(listen, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Skipf("no such address here: %v", err)
			}
			defer s.Close()
			target := s.Addr()
			if target.Addr().IsUnspecified() {
				target = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), target.Port())
			}
			conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(target))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(10 * time.Second))
			transaction := stun.NewTxID()
			// Noise is not answered, and does not end the service.
			for _, noise := range [][]byte{{}, {1}, make([]byte, 20), make([]byte, 1400), stun.Request(transaction)[:21], stun.Response(transaction, target)} {
				if _, err := conn.Write(noise); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := conn.Write(stun.Request(transaction)); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 1500)
			n, err := conn.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			got, addr, err := stun.ParseResponse(buf[:n])
			if err != nil || got != transaction {
				t.Fatalf("answer to %v: %v", got, err)
			}
			if want := conn.LocalAddr().(*net.UDPAddr).AddrPort(); addr != want {
				t.Errorf("told %v, is %v", addr, want)
			}
		})
	}
}

func TestSTUNRefusesABadAddress(t *testing.T) {
	for _, address := range []string{"nowhere", "127.0.0.1:99999", ""} {
		if s, err := ListenSTUN(address, slog.New(slog.DiscardHandler)); err == nil {
			s.Close()
			if address != "" {
				t.Errorf("listens on %q", address)
			}
		}
	}
	s, err := ListenSTUN("127.0.0.1:0", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := ListenSTUN(s.Addr().String(), slog.New(slog.DiscardHandler)); err == nil {
		t.Error("listens twice on one address")
	}
}

func FuzzSTUN(f *testing.F) {
	f.Add(stun.Request(stun.NewTxID()))
	f.Add([]byte("GET / HTTP/1.1"))
	from := netip.MustParseAddrPort("[::ffff:192.0.2.1]:7")
	f.Fuzz(func(t *testing.T, packet []byte) {
		answer := answerSTUN(packet, from)
		if answer == nil {
			return
		}
		if _, addr, err := stun.ParseResponse(answer); err != nil || addr.Addr().Is4In6() {
			t.Errorf("answer %x: %v", answer, err)
		}
	})
}
