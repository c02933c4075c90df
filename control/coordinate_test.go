package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"
	"github.com/hashicorp/yamux"
	"storj.io/drpc/drpcmux"

	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// order is a data plane that writes down, together with the plane, what
// happens when.
type order struct {
	data
	mu    sync.Mutex
	names map[uuid.UUID]string
	steps []string
}

func (o *order) step(format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.steps = append(o.steps, fmt.Sprintf(format, args...))
}

func (o *order) all() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.steps)
}

func (o *order) SetTunnelDestination(id uuid.UUID) {
	synctest.Wait() // whatever was said before is on the wire
	o.step("mark %s", o.names[id])
}

func (o *order) UpdatePeers([]*tailnetv2.CoordinateResponse_PeerUpdate) error {
	synctest.Wait()
	o.step("apply")
	return nil
}

func (o *order) coordinate(dial int, stream tailnetv2.DRPCTailnet_CoordinateStream) error {
	for {
		request, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			o.step("%d: half-closed", dial)
			return nil
		case err != nil:
			return err
		case request.GetAddTunnel() != nil:
			o.step("%d: add %s", dial, o.names[uuid.UUID(request.GetAddTunnel().GetId())])
		case request.GetRemoveTunnel() != nil:
			o.step("%d: remove %s", dial, o.names[uuid.UUID(request.GetRemoveTunnel().GetId())])
		case request.GetUpdateSelf() != nil:
			o.step("%d: node %d", dial, request.GetUpdateSelf().GetNode().GetId())
		case request.GetDisconnect() != nil:
			o.step("%d: disconnect", dial)
		case request.GetReadyForHandshake() != nil:
			o.step("%d: %d ready", dial, len(request.GetReadyForHandshake()))
		}
	}
}

// Destinations: marked before they are asked for; said once; Sync adds before
// it removes; all are said again on each connection; the loop's end says
// disconnect and half-closes.
func TestDestinationsInOrder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b, c := uuid.UUID{1}, uuid.UUID{2}, uuid.UUID{3}
		o := &order{names: map[uuid.UUID]string{a: "a", b: "b", c: "c"}}
		p := &plane{coordinate: o.coordinate}
		set := NewDestinations(a)
		stop := run(t, &Loop{Dialer: serve(t, p, newPipes()), Coordinatee: o, Destinations: set})
		time.Sleep(time.Second)
		set.Add(a)
		set.Add(b)
		set.Remove(c)
		time.Sleep(time.Second)
		set.Sync([]uuid.UUID{b, c})
		time.Sleep(time.Second)
		set.Remove(b)
		time.Sleep(time.Second)
		o.read(func(d *data) { d.callback(&tailnetv2.Node{Id: 5}) })
		time.Sleep(time.Second)
		p.drop()
		time.Sleep(time.Second)
		stop()
		want := []string{
			"mark a", "1: add a", "mark b", "1: add b", "mark c", "1: add c", "1: remove a", "1: remove b", "1: node 5",
			"mark c", "2: add c", "2: disconnect", "2: half-closed",
		}
		if got := o.all(); !slices.Equal(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	})
}

// Clients never acknowledge; agents do after the peers are applied, in one
// request for each response.
func TestAcknowledgements(t *testing.T) {
	for _, acks := range []bool{true, false} {
		bubble(t, func(t *testing.T) {
			o := &order{}
			p := &plane{coordinate: func(dial int, stream tailnetv2.DRPCTailnet_CoordinateStream) error {
				var updates []*tailnetv2.CoordinateResponse_PeerUpdate
				for i := range 5 {
					updates = append(updates, &tailnetv2.CoordinateResponse_PeerUpdate{
						Id: []byte(strings.Repeat(fmt.Sprint(i), 16)), Kind: tailnetv2.CoordinateResponse_PeerUpdate_NODE, Node: &tailnetv2.Node{},
					})
				}
				updates[4].Kind = tailnetv2.CoordinateResponse_PeerUpdate_DISCONNECTED
				if err := stream.Send(&tailnetv2.CoordinateResponse{PeerUpdates: updates}); err != nil {
					return err
				}
				return o.coordinate(dial, stream)
			}}
			stop := run(t, &Loop{Dialer: serve(t, p, newPipes()), Coordinatee: o, Acks: acks})
			time.Sleep(time.Second)
			want := []string{"apply"}
			if acks {
				want = append(want, "1: 4 ready")
			}
			if got := o.all(); !slices.Equal(got, want) {
				t.Errorf("acks %v: got %q, want %q", acks, got, want)
			}
			stop()
		})
	}
}

