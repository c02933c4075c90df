package httpapi

import (
	"net"
	"sync"
	"sync/atomic"
)

// pipes is a listener of connections in memory.
type pipes struct {
	conns    chan net.Conn
	gone     chan struct{}
	once     sync.Once
	fault    error
	accepted atomic.Int32
	closed   chan struct{} // has one for each connection that the server closed
}

func newPipes() *pipes {
	return &pipes{conns: make(chan net.Conn, 2*maxConnections), gone: make(chan struct{}), closed: make(chan struct{}, 2*maxConnections)}
}

func (p *pipes) dial() net.Conn {
	near, far := net.Pipe()
	p.conns <- far
	return near
}

func (p *pipes) Accept() (net.Conn, error) {
	if p.fault != nil {
		return nil, p.fault
	}
	select {
	case conn := <-p.conns:
		p.accepted.Add(1)
		return &pipe{Conn: conn, of: p}, nil
	case <-p.gone:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.gone) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

type pipe struct {
	net.Conn
	of   *pipes
	once sync.Once
}

func (p *pipe) Close() error {
	p.once.Do(func() { p.of.closed <- struct{}{} })
	return p.Conn.Close()
}
