package tcp53

import (
	"bufio"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"
)

func (s *Server) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			s.mu.Lock()
			closed := s.closed
			s.mu.Unlock()
			if !closed {
				s.logger.Error("DNS over TCP: accept connection", slog.Any("error", err))
			}
			return
		}
		if !s.admit(conn) {
			conn.Close()
			continue
		}
		s.serving.Go(func() {
			defer s.dismiss(conn)
			s.serve(conn)
		})
	}
}

// admit is false when there are too many connections, or none are wanted.
func (s *Server) admit(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.conns) >= maxConns {
		return false
	}
	s.conns[conn] = struct{}{}
	return true
}

func (s *Server) dismiss(conn net.Conn) {
	conn.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, conn)
}

// dialogue is one connection with the queries that others answer for us.
type dialogue struct {
	conn    net.Conn
	writing sync.Mutex
	places  chan struct{}
	pending sync.WaitGroup
}

// serve answers messages as they come (RFC 7766, pipelining), those that others
// answer later than those behind them, until the client is done, too slow, or
// sends what deserves no answer.
func (s *Server) serve(conn net.Conn) {
	d := &dialogue{conn: conn, places: make(chan struct{}, maxPending)}
	defer d.pending.Wait()
	reader := bufio.NewReaderSize(conn, 1024)
	var message, answer []byte
	for {
		if err := conn.SetDeadline(time.Now().Add(s.idle)); err != nil {
			return
		}
		var prefix [2]byte
		if _, err := io.ReadFull(reader, prefix[:]); err != nil {
			return
		}
		size := int(binary.BigEndian.Uint16(prefix[:]))
		if size > maxMessage {
			return
		}
		if cap(message) < size {
			message = make([]byte, max(size, 512))
		}
		message = message[:size]
		if _, err := io.ReadFull(reader, message); err != nil {
			return
		}
		if s.forward != nil && d.forward(s.forward, message) {
			continue
		}
		answer = s.resolver.Answer(append(answer[:0], 0, 0), message, 0)
		if len(answer) == len(prefix) || d.write(answer) != nil {
			return
		}
	}
}

// write sends an answer, which has room for its length in front.
func (d *dialogue) write(framed []byte) error {
	binary.BigEndian.PutUint16(framed, uint16(len(framed)-2))
	d.writing.Lock()
	defer d.writing.Unlock()
	_, err := d.conn.Write(framed)
	return err
}

// forward has somebody else answer, and reports false if nobody will.
func (d *dialogue) forward(forward Forward, message []byte) bool {
	select {
	case d.places <- struct{}{}:
	default:
		return false
	}
	answered := make(chan []byte, 1)
	if !forward(message, func(answer []byte) { answered <- answer }) {
		<-d.places
		return false
	}
	d.pending.Go(func() {
		defer func() { <-d.places }()
		if answer := <-answered; answer != nil {
			_ = d.write(append([]byte{0, 0}, answer...)) // the reader notices that it broke
		}
	})
	return true
}