// A far side that reads no more, though it answers pings, is left without
// grace; what changes meanwhile is for the next connection.
func TestFailedSendClosesWithoutGrace(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := uuid.UUID{1}, uuid.UUID{2}
		o, heard := &order{names: map[uuid.UUID]string{a: "a", b: "b"}}, &reports{}
		p := &plane{}
		p.coordinate = func(dial int, stream tailnetv2.DRPCTailnet_CoordinateStream) error {
			if dial > 1 {
				return o.coordinate(dial, stream)
			}
			<-stream.Context().Done()
			return nil
		}
		set := NewDestinations(a)
		stop := run(t, &Loop{Dialer: serve(t, p, newPipes()), Coordinatee: o, Destinations: set, Connected: heard.hear})
		time.Sleep(time.Second)
		o.read(func(d *data) { d.callback(&tailnetv2.Node{Disco: strings.Repeat("x", 1<<20)}) })
		time.Sleep(sendTimeout - time.Millisecond)
		if len(heard.all()) != 1 {
			t.Errorf("left too early: %+v", heard.all())
		}
		set.Add(b)
		set.Remove(a)
		time.Sleep(time.Second)
		synctest.Wait()
		if list := heard.all(); len(list) != 3 || !errors.Is(list[1].err, errStalled) {
			t.Errorf("heard %+v", list)
		}
		stop()
		// The old node is not said again by the loop: that is for the data plane.
		want := []string{"mark a", "mark b", "mark b", "2: add b", "2: disconnect", "2: half-closed"}
		if got := o.all(); !slices.Equal(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	})
}

// closing is a plane's end of a connection, which notes how the client closes.
type closing struct {
	byteStream
	message io.Reader
	ends    *sync.Map
}

func (c *closing) Read(p []byte) (int, error) {
	for {
		if c.message == nil {
			_, message, err := c.socket.Reader(c.ctx)
			var end websocket.CloseError
			if errors.As(err, &end) {
				c.ends.Store(end, true)
			}
			if err != nil {
				return 0, err
			}
			c.message = message
		}
		n, err := c.message.Read(p)
		if errors.Is(err, io.EOF) {
			c.message, err = nil, nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// A stream that cannot be opened ends the connection with status 1011 and no
// reason, as a failed dial: the backoff grows and nobody hears of a connection.
func TestStreamThatDoesNotOpen(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var ends sync.Map
		p, heard := &plane{}, &reports{}
		p.serve = func(ctx context.Context, socket *websocket.Conn, _ *drpcmux.Mux) {
			watched := &closing{byteStream: byteStream{ctx: ctx, socket: socket, ended: func(error) {}}, ends: &ends}
			session, err := yamux.Server(watched, nil)
			if err != nil {
				t.Error(err)
				return
			}
			_ = session.GoAway()
			<-session.CloseChan()
		}
		loop := &Loop{Dialer: serve(t, p, newPipes()), Coordinatee: &data{}, Connected: heard.hear}
		loop.Prepare = func(ctx context.Context, _ *Conn) error { time.Sleep(time.Millisecond); return nil }
		stop := run(t, loop)
		time.Sleep(time.Minute)
		stop()
		if n := len(p.seen()); n < 8 || n > 30 || heard.ups() != 0 || !strings.Contains(heard.all()[0].err.Error(), "open coordination") {
			t.Errorf("%d dials; heard %+v", n, heard.all()[:2])
		}
		ends.Range(func(key, _ any) bool {
			if end := key.(websocket.CloseError); end.Code != websocket.StatusInternalError || end.Reason != "" {
				t.Errorf("closed with %v", end)
			}
			return true
		})
		if _, found := ends.Load(websocket.CloseError{Code: websocket.StatusInternalError}); !found {
			t.Error("no close frame was seen")
		}
	})
}
