package tcp53

import (
	"bufio"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
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

// serve answers messages in the order they come (RFC 7766, pipelining), until
// the client is done, too slow, or sends what deserves no answer.
func (s *Server) serve(conn net.Conn) {
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
		answer = s.resolver.Answer(append(answer[:0], 0, 0), message, 0)
		if len(answer) == len(prefix) {
			return
		}
		binary.BigEndian.PutUint16(answer, uint16(len(answer)-len(prefix)))
		if _, err := conn.Write(answer); err != nil {
			return
		}
	}
}
