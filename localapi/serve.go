package localapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"storj.io/drpc"
	"storj.io/drpc/drpcmanager"
	"storj.io/drpc/drpcmux"
	"storj.io/drpc/drpcstream"
	"storj.io/drpc/drpcwire"

	"github.com/causewayhq/causeway/proto/localv1"
)

// The limits of the server.
const (
	// maxRequest bounds one request, in bytes: a DNS message is at most 64 KiB
	// and nothing else is near it.
	maxRequest = 128 << 10
	// requestTimeout is how long a client may take to send its request whole.
	requestTimeout = 5 * time.Second
	// writeTimeout is how long one write may wait for a client that does not
	// read.
	writeTimeout = 10 * time.Second
	// lingerTimeout is how long a client may take to hang up after its answer.
	lingerTimeout = 2 * time.Second
	// userConnections is how many connections one user may hold at a time:
	// well over a tray, an editor and a few shells, and little memory.
	userConnections = 64
	// allConnections bounds what all users hold together who may not even read;
	// those who may are not kept out by others.
	allConnections = 512
)

// Serve answers calls on the listener with handler until the context ends or
// the listener fails. It owns the listener, and returns after every call has.
// A nil error means that the context ended.
func Serve(ctx context.Context, listener net.Listener, handler localv1.DRPCLocalServer, authorize Authorize, logger *slog.Logger) error {
	mux := drpcmux.New()
	if err := localv1.DRPCRegisterLocal(mux, handler); err != nil {
		listener.Close()
		return fmt.Errorf("register local API: %w", err)
	}
	s := &server{mux: mux, authorize: authorize, logger: logger, timeout: requestTimeout, held: map[User]int{}}
	return s.run(ctx, listener)
}

func (s *server) run(ctx context.Context, listener net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer s.calls.Wait()
	defer cancel()
	defer listener.Close()
	stop := context.AfterFunc(ctx, func() { listener.Close() })
	defer stop()
	for {
		conn, err := listener.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				conn.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept on the local API: %w", err)
		case err != nil:
			// Out of file descriptors, or the client is gone already. Neither
			// is a reason to stop answering for good.
			s.logger.Warn("accept on the local API failed", slog.Any("error", err))
			if !pause(ctx, 100*time.Millisecond) {
				return nil
			}
			continue
		}
		s.calls.Go(func() { s.serve(ctx, conn) })
	}
}

// pause waits, and says false if the context ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

type server struct {
	mux       drpc.Handler
	authorize Authorize
	logger    *slog.Logger
	timeout   time.Duration // requestTimeout
	calls     sync.WaitGroup

	mu   sync.Mutex
	held map[User]int // connections by user
	sum  int          // of all who are not trusted
}

// serve carries one connection, which is one call.
func (s *server) serve(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	caller, err := peer(conn)
	if err != nil {
		s.logger.Warn("local API connection refused", slog.Any("error", err))
		return
	}
	user := caller.User()
	trusted := s.authorize(caller, Read) == nil
	if !s.take(user, trusted) {
		s.logger.Debug("local API connection refused: too many", slog.String("user", user.String()))
		return
	}
	defer s.give(user, trusted)
	if err := s.call(WithCaller(ctx, caller), conn, caller); err != nil {
		s.logger.Debug("local API call failed", slog.String("user", user.String()), slog.Any("error", err))
	}
}

// take is a place for a connection, which give gives back; trusted are those who
// may read.
func (s *server) take(user User, trusted bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[user] >= userConnections || !trusted && s.sum >= allConnections {
		return false
	}
	s.held[user]++
	if !trusted {
		s.sum++
	}
	return true
}

func (s *server) give(user User, trusted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[user]--; s.held[user] == 0 {
		delete(s.held, user)
	}
	if !trusted {
		s.sum--
	}
}

func (s *server) call(ctx context.Context, conn net.Conn, caller Caller) error {
	if err := conn.SetReadDeadline(time.Now().Add(s.timeout)); err != nil {
		return fmt.Errorf("set deadline: %w", err)
	}
	manager := drpcmanager.NewWithOptions(&patient{conn}, drpcmanager.Options{
		InactivityTimeout: s.timeout,
		Reader:            drpcwire.ReaderOptions{MaximumBufferSize: maxRequest},
		Stream:            drpcstream.Options{MaximumBufferSize: maxRequest},
	})
	defer manager.Close()
	stream, name, err := manager.NewServerStream(ctx)
	if err != nil {
		return fmt.Errorf("read call: %w", err)
	}
	err = s.answer(&request{Stream: stream, conn: conn}, name, caller)
	switch {
	case err != nil && ctx.Err() != nil:
		// The daemon ends: hanging up says so, the handler's error does not.
		return err
	case err != nil:
		err = stream.SendError(toWire(err))
	default:
		err = stream.CloseSend()
	}
	linger(ctx, manager)
	return err
}

// linger leaves the hanging up to the client: dRPC drops an answer that it has
// read but not yet handed over when it sees the connection end.
func linger(ctx context.Context, manager *drpcmanager.Manager) {
	timer := time.NewTimer(lingerTimeout)
	defer timer.Stop()
	select {
	case <-manager.Closed():
	case <-timer.C:
	case <-ctx.Done():
	}
}

// answer authorises, and then lets the handler have the call.
func (s *server) answer(stream *request, name string, caller Caller) error {
	if need, known := access[name]; known {
		if err := s.authorize(caller, need); err != nil {
			// A client that is still sending takes an early refusal for a
			// broken connection, so its request is read and dropped.
			_, _ = stream.RawRecv()
			return err
		}
	}
	// The mux refuses an unknown call, with the code that means just that.
	return s.mux.HandleRPC(stream, name)
}

// request lifts the read deadline once the request has arrived: from then on
// reading only serves to notice that the client has gone.
type request struct {
	*drpcstream.Stream
	conn net.Conn
}

func (r *request) MsgRecv(message drpc.Message, encoding drpc.Encoding) error {
	if err := r.Stream.MsgRecv(message, encoding); err != nil {
		return err
	}
	return r.conn.SetReadDeadline(time.Time{})
}

// patient gives every write its own deadline.
type patient struct{ net.Conn }

func (p *patient) Write(data []byte) (int, error) {
	if err := p.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return 0, err
	}
	return p.Conn.Write(data)
}
