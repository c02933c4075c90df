package control

import (
	"context"
	"errors"
	"net"
	"sync"
)

// pipes is a network without a network: each dial is a net.Pipe, which a
// synctest bubble understands. While black, nothing comes through and nobody
// is told.
type pipes struct {
	accept chan net.Conn
	closed chan struct{}
	once   sync.Once
	mu     sync.Mutex
	black  bool
	hang   chan struct{} // while black, writes wait for it instead of being lost
	dials  int
}

func newPipes() *pipes { return &pipes{accept: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.accept:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }
func (p *pipes) setBlack(black bool) {
	p.mu.Lock()
	p.black = black
	p.mu.Unlock()
}
func (p *pipes) isBlack() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.black
}

func (p *pipes) dialed() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dials
}

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	p.mu.Lock()
	p.dials++
	p.mu.Unlock()
	if p.isBlack() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	near, far := net.Pipe()
	select {
	case p.accept <- &shadowed{Conn: far, net: p, closed: make(chan struct{})}:
		return &shadowed{Conn: near, net: p, closed: make(chan struct{})}, nil
	case <-p.closed:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// shadowed swallows what is written while the network is black, or keeps it
// waiting, as a full socket buffer does.
type shadowed struct {
	net.Conn
	net    *pipes
	once   sync.Once
	closed chan struct{}
}

func (s *shadowed) Write(b []byte) (int, error) {
	if !s.net.isBlack() {
		return s.Conn.Write(b)
	}
	if s.net.hang == nil {
		return len(b), nil
	}
	select {
	case <-s.net.hang:
		return len(b), nil
	case <-s.closed:
		return 0, net.ErrClosed
	}
}

func (s *shadowed) Close() error {
	s.once.Do(func() { close(s.closed) })
	return s.Conn.Close()
}
