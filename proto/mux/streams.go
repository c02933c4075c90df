package mux

import (
	"sync"
	"time"

	"github.com/hashicorp/yamux"
)

// streams are the open streams of one session.
//
// Between the shut-down of a session and the end of the connection below it,
// yamux lets those who read from a stream, or wait for room to write, go round
// in a loop without ever sleeping. A websocket that is closed politely takes a
// round trip for that, or up to 10 s, and so the calls of a thousand
// connections kept a server that drains from getting anything done. A deadline
// in the past makes them return.
type streams struct {
	mu    sync.Mutex
	ended bool
	open  map[*yamux.Stream]struct{}
}

func (s *streams) add(stream *yamux.Stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = map[*yamux.Stream]struct{}{}
	}
	s.open[stream] = struct{}{}
	if s.ended {
		expire(stream)
	}
}

func (s *streams) remove(stream *yamux.Stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, stream)
}

// end makes every stream fail, also those still to come. It is called before
// the session is closed, or as soon as it is known to be.
func (s *streams) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	for stream := range s.open {
		expire(stream)
	}
}

func expire(stream *yamux.Stream) { _ = stream.SetDeadline(time.Unix(1, 0)) } // never fails
