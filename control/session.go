package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// graceful is how long the far side has to hang up after our disconnect.
const graceful = time.Second

// errEnded stands for a controller that ended without an error.
var errEnded = errors.New("ended by the control plane")

// session is one connection with all its controllers.
type session struct {
	loop *Loop
	conn *Conn
	log  *slog.Logger

	proved   atomic.Bool  // the control plane has answered
	rejected atomic.Bool  // it told us to go away: no fast return
	waiting  atomic.Int32 // first answers that are still to come

	group sync.WaitGroup
	ended chan error // of the first controller to end
}

// run lives as long as the connection, and returns why it ended after all
// controllers have returned.
func (s *session) run(ctx context.Context) error {
	// Streams live on the connection's own context, so that the end of the
	// loop leaves time to say goodbye.
	connCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.ended = make(chan error, 8)
	stop := func() {
		cancel()
		s.conn.Close()
		s.group.Wait()
	}
	defer stop()
	if s.loop.Prepare != nil {
		prepareCtx, done := s.until(ctx)
		err := s.loop.Prepare(prepareCtx, s.conn)
		done()
		if err != nil {
			return s.cause(fmt.Errorf("prepare connection: %w", err))
		}
	}
	coordination, err := s.start(connCtx)
	if err != nil {
		return s.cause(err)
	}
	for {
		select {
		case <-ctx.Done():
			if coordination.disconnect(graceful) {
				s.conn.hangUp()
			}
			return ctx.Err()
		case err := <-s.ended:
			return s.cause(err)
		case <-s.conn.Closed():
			return s.cause(errors.New("connection closed"))
		case <-s.loop.kicked:
			s.conn.Probe()
		}
	}
}

// until is a context that ends with ctx or with the connection.
func (s *session) until(ctx context.Context) (context.Context, func()) {
	child, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	s.group.Go(func() {
		select {
		case <-s.conn.Closed():
		case <-done:
		}
		cancel()
	})
	return child, sync.OnceFunc(func() { close(done) })
}

// cause prefers the reason for which the connection closed itself to the
// errors that followed from it.
func (s *session) cause(err error) error {
	if dead := s.conn.Err(); dead != nil {
		return dead
	}
	return err
}

// start opens all streams and runs a controller on each. The resume token's
// controller alone shares nobody's fate.
func (s *session) start(ctx context.Context) (*coordination, error) {
	client := tailnetv2.NewDRPCTailnetClient(s.conn)
	stream, err := client.Coordinate(ctx)
	if err != nil {
		return nil, fmt.Errorf("open coordination: %w", err)
	}
	if s.loop.RelayMap != nil {
		s.waiting.Add(1)
	}
	if s.loop.Workspaces != nil {
		s.waiting.Add(1)
	}
	c := newCoordination(s, stream)
	if err := s.startReceivers(ctx, client, c); err != nil {
		return nil, err
	}
	s.share("coordination", c.run)
	if s.loop.Extra != nil {
		s.share("extra controller", func() error { return s.loop.Extra(ctx, s.conn) })
	}
	if s.loop.Dialer.Version.Minor >= resumeMinor {
		refresher := &refresher{store: &s.loop.resume, client: client, log: s.log}
		s.group.Go(func() { refresher.run(ctx) })
	}
	if s.waiting.Load() == 0 {
		s.prove()
	}
	return c, nil
}

func (s *session) startReceivers(ctx context.Context, client tailnetv2.Client23, c *coordination) error {
	if s.loop.RelayMap != nil {
		maps, err := client.StreamDERPMaps(ctx, &tailnetv2.StreamDERPMapsRequest{})
		if err != nil {
			return fmt.Errorf("open relay map stream: %w", err)
		}
		s.share("relay map", func() error { return s.receiveRelayMaps(maps) })
	}
	if s.loop.Workspaces != nil {
		updates, err := client.WorkspaceUpdates(ctx, &tailnetv2.WorkspaceUpdatesRequest{WorkspaceOwnerId: s.loop.OwnerID[:]})
		if err != nil {
			return fmt.Errorf("open workspace updates: %w", err)
		}
		s.share("workspace updates", func() error { return s.receiveWorkspaces(updates, c) })
	}
	return nil
}

// share runs a controller whose end ends the session.
func (s *session) share(name string, run func() error) {
	s.group.Go(func() {
		err := run()
		if err == nil {
			err = errEnded
		}
		select {
		case s.ended <- fmt.Errorf("%s: %w", name, err):
		default:
		}
	})
}

// answered counts the first answer of one stream.
func (s *session) answered() {
	if s.waiting.Add(-1) == 0 {
		s.prove()
	}
}

func (s *session) prove() {
	s.proved.Store(true)
	s.loop.report(true, nil)
}
