// Package userspace is a node of the tunnel without a TUN device: its IP stack
// is gVisor's, inside the process. The agent and tests use it. It links
// upstream's wgengine/netstack and with it ipnlocal, which the privileged
// daemon must not; so the daemon never imports this package.
package userspace

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"tailscale.com/tailcfg"
	"tailscale.com/tsd"
	"tailscale.com/types/logger"
	"tailscale.com/types/netmap"
	"tailscale.com/types/nettype"
	"tailscale.com/wgengine/netstack"

	"github.com/causewayhq/causeway/tailnet"
)

// Sizes of TCP buffers: what one connection may have in flight on a long fat
// path. They are limits, not what an idle connection takes.
const (
	maxReceiveBuffer = 6 << 20
	maxSendBuffer    = 4 << 20
)

// Config describes a node; see tailnet.Config for the fields.
type Config struct {
	Logger         *slog.Logger
	Identity       tailnet.Identity
	NodeID         int64
	Addresses      []netip.Prefix
	DirectDisabled bool
	ForceWebsocket bool
	Relay          tailnet.RelayDial
	// SessionBegan is told of peers, under locks: it must not block. Nil for nobody.
	SessionBegan func()
	// Meter counts the traffic. Nil: nobody does.
	Meter *Meter
}

// Net is a running node. All methods are safe for concurrent use.
type Net struct {
	engine *tailnet.Engine
	stack  *netstack.Impl
	own    []netip.Addr

	mu  sync.RWMutex
	tcp func(port uint16) (handler func(net.Conn), ok bool)
	udp func(port uint16) (handler func(net.Conn), ok bool)
	// listeners are those of Listen, by port.
	listeners map[uint16]*listener
	closed    bool
	// handlers counts the handlers of connections while they run.
	handlers sync.WaitGroup
}

// New starts a node. Close stops it.
func New(config Config) (*Net, error) {
	n := &Net{listeners: map[uint16]*listener{}}
	for _, prefix := range config.Addresses {
		n.own = append(n.own, prefix.Addr())
	}
	engine, err := tailnet.New(tailnet.Config{
		Logger: config.Logger, Identity: config.Identity, NodeID: config.NodeID, Addresses: config.Addresses,
		DirectDisabled: config.DirectDisabled, ForceWebsocket: config.ForceWebsocket, Relay: config.Relay, SessionBegan: config.SessionBegan,
		Attach: func(system *tsd.System) error { return n.attach(config, system) },
	})
	if err != nil {
		if n.stack != nil {
			err = errors.Join(err, n.stack.Close())
		}
		return nil, err
	}
	n.engine = engine
	return n, nil
}

// attach makes the IP stack out of the engine's parts.
func (n *Net) attach(config Config, system *tsd.System) error {
	logf := func(format string, args ...any) {
		if config.Logger.Enabled(context.Background(), slog.LevelDebug) {
			config.Logger.LogAttrs(context.Background(), slog.LevelDebug, "upstream", slog.String("line", fmt.Sprintf(format, args...)))
		}
	}
	stack, err := netstack.Create(logger.Logf(logf), system.Tun.Get(), system.Engine.Get(), system.MagicSock.Get(),
		system.Dialer.Get(), system.DNSManager.Get(), system.ProxyMapper())
	if err != nil {
		return fmt.Errorf("make IP stack: %w", err)
	}
	n.stack = stack
	stack.ProcessLocalIPs = true
	stack.GetTCPHandlerForFlow = n.acceptTCP
	stack.GetUDPHandlerForFlow = n.acceptUDP
	if err := tuneTCP(stack); err != nil {
		return err
	}
	if err := stack.Start(nil); err != nil {
		return fmt.Errorf("start IP stack: %w", err)
	}
	if config.Meter != nil {
		config.Meter.watch(system.Tun.Get())
	}
	self := &tailcfg.Node{ID: tailcfg.NodeID(config.NodeID), Addresses: config.Addresses, AllowedIPs: config.Addresses}
	stack.UpdateNetstackIPs(&netmap.NetworkMap{SelfNode: self.View()})
	return nil
}

