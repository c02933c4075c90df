package forward

import (
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	miekg "github.com/miekg/dns"
)

// upstream is a name server on a loopback address, with the same port as the
// other ones of a test.
type upstream struct {
	addr netip.Addr
	// udp and tcp give the messages to send for a query; nil says nothing.
	udp, tcp func(query []byte) [][]byte
	asked    atomic.Int64
	streamed atomic.Int64
	packet   net.PacketConn
	listener net.Listener
	running  sync.WaitGroup
}

// forwarderFor starts servers at 127.0.0.1, 127.0.0.2 and so on.
func forwarderFor(t testing.TB, servers ...*upstream) *Forwarder {
	t.Helper()
	f := New(Config{Logger: slog.New(slog.DiscardHandler), Port: startServers(t, servers), Upstreams: func() []netip.Addr {
		var addrs []netip.Addr
		for _, s := range servers {
			addrs = append(addrs, s.addr)
		}
		return addrs
	}, Usable: func(netip.Addr) bool { return true }})
	t.Cleanup(f.Close)
	return f
}

// startServers has them all listen on one port, each on an address of its own.
func startServers(t testing.TB, servers []*upstream) uint16 {
	t.Helper()
	for i, s := range servers {
		s.addr = netip.AddrFrom4([4]byte{127, 0, 0, byte(i + 1)})
	}
	// A port that is free for UDP may be taken for TCP.
	port, err := listenAll(servers)
	for range 20 {
		if err == nil {
			break
		}
		port, err = listenAll(servers)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range servers {
		s.running.Go(s.serveUDP)
		s.running.Go(s.serveTCP)
		t.Cleanup(func() { s.packet.Close(); s.listener.Close(); s.running.Wait() })
	}
	return port
}

func listenAll(servers []*upstream) (port uint16, err error) {
	var open []io.Closer
	defer func() {
		for _, c := range open {
			if err != nil {
				c.Close()
			}
		}
	}()
	for _, s := range servers {
		if s.packet, err = net.ListenPacket("udp", netip.AddrPortFrom(s.addr, port).String()); err != nil {
			return 0, err
		}
		open = append(open, s.packet)
		port = netip.MustParseAddrPort(s.packet.LocalAddr().String()).Port()
		if s.listener, err = net.Listen("tcp", netip.AddrPortFrom(s.addr, port).String()); err != nil {
			return 0, err
		}
		open = append(open, s.listener)
	}
	return port, nil
}

func (s *upstream) serveUDP() {
	buffer := make([]byte, 65536)
	for {
		size, from, err := s.packet.ReadFrom(buffer)
		if err != nil {
			return
		}
		s.asked.Add(1)
		if s.udp != nil {
			for _, answer := range s.udp(buffer[:size]) {
				s.packet.WriteTo(answer, from)
			}
		}
	}
}

func (s *upstream) serveTCP() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.streamed.Add(1)
		s.running.Go(func() { s.serveConn(conn) })
	}
}

func (s *upstream) serveConn(conn net.Conn) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	var prefix [2]byte
	if _, err := io.ReadFull(conn, prefix[:]); err != nil {
		return
	}
	query := make([]byte, binary.BigEndian.Uint16(prefix[:]))
	if _, err := io.ReadFull(conn, query); err != nil {
		return
	}
	if s.tcp == nil {
		io.Copy(io.Discard, conn) // silence, until the other side gives up
		return
	}
	for _, answer := range s.tcp(query) {
		conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...))
	}
}

// says answers every query with so many TXT records of 200 bytes.
func says(records int, change func(*miekg.Msg)) func([]byte) [][]byte {
	return func(query []byte) [][]byte {
		asked := new(miekg.Msg)
		if asked.Unpack(query) != nil {
			return nil
		}
		answer := new(miekg.Msg).SetReply(asked)
		for range records {
			answer.Answer = append(answer.Answer, &miekg.TXT{
				Hdr: miekg.RR_Header{Name: asked.Question[0].Name, Rrtype: miekg.TypeTXT, Class: miekg.ClassINET, Ttl: 60}, Txt: []string{strings.Repeat("x", 200)},
			})
		}
		if opt := asked.IsEdns0(); opt != nil {
			answer.SetEdns0(opt.UDPSize(), opt.Do())
		}
		if change != nil {
			change(answer)
		}
		packed, err := answer.Pack()
		if err != nil {
			return nil
		}
		return [][]byte{packed}
	}
}

func rcode(code int) func([]byte) [][]byte {
	return says(0, func(m *miekg.Msg) { m.Rcode = code })
}

func question(size uint16) []byte {
	m := new(miekg.Msg).SetQuestion("Example.org.", miekg.TypeTXT)
	m.Id = 4711
	if size > 0 {
		m.SetEdns0(size, true)
	}
	packed, _ := m.Pack()
	return packed
}

// wait asks and waits for the answer.
func (f *Forwarder) wait(query []byte, limit int) (answer []byte, took time.Duration) {
	began, done := time.Now(), make(chan []byte, 1)
	f.Go(query, limit, func(a []byte) { done <- a })
	return <-done, time.Since(began)
}

// unpack also checks that it is an answer to the question.
func unpack(t *testing.T, answer []byte) *miekg.Msg {
	t.Helper()
	m := new(miekg.Msg)
	if err := m.Unpack(answer); err != nil {
		t.Fatalf("unpack %x: %v", answer, err)
	}
	if m.Id != 4711 || !m.Response || len(m.Question) != 1 || !strings.EqualFold(m.Question[0].Name, "example.org.") {
		t.Fatalf("not an answer to the question: %v", m)
	}
	return m
}
