package tcp53

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	miekg "github.com/miekg/dns"
	"go.uber.org/goleak"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"github.com/causewayhq/causeway/dns"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	serviceAddr = netip.MustParseAddr("fd60:627a:a42b::53")
	clientAddr  = netip.MustParseAddr("fd60:627a:a42b:7::1")
	agentAddr   = netip.MustParseAddr("fd60:627a:a42b:1:2:3:4:5")
)

// client is a second stack, joined to the server's by its two callbacks.
type client struct {
	server *Server
	stack  *stack.Stack
	link   *channel.Endpoint
	stop   context.CancelFunc
	pump   sync.WaitGroup
}

func start(t *testing.T, idle time.Duration) *client { return startForwarding(t, idle, nil) }

func startForwarding(t *testing.T, idle time.Duration, forward Forward) *client {
	t.Helper()
	resolver := dns.New([]string{"coder"})
	resolver.Publish(dns.NewTable([]string{"coder"}, 1, maps.All(map[string]netip.Addr{"myws.coder": agentAddr}), nil))
	c := &client{link: channel.New(512, mtu, "")}
	c.stack = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv6.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol},
	})
	if err := c.stack.CreateNIC(1, c.link); err != nil {
		t.Fatal(err)
	}
	addr := tcpip.ProtocolAddress{Protocol: ipv6.ProtocolNumber, AddressWithPrefix: tcpip.AddrFrom16(clientAddr.As16()).WithPrefix()}
	if err := c.stack.AddProtocolAddress(1, addr, stack.AddressProperties{}); err != nil {
		t.Fatal(err)
	}
	c.stack.SetRouteTable([]tcpip.Route{{Destination: header.IPv6EmptySubnet, NIC: 1}})
	server, err := newServer(serviceAddr, resolver, forward, func(packet []byte) error {
		p := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(packet)})
		c.link.InjectInbound(ipv6.ProtocolNumber, p)
		p.DecRef()
		return nil
	}, slog.New(slog.DiscardHandler), idle)
	if err != nil {
		t.Fatal(err)
	}
	c.server = server
	ctx, cancel := context.WithCancel(context.Background())
	c.stop = cancel
	c.pump.Go(func() {
		for {
			p := c.link.ReadContext(ctx)
			if p == nil {
				return
			}
			view := p.ToView()
			server.Deliver(view.AsSlice())
			view.Release()
			p.DecRef()
		}
	})
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		if err := server.Close(); err != nil {
			t.Error("second Close:", err)
		}
		server.Deliver(make([]byte, 100)) // must not panic or block
		c.stop()
		c.pump.Wait()
		c.stack.Destroy()
		c.link.Close()
	})
	return c
}

func (c *client) dial(port uint16) (*gonet.TCPConn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return gonet.DialContextTCP(ctx, c.stack, tcpip.FullAddress{NIC: 1, Addr: tcpip.AddrFrom16(serviceAddr.As16()), Port: port}, ipv6.ProtocolNumber)
}

func (c *client) mustDial(t *testing.T) *gonet.TCPConn {
	t.Helper()
	conn, err := c.dial(53)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

func query(name string) *miekg.Msg {
	m := new(miekg.Msg)
	return m.SetQuestion(name, miekg.TypeAAAA)
}

func framed(t *testing.T, m *miekg.Msg) []byte {
	t.Helper()
	wire, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(wire))), wire...)
}

// works asks one question on a new connection with an independent client.
func (c *client) works(t *testing.T) {
	t.Helper()
	conn := c.mustDial(t)
	defer conn.Close()
	answer, _, err := (&miekg.Client{Net: "tcp", Timeout: 20 * time.Second}).ExchangeWithConn(query("mYws.coder."), &miekg.Conn{Conn: conn})
	if err != nil {
		t.Fatalf("exchange: %v", err)
	}
	if len(answer.Answer) != 1 || !answer.Answer[0].(*miekg.AAAA).AAAA.Equal(agentAddr.AsSlice()) || answer.Question[0].Name != "mYws.coder." {
		t.Fatalf("answer %v", answer)
	}
}

// ended waits for the server to end the connection.
func ended(t *testing.T, conn net.Conn) {
	t.Helper()
	_, err := io.Copy(io.Discard, conn)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		t.Fatal("the server kept the connection open")
	}
}

func TestExchange(t *testing.T) {
	c := start(t, idleTimeout)
	for range 3 {
		c.works(t)
	}
}

func TestPipelining(t *testing.T) {
	c := start(t, idleTimeout)
	conn := c.mustDial(t)
	var all []byte
	const count = 300
	for i := range count {
		m := query("myws.coder.")
		m.Id = uint16(i)
		all = append(all, framed(t, m)...)
	}
	var writing sync.WaitGroup
	defer writing.Wait()
	writing.Go(func() {
		for len(all) > 0 { // in pieces that do not respect messages
			n := min(len(all), 97)
			if _, err := conn.Write(all[:n]); err != nil {
				t.Errorf("write: %v", err)
				return
			}
			all = all[n:]
		}
	})
	reader := &miekg.Conn{Conn: conn}
	for i := range count {
		answer, err := reader.ReadMsg()
		if err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
		if answer.Id != uint16(i) || len(answer.Answer) != 1 {
			t.Fatalf("answer %d: %v", i, answer)
		}
	}
}

func TestOtherPortsAreReset(t *testing.T) {
	c := start(t, idleTimeout)
	for _, port := range []uint16{1, 52, 54, 80, 443} {
		began := time.Now()
		if conn, err := c.dial(port); err == nil {
			conn.Close()
			t.Errorf("port %d accepted a connection", port)
		} else if time.Since(began) > 15*time.Second {
			t.Errorf("port %d: no reset, but %v", port, err)
		}
	}
}