// tuneTCP sets what upstream's stack does not set as we want it. SACK is on
// and RACK is off already.
func tuneTCP(stack *netstack.Impl) error {
	receive := tcpip.TCPReceiveBufferSizeRangeOption{Min: tcp.MinBufferSize, Default: tcp.DefaultReceiveBufferSize, Max: maxReceiveBuffer}
	send := tcpip.TCPSendBufferSizeRangeOption{Min: tcp.MinBufferSize, Default: tcp.DefaultSendBufferSize, Max: maxSendBuffer}
	control := tcpip.CongestionControlOption("cubic")
	for _, option := range []tcpip.SettableTransportProtocolOption{&receive, &send, &control} {
		if err := stack.SetTransportProtocolOption(tcp.ProtocolNumber, option); err != nil {
			return fmt.Errorf("set TCP option %T: %w", option, errors.New(err.String()))
		}
	}
	return nil
}

// Engine is the data plane below.
func (n *Net) Engine() *tailnet.Engine { return n.engine }

// HandleTCP sets who takes connections to ports without a listener. Without
// it, and for ports that it does not want, connections are refused.
func (n *Net) HandleTCP(choose func(port uint16) (handler func(net.Conn), ok bool)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tcp = choose
}

// HandleUDP is HandleTCP for UDP flows. Every Read of the connection is one
// datagram; an idle flow is the handler's to end.
func (n *Net) HandleUDP(choose func(port uint16) (handler func(net.Conn), ok bool)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.udp = choose
}

// acceptTCP answers for every flow: upstream would pass the ones it is left
// with on to the loopback interface of the host.
func (n *Net) acceptTCP(_, destination netip.AddrPort) (handler func(net.Conn), intercept bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if n.closed {
		return nil, true
	}
	if open := n.listeners[destination.Port()]; open != nil {
		return n.counted(open.deliver), true
	}
	if n.tcp != nil {
		if chosen, ok := n.tcp(destination.Port()); ok && chosen != nil {
			return n.counted(chosen), true
		}
	}
	return nil, true
}

func (n *Net) acceptUDP(_, destination netip.AddrPort) (handler func(nettype.ConnPacketConn), intercept bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if n.closed || n.udp == nil {
		return nil, true
	}
	chosen, ok := n.udp(destination.Port())
	if !ok || chosen == nil {
		return nil, true
	}
	counted := n.counted(chosen)
	return func(conn nettype.ConnPacketConn) { counted(conn) }, true
}

// counted lets Close wait for a handler.
func (n *Net) counted(handler func(net.Conn)) func(net.Conn) {
	return func(conn net.Conn) {
		n.mu.RLock()
		if n.closed {
			n.mu.RUnlock()
			conn.Close()
			return
		}
		n.handlers.Add(1)
		n.mu.RUnlock()
		defer n.handlers.Done()
		handler(conn)
	}
}

// DialTCP connects from the own address of the same prefix, if there is one.
func (n *Net) DialTCP(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	conn, err := n.stack.DialContextTCPWithBind(ctx, n.from(to.Addr()), to)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", to, err)
	}
	return conn, nil
}

// DialUDP makes a UDP flow from the own address of the same prefix, if there is one.
func (n *Net) DialUDP(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	conn, err := n.stack.DialContextUDPWithBind(ctx, n.from(to.Addr()), to)
	if err != nil {
		return nil, fmt.Errorf("make UDP flow to %s: %w", to, err)
	}
	return conn, nil
}

// from chooses the own address that shares the /48 with the other side, else
// the first one.
func (n *Net) from(to netip.Addr) netip.Addr {
	for _, addr := range n.own {
		if prefix, err := addr.Prefix(48); err == nil && prefix.Contains(to) {
			return addr
		}
	}
	return n.own[0]
}

// Close ends all connections and stops the node. Handlers have ended when it
// returns.
func (n *Net) Close() error {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return nil
	}
	n.closed = true
	open := n.listeners
	n.listeners = map[uint16]*listener{}
	n.mu.Unlock()
	for _, l := range open {
		l.shut()
	}
	// The stack's end makes every Read and Write of a handler fail.
	err := errors.Join(n.stack.Close(), n.engine.Close())
	n.handlers.Wait()
	return err
}
