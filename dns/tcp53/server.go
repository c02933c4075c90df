// Package tcp53 answers DNS over TCP at the service address, which no socket of
// the host is bound to: raw IPv6 packets come in through [Server.Deliver], go
// through a small TCP stack in this process, and leave through a callback.
//
// Every limit here is against a local program that misbehaves; ordinary clients
// use TCP only after a truncated answer or when told to.
package tcp53

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/causewayhq/causeway/dns"
)

const (
	port = 53
	nic  = 1
	// mtu is IPv6's minimum. Our SYN+ACK asks for segments that fit, hence a
	// longer packet is not one of an honest peer.
	mtu = 1280
	// queueLen packets wait on each side: a burst of all connections at once.
	// TCP repeats what is dropped beyond it.
	queueLen = 256
	// maxConns at a time; one more is closed as soon as it is open.
	maxConns = 128
	// idleTimeout is how long a client may take for its next whole message,
	// and for reading an answer.
	idleTimeout = 10 * time.Second
	// maxMessage is the longest query that is read. Ours fit in 512 bytes;
	// options of EDNS, padding among them, may add a few hundred.
	maxMessage = 4096
	// maxPending queries of one connection may be with the forwarder; the next
	// one is refused, so that none of ours waits behind it.
	maxPending = 16
	// socketBuffer holds some ten queries or answers per direction.
	socketBuffer = 16 << 10
	// closedTimeout is how long the stack remembers a closed connection, so
	// that a client that opens them in a row does not fill the memory.
	closedTimeout = 2 * time.Second
)

// Server owns the stack and all goroutines, which [Server.Close] waits for.
type Server struct {
	addr     netip.Addr
	resolver *dns.Resolver
	send     func(packet []byte) error
	logger   *slog.Logger
	idle     time.Duration
	forward  Forward

	stack    *stack.Stack
	link     *channel.Endpoint
	listener *gonet.TCPListener
	inbound  chan *stack.PacketBuffer
	done     context.Context
	stop     context.CancelFunc
	running  sync.WaitGroup // pumps
	serving  sync.WaitGroup // accept loop and connections

	mu     sync.Mutex
	closed bool
	conns  map[net.Conn]struct{}
}

// Forward takes a query that somebody else has to answer and calls done once,
// with nil if there will be no answer; done does not block. It reports false,
// and calls nothing, if the query is for the resolver.
type Forward func(query []byte, done func(answer []byte)) bool

// New starts a server for the address. Packets for the host go to send, one at
// a time and from one goroutine; it must not keep the slice, and Close waits
// for it to return. Forward may be nil.
func New(addr netip.Addr, r *dns.Resolver, forward Forward, send func(packet []byte) error, logger *slog.Logger) (*Server, error) {
	return newServer(addr, r, forward, send, logger, idleTimeout)
}

func newServer(addr netip.Addr, r *dns.Resolver, forward Forward, send func([]byte) error, logger *slog.Logger, idle time.Duration) (*Server, error) {
	if !addr.Is6() || addr.Is4In6() {
		return nil, fmt.Errorf("start DNS over TCP at %s: not an IPv6 address", addr)
	}
	s := &Server{
		addr: addr, resolver: r, send: send, logger: logger, idle: idle, forward: forward,
		link:    channel.New(queueLen, mtu, ""),
		inbound: make(chan *stack.PacketBuffer, queueLen),
		conns:   map[net.Conn]struct{}{},
	}
	s.done, s.stop = context.WithCancel(context.Background())
	if err := s.startStack(); err != nil {
		s.stop()
		s.stack.Destroy()
		return nil, fmt.Errorf("start DNS over TCP at %s: %w", addr, err)
	}
	s.running.Go(s.pumpIn)
	s.running.Go(s.pumpOut)
	s.serving.Go(s.accept)
	return s, nil
}

