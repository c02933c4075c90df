package userspace

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// handOver is how long a new connection waits for Accept before it is dropped:
// a listener that nobody serves must not collect connections.
const handOver = time.Second

// listener is a TCP port on all own addresses.
type listener struct {
	node  *Net
	port  uint16
	conns chan net.Conn
	// gone is closed by shut.
	gone chan struct{}
	once sync.Once
}

// Listen takes a TCP port on all own addresses, from 1 up. A port is taken
// once at a time.
func (n *Net) Listen(port uint16) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.closed:
		return nil, fmt.Errorf("listen on port %d of the tunnel: %w", port, net.ErrClosed)
	case port == 0:
		return nil, fmt.Errorf("listen on port of the tunnel: 0 is not a port")
	case n.listeners[port] != nil:
		return nil, fmt.Errorf("listen on port %d of the tunnel: it is taken", port)
	}
	open := &listener{node: n, port: port, conns: make(chan net.Conn), gone: make(chan struct{})}
	n.listeners[port] = open
	return open, nil
}

// deliver hands a connection to Accept.
func (l *listener) deliver(conn net.Conn) {
	timer := time.NewTimer(handOver)
	defer timer.Stop()
	select {
	case l.conns <- conn:
		return
	case <-l.gone:
	case <-timer.C:
	}
	conn.Close()
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.gone:
		return nil, fmt.Errorf("accept on port %d of the tunnel: %w", l.port, net.ErrClosed)
	}
}

func (l *listener) shut() { l.once.Do(func() { close(l.gone) }) }

func (l *listener) Close() error {
	l.node.mu.Lock()
	if l.node.listeners[l.port] == l {
		delete(l.node.listeners, l.port)
	}
	l.node.mu.Unlock()
	l.shut()
	return nil
}

func (l *listener) Addr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(l.node.own[0], l.port))
}