func TestHostileMessages(t *testing.T) {
	for title, bytes := range map[string][]byte{
		"empty message":      {0, 0},
		"no id":              {0, 1, 7},
		"a response":         {0, 12, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0},
		"too long a message": {0xff, 0xff, 1, 2, 3},
		"text":               []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
	} {
		t.Run(title, func(t *testing.T) {
			c := start(t, idleTimeout)
			conn := c.mustDial(t)
			if _, err := conn.Write(bytes); err != nil {
				t.Fatal(err)
			}
			ended(t, conn)
			c.works(t)
		})
	}
}

func TestMalformedMessageGetsAnAnswer(t *testing.T) {
	c := start(t, idleTimeout)
	conn := c.mustDial(t)
	if _, err := conn.Write([]byte{0, 3, 0xbe, 0xef, 0}); err != nil {
		t.Fatal(err)
	}
	answer, err := (&miekg.Conn{Conn: conn}).ReadMsg()
	if err != nil || answer.Id != 0xbeef || answer.Rcode != miekg.RcodeFormatError {
		t.Fatalf("%v %v", answer, err)
	}
}

// TestSlowClients opens connections that never finish a message; each ends by
// itself.
func TestSlowClients(t *testing.T) {
	c := start(t, 100*time.Millisecond)
	for _, beginning := range [][]byte{nil, {0}, {0, 40}, {0, 40, 1, 2, 3}} {
		conn := c.mustDial(t)
		if _, err := conn.Write(beginning); err != nil {
			t.Fatal(err)
		}
		ended(t, conn)
	}
}

// TestConnectionLimit holds all connections and sees the next one refused, and
// accepted again when one has gone.
func TestConnectionLimit(t *testing.T) {
	c := start(t, 5*time.Minute)
	var conns []net.Conn
	for range maxConns {
		conn := c.mustDial(t)
		if _, err := conn.Write(framed(t, query("myws.coder."))); err != nil {
			t.Fatal(err)
		}
		if _, err := (&miekg.Conn{Conn: conn}).ReadMsg(); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	ended(t, c.mustDial(t))
	conns[0].Close()
	deadline := time.Now().Add(20 * time.Second)
	for {
		c.server.mu.Lock()
		open := len(c.server.conns)
		c.server.mu.Unlock()
		if open < maxConns {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the server does not notice a closed connection")
		}
		time.Sleep(5 * time.Millisecond)
	}
	c.works(t)
}

// TestHalfOpen sends SYNs from made-up ports and answers none of the replies.
func TestHalfOpen(t *testing.T) {
	c := start(t, idleTimeout)
	for i := range 5000 {
		c.server.Deliver(syn(uint16(1024 + i)))
	}
	c.works(t)
}

// syn is a first packet of a connection that the client's stack knows nothing of.
func syn(port uint16) []byte {
	source, destination := netip.MustParseAddr("fd60:627a:a42b:9::9").As16(), serviceAddr.As16()
	packet := make([]byte, header.IPv6MinimumSize+header.TCPMinimumSize)
	ip := header.IPv6(packet)
	ip.Encode(&header.IPv6Fields{PayloadLength: header.TCPMinimumSize, TransportProtocol: tcp.ProtocolNumber, HopLimit: 64,
		SrcAddr: tcpip.AddrFrom16(source), DstAddr: tcpip.AddrFrom16(destination)})
	segment := header.TCP(ip.Payload())
	segment.Encode(&header.TCPFields{SrcPort: port, DstPort: 53, SeqNum: 7, DataOffset: header.TCPMinimumSize, Flags: header.TCPFlagSyn, WindowSize: 1000})
	segment.SetChecksum(^segment.CalculateChecksum(header.PseudoHeaderChecksum(tcp.ProtocolNumber, ip.SourceAddress(), ip.DestinationAddress(), header.TCPMinimumSize)))
	return packet
}

// TestDeliverNeverBlocks has a host that takes no packet: the queues fill, and
// Deliver goes on dropping.
func TestDeliverNeverBlocks(t *testing.T) {
	release := make(chan struct{})
	server, err := New(serviceAddr, dns.New(nil), nil, func([]byte) error { <-release; return errors.New("nobody reads") }, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for i := range 20_000 {
		server.Deliver(syn(uint16(i)))
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("20,000 packets took %v", took)
	}
	close(release)
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestDeliverGarbage(t *testing.T) {
	c := start(t, idleTimeout)
	good := syn(4000)
	for size := range len(good) {
		c.server.Deliver(good[:size])
	}
	for at := range good {
		for _, value := range []byte{0, 0xff, good[at] ^ 1} {
			bad := append([]byte(nil), good...)
			bad[at] = value
			c.server.Deliver(bad)
			c.server.Deliver(append(bad, make([]byte, 2000)...))
		}
	}
	c.works(t)
}

// TestCloseWithOpenConnections is for the leak check of TestMain.
func TestCloseWithOpenConnections(t *testing.T) {
	c := start(t, 5*time.Minute)
	for range 20 {
		conn := c.mustDial(t)
		if _, err := conn.Write([]byte{0, 40}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNewRefusesIPv4(t *testing.T) {
	if _, err := New(netip.MustParseAddr("127.0.0.53"), dns.New(nil), nil, nil, slog.New(slog.DiscardHandler)); err == nil {
		t.Fatal("no error")
	}
}