// startStack makes a stack that knows one address, TCP, and one listener: all
// other ports answer with a reset.
func (s *Server) startStack() error {
	s.stack = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv6.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol},
	})
	buffers := tcpip.TCPReceiveBufferSizeRangeOption{Min: 4096, Default: socketBuffer, Max: socketBuffer}
	sendBuffers := tcpip.TCPSendBufferSizeRangeOption(buffers)
	moderate := tcpip.TCPModerateReceiveBufferOption(false)
	linger, timeWait := tcpip.TCPLingerTimeoutOption(closedTimeout), tcpip.TCPTimeWaitTimeoutOption(closedTimeout)
	for _, option := range []tcpip.SettableTransportProtocolOption{&buffers, &sendBuffers, &moderate, &linger, &timeWait} {
		if err := s.stack.SetTransportProtocolOption(tcp.ProtocolNumber, option); err != nil {
			return tcpipError("set TCP option", err)
		}
	}
	if err := s.stack.CreateNIC(nic, s.link); err != nil {
		return tcpipError("create interface", err)
	}
	local := tcpip.AddrFrom16(s.addr.As16())
	protocolAddr := tcpip.ProtocolAddress{Protocol: ipv6.ProtocolNumber, AddressWithPrefix: local.WithPrefix()}
	if err := s.stack.AddProtocolAddress(nic, protocolAddr, stack.AddressProperties{}); err != nil {
		return tcpipError("add address", err)
	}
	s.stack.SetRouteTable([]tcpip.Route{{Destination: header.IPv6EmptySubnet, NIC: nic}})
	queue := new(waiter.Queue)
	endpoint, err := s.stack.NewEndpoint(tcp.ProtocolNumber, ipv6.ProtocolNumber, queue)
	if err != nil {
		return tcpipError("create endpoint", err)
	}
	if err := endpoint.Bind(tcpip.FullAddress{NIC: nic, Addr: local, Port: port}); err != nil {
		endpoint.Close()
		return tcpipError("bind", err)
	}
	// Beyond the backlog the stack answers with SYN cookies, so that half-open
	// connections do not lock anybody out.
	if err := endpoint.Listen(maxConns); err != nil {
		endpoint.Close()
		return tcpipError("listen", err)
	}
	s.listener = gonet.NewTCPListener(s.stack, queue, endpoint)
	return nil
}

func tcpipError(verb string, err tcpip.Error) error {
	return fmt.Errorf("%s: %w", verb, errors.New(err.String()))
}

// Deliver takes a packet that the host sent to the service address. It copies
// the packet and never blocks: what does not fit into the queue is dropped, and
// so is anything but a plain TCP packet to the address. It may be called from
// any goroutine, also after Close.
func (s *Server) Deliver(packet []byte) {
	if len(packet) < header.IPv6MinimumSize+header.TCPMinimumSize || len(packet) > mtu || packet[0]>>4 != 6 ||
		packet[6] != byte(tcp.ProtocolNumber) || netip.AddrFrom16([16]byte(packet[24:40])) != s.addr || s.done.Err() != nil {
		return
	}
	if len(s.inbound) == cap(s.inbound) { // spares the copy when it is hopeless
		return
	}
	buf := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(packet)})
	select {
	case s.inbound <- buf:
	default:
		buf.DecRef()
	}
}

func (s *Server) pumpIn() {
	for {
		select {
		case <-s.done.Done():
			return
		case packet := <-s.inbound:
			s.link.InjectInbound(ipv6.ProtocolNumber, packet)
			packet.DecRef()
		}
	}
}

func (s *Server) pumpOut() {
	failing := false
	for {
		packet := s.link.ReadContext(s.done)
		if packet == nil {
			return
		}
		if packet.TransportProtocolNumber == tcp.ProtocolNumber {
			view := packet.ToView()
			err := s.send(view.AsSlice())
			view.Release()
			if err != nil && !failing {
				s.logger.Warn("DNS over TCP: send packet to the host", slog.Any("error", err))
			}
			failing = err != nil // a row of failures is one message
		}
		packet.DecRef()
	}
}

// Close ends all connections and waits for all goroutines. Calling it again
// does nothing.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	for conn := range s.conns {
		conn.Close()
	}
	s.mu.Unlock()
	s.listener.Shutdown()
	s.listener.Close()
	s.serving.Wait()
	s.stop()
	s.running.Wait()
	s.stack.Destroy()
	s.link.Close()
	for {
		select {
		case packet := <-s.inbound:
			packet.DecRef()
		default:
			return nil
		}
	}
}
