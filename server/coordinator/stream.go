package coordinator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"tailscale.com/types/key"

	"github.com/causewayhq/causeway/proto/tailnetv2"
)

const (
	// queueLimit is how many responses may wait for one peer before it counts
	// as too slow and is removed.
	queueLimit = 512
	// queueBytes bounds what these responses hold: queueLimit nodes of a real
	// size are 2 MiB, and a node of MaxNodeSize each would be 32 MiB.
	queueBytes = 16 << 20
	// updatesLimit is the largest number of peer updates in one response.
	updatesLimit = 1024
	// responseLimit is where a response stops growing, in bytes. The peer's
	// buffer takes 4 MiB; one more queued response of an init batch must fit.
	responseLimit = 1 << 20
)

// Stream is one peer's connection to the coordinator. Send may be called from
// one goroutine and Recv (or RecvWire) from another; Close from any. A stream
// ends by Close, by the end of the context it was made with, by End, by
// an offence of the peer, by a newer connection of the same id, or by the
// coordinator; Done then closes.
//
// Send handles a request before it returns, so there is no queue of requests
// beside what the transport holds: a peer that is slow to be authorised waits
// for nobody but itself.
type Stream struct {
	owner *Coordinator
	ctx   context.Context // the peer's own, for authorisation
	stop  func() bool     // takes the watch off ctx
	id    uuid.UUID
	name  string
	auth  Auth
	class class
	since time.Time

	sending sync.Mutex // keeps the requests of this peer in order

	// Under the coordinator's lock.
	removed  bool
	node     []byte // newest node, marshalled; nil before the first
	key      key.NodePublic
	suffixes [][10]byte // host parts of a client's addresses
	updated  time.Time

	queue struct {
		sync.Mutex
		waiting []response
		size    int // bytes in waiting
		ended   bool
		text    string // the error that ended the stream
	}
	ready chan struct{} // holds one token when the queue may have grown
	done  chan struct{}
}

// response is a marshalled CoordinateResponse, possibly shared with the queues
// of other peers: read only.
type response struct {
	wire    []byte
	updates int // 0: an error, which is never merged with others
}

// ID is the peer's id.
func (s *Stream) ID() uuid.UUID { return s.id }

// Done is closed when the stream has ended. What is still queued, an error at
// the end included, can be received afterwards.
func (s *Stream) Done() <-chan struct{} { return s.done }

// Err says why the stream ended, once Done is closed: nil when the peer left by
// itself, else what the peer is told as the last response.
func (s *Stream) Err() error {
	s.queue.Lock()
	defer s.queue.Unlock()
	if s.queue.text == "" {
		return nil
	}
	return errors.New(s.queue.text)
}

// Close ends the stream; partners hear that the peer is lost. It is not an
// error to close a stream that has ended.
func (s *Stream) Close() { s.owner.lose(s, "") }

// Recv waits for the next response. It gives io.EOF when the stream has ended
// and nothing is left.
func (s *Stream) Recv(ctx context.Context) (*tailnetv2.CoordinateResponse, error) {
	wire, err := s.RecvWire(ctx, nil)
	if err != nil {
		return nil, err
	}
	message := &tailnetv2.CoordinateResponse{}
	if err := proto.Unmarshal(wire, message); err != nil {
		return nil, fmt.Errorf("unmarshal response: %w", err)
	}
	return message, nil
}

// RecvWire is Recv with the response in its marshalled form, appended to buf.
// It merges what is queued into one response of at most 1024 peer updates.
func (s *Stream) RecvWire(ctx context.Context, buf []byte) ([]byte, error) {
	for {
		buf, taken, ended := s.take(buf)
		switch {
		case taken:
			return buf, nil
		case ended:
			return buf, io.EOF
		}
		select {
		case <-s.ready:
		case <-s.done:
		case <-ctx.Done():
			return buf, ctx.Err()
		}
	}
}

func (s *Stream) take(buf []byte) (out []byte, taken, ended bool) {
	s.queue.Lock()
	defer s.queue.Unlock()
	waiting := s.queue.waiting
	if len(waiting) == 0 {
		return buf, false, s.queue.ended
	}
	count, updates, size := 0, 0, 0
	for _, next := range waiting {
		alone := next.updates == 0 || (count > 0 && waiting[count-1].updates == 0)
		if count > 0 && (alone || updates+next.updates > updatesLimit || size+len(next.wire) > responseLimit) {
			break
		}
		buf = append(buf, next.wire...)
		count, updates, size = count+1, updates+next.updates, size+len(next.wire)
	}
	clear(waiting[:count])
	s.queue.size -= size
	s.queue.waiting = waiting[count:]
	if len(s.queue.waiting) == 0 {
		// An idle peer keeps no array: most peers are idle, and there are many.
		s.queue.waiting = nil
	}
	return buf, true, s.queue.ended
}

// push queues a response; false means that the peer is too slow.
func (s *Stream) push(next response) bool {
	s.queue.Lock()
	defer s.queue.Unlock()
	if s.queue.ended {
		return true
	}
	if len(s.queue.waiting) >= queueLimit || s.queue.size+len(next.wire) > queueBytes {
		return false
	}
	s.queue.waiting = append(s.queue.waiting, next)
	s.queue.size += len(next.wire)
	select {
	case s.ready <- struct{}{}:
	default:
	}
	return true
}

// finish ends the response side, with an error as its last word if text is not
// empty. drop throws away what was queued: a peer too slow to read it will mark
// everybody lost anyway, and the memory is wanted back.
func (s *Stream) finish(text string, drop bool) {
	s.queue.Lock()
	defer s.queue.Unlock()
	if s.queue.ended {
		return
	}
	s.queue.ended, s.queue.text = true, text
	if drop {
		s.queue.waiting, s.queue.size = nil, 0
	}
	if text != "" {
		last := response{wire: ErrorResponse(text)}
		s.queue.waiting = append(s.queue.waiting, last)
		s.queue.size += len(last.wire)
	}
	close(s.done)
}

func (s *Stream) queued() int {
	s.queue.Lock()
	defer s.queue.Unlock()
	return len(s.queue.waiting)
}
