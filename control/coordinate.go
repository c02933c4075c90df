package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"storj.io/drpc"

	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// notFatal begins the one error in a coordination response that does not end
// the stream.
const notFatal = "ready for handshake error"

// coordination tells the control plane our node and tunnels, and the data
// plane its peers.
type coordination struct {
	session *session
	stream  tailnetv2.DRPCTailnet_CoordinateClient
	out     *outbox
	bye     chan struct{} // closed: say disconnect and end
	once    sync.Once     // of bye
	gone    chan struct{} // closed: the far side hung up
	refused int           // updates that the data plane did not take
}

func newCoordination(s *session, stream tailnetv2.DRPCTailnet_CoordinateClient) *coordination {
	return &coordination{session: s, stream: stream, out: newOutbox(), bye: make(chan struct{}), gone: make(chan struct{})}
}

// run ends with the stream, and leaves all peers marked as lost.
func (c *coordination) run() error {
	loop := c.session.loop
	c.session.group.Go(c.send)
	loop.Coordinatee.SetNodeCallback(c.out.setNode)
	if loop.Workspaces == nil {
		c.attach()
	}
	err := c.receive()
	loop.Destinations.detach()
	loop.Coordinatee.SetAllPeersLost()
	close(c.gone)
	if err == nil && loop.farewells.gone() {
		return errSpared
	}
	return err
}

// attach announces all destinations. With workspace updates that waits for
// the first snapshot: one agent that is gone meanwhile would make the control
// plane end the whole connection.
func (c *coordination) attach() {
	c.session.loop.Destinations.attach(c.out, c.session.loop.Coordinatee)
}

func (c *coordination) receive() error {
	for {
		response, err := c.stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("receive peers: %w", err)
		}
		if text := response.GetError(); strings.HasPrefix(text, notFatal) {
			c.session.log.Warn("control plane refused an acknowledgement", slog.String("error", printable(text)))
		} else if text != "" {
			// The end of the stream follows; the loop logs it with this reason.
			c.session.told.CompareAndSwap(nil, told(text))
		}
		if len(response.GetPeerUpdates()) == 0 {
			continue
		}
		loop := c.session.loop
		if err := loop.Coordinatee.UpdatePeers(response.GetPeerUpdates()); err != nil {
			c.skipped(err)
		}
		if loop.Acks {
			c.acknowledge(response.GetPeerUpdates())
		}
	}
}

// skippedLimit is how many refused peers are logged on one connection: what
// comes beyond is a control plane gone wrong, and no news.
const skippedLimit = 20

// skipped logs what the data plane refused. The good ones are applied. To end
// the connection would let one peer with a bad node cost us all others, again
// and again.
func (c *coordination) skipped(err error) {
	level := slog.LevelError
	if c.refused++; c.refused > skippedLimit {
		level = slog.LevelDebug
	}
	c.session.log.LogAttrs(context.Background(), level, "peer update skipped", slog.String("error", printable(err.Error())))
}

// acknowledge says that the nodes of one response are programmed. An id that
// is none would make the far side end the connection.
func (c *coordination) acknowledge(updates []*tailnetv2.CoordinateResponse_PeerUpdate) {
	var ids [][]byte
	for _, update := range updates {
		if update.GetKind() == tailnetv2.CoordinateResponse_PeerUpdate_NODE && len(update.GetId()) == len(uuid.UUID{}) {
			ids = append(ids, update.GetId())
		}
	}
	if len(ids) > 0 {
		c.out.acknowledge(ids)
	}
}

// sendTimeout is how long the far side may leave a request unread, while it
// still answers pings.
const sendTimeout = 10 * time.Second

var errStalled = errors.New("not read in time")

// send is the only sender on the stream. When it fails the connection is
// closed without grace.
func (c *coordination) send() {
	for {
		select {
		case <-c.gone:
			return
		case <-c.bye:
			goodbye := &tailnetv2.CoordinateRequest{Disconnect: &tailnetv2.CoordinateRequest_Disconnect{}}
			if c.say(goodbye) {
				_ = c.stream.CloseSend() // the far side's end of the stream is what counts
			}
			return
		case <-c.out.wake:
		}
		for _, request := range c.out.take() {
			if !c.say(request) {
				return
			}
		}
	}
}

// say sends one request and says whether there is any sense in sending more.
func (c *coordination) say(request *tailnetv2.CoordinateRequest) bool {
	stalled := time.AfterFunc(sendTimeout, func() { c.session.conn.fail(fmt.Errorf("send to coordinator: %w", errStalled)) })
	err := c.stream.Send(request)
	stalled.Stop()
	switch {
	case err == nil:
		return true
	case errors.Is(err, io.EOF) || drpc.ClosedError.Has(err):
		// The far side ended the stream: the receiver hears why.
	default:
		c.session.conn.fail(fmt.Errorf("send to coordinator: %w", err))
	}
	return false
}

// goodbye is a disconnect within the limit of a graceful end. There is nobody
// to say it to where no coordination took place.
func (c *coordination) goodbye() bool {
	if c == nil {
		return true
	}
	ctx, cancel := context.WithTimeout(context.Background(), graceful)
	defer cancel()
	return c.disconnect(ctx)
}

// disconnect says goodbye and waits for the far side to end the stream, or
// for the context; it says which.
func (c *coordination) disconnect(ctx context.Context) bool {
	c.once.Do(func() { close(c.bye) })
	select {
	case <-c.gone:
		return true
	case <-ctx.Done():
		return false
	}
}
