package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// graceful is how long the far side has to hang up after our disconnect.
const graceful = time.Second

// answerTimeout is how long the control plane has for its first messages. They
// are there at once, or it only seems to be alive.
const answerTimeout = 30 * time.Second

var (
	// errEnded stands for a controller that ended without an error.
	errEnded = errors.New("ended by the control plane")
	// errMute is the end of a connection that carried nothing.
	errMute = fmt.Errorf("control plane did not answer within %s", answerTimeout)
)

// session is one connection with all its controllers.
type session struct {
	loop *Loop
	conn *Conn
	log  *slog.Logger

	proved  atomic.Bool               // the control plane has answered
	told    atomic.Pointer[toldError] // the coordinator told us to go away
	waiting atomic.Int32              // first answers that are still to come

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
	status, err := s.live(ctx, connCtx)
	cancel()
	s.conn.hangUp(status)
	s.group.Wait()
	return s.cause(err)
}

// live starts the controllers, and returns when the first of them, the
// connection or the loop has ended: why, and the status to close with.
func (s *session) live(ctx, connCtx context.Context) (websocket.StatusCode, error) {
	clients := offered(s.conn, s.loop.dialer.Version)
	s.startTelemetry(connCtx, clients.telemetry)
	if err := s.prepare(ctx); err != nil {
		return websocket.StatusNormalClosure, err
	}
	if err := s.loop.fits(clients); err != nil {
		return websocket.StatusInternalError, err
	}
	coordination, err := s.start(connCtx, clients)
	if err != nil {
		return websocket.StatusInternalError, s.symptom(err)
	}
	s.loop.first.settle(nil)
	patience := time.NewTimer(answerTimeout)
	defer patience.Stop()
	for {
		select {
		case <-patience.C:
			if !s.proved.Load() {
				return websocket.StatusNormalClosure, errMute
			}
		case <-ctx.Done():
			if errors.Is(context.Cause(ctx), ErrHandover) || !coordination.goodbye() {
				s.conn.shut()
			}
			return websocket.StatusNormalClosure, ctx.Err()
		case err := <-s.ended:
			s.listen(ctx)
			return websocket.StatusNormalClosure, err
		case <-s.conn.Closed():
			return websocket.StatusNormalClosure, s.conn.Err()
		case <-s.loop.kicked:
			s.conn.Probe()
		}
	}
}

// listen leaves the far side, which ends streams before it closes, the time
// that no dial could begin in anyway, to say why.
func (s *session) listen(ctx context.Context) {
	timer := time.NewTimer(backoffFloor)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.conn.Closed():
	case <-ctx.Done():
	}
}

// cause prefers what the control plane itself said.
func (s *session) cause(err error) error {
	if told := s.told.Load(); told != nil {
		return told
	}
	if told := s.conn.lastWord(); told != nil {
		return told
	}
	return err
}

// startTelemetry comes before everything else, so that what the other
// controllers cause can be told.
func (s *session) startTelemetry(ctx context.Context, client tailnetv2.Client22) {
	if s.loop.Telemetry == nil || client == nil {
		return
	}
	queue := s.loop.Telemetry.install()
	s.group.Go(func() { s.loop.Telemetry.run(ctx, client, queue) })
}

// prepare runs the loop's own preparation, if any, which ends with the loop or
// with the connection.
func (s *session) prepare(ctx context.Context) error {
	if s.loop.Prepare == nil {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan struct{})
	defer close(done)
	s.group.Go(func() {
		select {
		case <-s.conn.Closed():
			cancel()
		case <-done:
		}
	})
	if err := s.loop.Prepare(ctx, s.conn); err != nil {
		return s.symptom(fmt.Errorf("prepare connection: %w", err))
	}
	return nil
}

// start opens all streams and runs a controller on each. The resume token's
// controller alone shares nobody's fate.
func (s *session) start(ctx context.Context, clients offer) (*coordination, error) {
	if s.loop.farewells.gone() {
		s.startExtra(ctx)
		s.waiting.Store(1)
		s.answered()
		return nil, nil
	}
	stream, err := clients.coordination.Coordinate(ctx)
	if err != nil {
		return nil, fmt.Errorf("open coordination: %w", err)
	}
	// One is for this function, so that nothing counts before all is started.
	s.waiting.Store(1)
	c := newCoordination(s, stream)
	if err := s.startReceivers(ctx, clients, c); err != nil {
		return nil, err
	}
	s.share("coordination", c.run)
	if !s.loop.farewells.enter(c) {
		c.goodbye() // Leave was called meanwhile
	}
	s.startExtra(ctx)
	if clients.updates != nil {
		refresher := &refresher{store: &s.loop.resume, client: clients.updates, ended: s.conn.Err, log: s.log}
		s.group.Go(func() { refresher.run(ctx) })
	}
	s.answered()
	return c, nil
}

func (s *session) startExtra(ctx context.Context) {
	if s.loop.Extra != nil {
		s.share("extra controller", func() error { return s.loop.Extra(ctx, s.conn) })
	}
}

func (s *session) startReceivers(ctx context.Context, clients offer, c *coordination) error {
	if s.loop.RelayMap != nil {
		maps, err := clients.coordination.StreamDERPMaps(ctx, &tailnetv2.StreamDERPMapsRequest{})
		if err != nil {
			return fmt.Errorf("open relay map stream: %w", err)
		}
		s.waiting.Add(1)
		s.share("relay map", func() error { return s.receiveRelayMaps(maps) })
	}
	if s.loop.Workspaces != nil {
		updates, err := clients.updates.WorkspaceUpdates(ctx, &tailnetv2.WorkspaceUpdatesRequest{WorkspaceOwnerId: s.loop.OwnerID[:]})
		if err != nil {
			return fmt.Errorf("open workspace updates: %w", err)
		}
		s.waiting.Add(1)
		s.share("workspace updates", func() error { return s.receiveWorkspaces(updates, c) })
	}
	return nil
}

// share runs a controller whose end ends the session, unless it says that it
// does not.
func (s *session) share(name string, run func() error) {
	s.group.Go(func() {
		err := run()
		switch {
		case errors.Is(err, errSpared):
			s.log.Debug("controller ended, the connection goes on", slog.String("controller", name))
			return
		case err == nil:
			err = errEnded
		}
		select {
		case s.ended <- s.symptom(fmt.Errorf("%s: %w", name, err)):
		default:
		}
	})
}

// symptom is the reason why the connection ended, if it has, and else the
// error, which then has a cause of its own.
func (s *session) symptom(err error) error {
	if dead := s.conn.Err(); dead != nil {
		return dead
	}
	return err
}

// answered counts the first answer of one stream. After the last of them the
// control plane has proved that it is there.
func (s *session) answered() {
	if s.waiting.Add(-1) == 0 {
		s.proved.Store(true)
		s.loop.report(true, nil)
	}
}
