package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"
	"storj.io/drpc/drpcmux"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/tailnetv2"
	"github.com/causewayhq/causeway/workspace"
)

// Whatever a control plane sends on its first connections, each ends with a
// clear error, logged once, and the loop goes on to the connection that works.
func TestHostileConnections(t *testing.T) {
	raw := func(kind websocket.MessageType, data string) func(context.Context, *websocket.Conn) {
		return func(ctx context.Context, socket *websocket.Conn) {
			_ = socket.Write(ctx, kind, []byte(data))
			_, _, _ = socket.Read(ctx)
		}
	}
	tests := []struct {
		name string
		bad  func(context.Context, *websocket.Conn)
		want string
		last time.Duration // longest life of a bad connection
	}{
		{"garbage", raw(websocket.MessageBinary, strings.Repeat("\xff", 100)), "protocol version", time.Second},
		{"random frame", raw(websocket.MessageBinary, "\x00\x09\x00\x00garbage!!"), "", time.Second},
		{"huge frame", raw(websocket.MessageBinary, "\x00\x00\x00\x00\x00\x00\x00\x01\xff\xff\xff\xff"), "", time.Minute},
		{"text", raw(websocket.MessageText, "hello"), "text message", time.Second},
		{"plain close", func(_ context.Context, socket *websocket.Conn) { _ = socket.Close(websocket.StatusInternalError, "") }, "", time.Second},
		{"mute", func(ctx context.Context, socket *websocket.Conn) {
			for {
				if _, _, err := socket.Read(ctx); err != nil {
					return
				}
			}
		}, "did not answer within 30s", time.Minute},
		{"slow drip", func(ctx context.Context, socket *websocket.Conn) {
			ctx = socket.CloseRead(ctx)
			for i := 0; ctx.Err() == nil; i++ {
				_ = socket.Write(ctx, websocket.MessageBinary, []byte{[]byte{0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 64, 0}[min(i, 11)]})
				time.Sleep(time.Second)
			}
		}, "", time.Minute},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				p, heard, lines := &plane{}, &reports{}, &journal{}
				bad := 0
				p.reject = func(dial int, _ *http.Request) (int, string) {
					bad = dial
					if dial > 3 {
						p.serve = nil
					}
					return 0, ""
				}
				p.serve = func(ctx context.Context, socket *websocket.Conn, _ *drpcmux.Mux) { test.bad(ctx, socket) }
				loop := userLoop(serve(t, p, newPipes()), &data{}, heard)
				loop.Logger = slog.New(lines)
				stop := run(t, loop)
				time.Sleep(5 * time.Minute)
				synctest.Wait()
				if len(p.seen()) != 4 || heard.ups() != 1 {
					t.Fatalf("%d dials: %+v", len(p.seen()), heard.all())
				}
				if n := lines.count(slog.LevelInfo, ""); n != 3 || lines.count(slog.LevelWarn, test.want) != 3 {
					t.Errorf("%d lines for 3 bad connections, %d with %q: %v", n, lines.count(slog.LevelWarn, test.want), test.want, heard.all()[0].err)
				}
				for i, dial := range p.seen()[1:] {
					if life := dial.at.Sub(p.seen()[i].at); life > test.last {
						t.Errorf("connection %d of %d lived for %v", i+1, bad, life)
					}
				}
				stop()
			})
		})
	}
}

// A message beyond 4 MiB ends the connection; one below passes.
func TestOversizeMessage(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p, heard, lines := &plane{}, &reports{}, &journal{}
		p.relayMaps = func(dial int, stream tailnetv2.DRPCTailnet_StreamDERPMapsStream) error {
			size := 3 << 20
			if dial == 1 {
				size = 5 << 20
			}
			_ = stream.Send(&tailnetv2.DERPMap{Regions: map[int64]*tailnetv2.DERPMap_Region{1: {RegionName: strings.Repeat("x", size)}}})
			<-stream.Context().Done()
			return nil
		}
		sizes := []int{}
		loop := userLoop(serve(t, p, newPipes()), &data{}, heard)
		loop.Logger = slog.New(lines)
		loop.RelayMap = func(m proto.RelayMap) { sizes = append(sizes, len(m.Regions[1].RegionName)) }
		stop := run(t, loop)
		time.Sleep(time.Minute)
		stop()
		if fmt.Sprint(sizes) != fmt.Sprint([]int{3 << 20}) || heard.ups() != 1 || len(p.seen()) != 2 {
			t.Errorf("maps of %v; %d dials: %+v", sizes, len(p.seen()), heard.all())
		}
		if lines.count(slog.LevelWarn, "overflow") != 1 {
			t.Error("the reason was not logged once")
		}
	})
}

// Each kind of workspace message that cannot be right ends its connection with
// a reason, and what was known stays until the next snapshot.
func TestBadWorkspaceMessages(t *testing.T) {
	ws, agent := make([]byte, 16), append(make([]byte, 15), 1)
	first := &tailnetv2.WorkspaceUpdate{
		UpsertedWorkspaces: []*tailnetv2.Workspace{{Id: ws, Name: "w"}}, UpsertedAgents: []*tailnetv2.Agent{{Id: agent, Name: "a", WorkspaceId: ws}},
	}
	other := append(make([]byte, 15), 9)
	tests := map[string]*tailnetv2.WorkspaceUpdate{
		"workspace id":               {UpsertedWorkspaces: []*tailnetv2.Workspace{{Id: []byte("short")}}},
		"agent id":                   {UpsertedAgents: []*tailnetv2.Agent{{Id: make([]byte, 17), WorkspaceId: ws}}},
		"agent of unknown workspace": {UpsertedAgents: []*tailnetv2.Agent{{Id: other, WorkspaceId: other}}},
		"agent without workspace":    {UpsertedAgents: []*tailnetv2.Agent{{Id: other}}},
		"delete unknown agent":       {DeletedAgents: []*tailnetv2.Agent{{Id: other}}},
		"delete unknown workspace":   {DeletedWorkspaces: []*tailnetv2.Workspace{{Id: other}}},
		"delete with a bad id":       {DeletedAgents: []*tailnetv2.Agent{{Id: agent[:15]}}},
		"delete in a snapshot":       nil,
	}
	for name, bad := range tests {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				p, heard, lines := &plane{}, &reports{}, &journal{}
				p.workspaces = func(dial int, stream tailnetv2.DRPCTailnet_WorkspaceUpdatesStream) error {
					switch {
					case dial == 1 || dial == 3:
						_ = stream.Send(first)
					case bad == nil:
						_ = stream.Send(&tailnetv2.WorkspaceUpdate{DeletedAgents: first.GetUpsertedAgents()})
					default:
						_ = stream.Send(first)
						_ = stream.Send(bad)
					}
					<-stream.Context().Done()
					return nil
				}
				loop := userLoop(serve(t, p, newPipes()), &data{}, heard)
				loop.Logger = slog.New(lines)
				fewest := 1
				loop.Workspaces = func(state *workspace.State, _ workspace.Diff) error { fewest = min(fewest, state.Len()); return nil }
				stop := run(t, loop)
				time.Sleep(time.Second)
				p.drop() // the second connection is the bad one
				time.Sleep(time.Minute)
				synctest.Wait()
				if len(p.seen()) != 3 || fewest != 1 || loop.state.Len() != 1 {
					t.Errorf("%d dials, fewest agents %d", len(p.seen()), fewest)
				}
				if lines.count(slog.LevelWarn, "workspace updates: ") != 1 {
					t.Errorf("the reason was logged %d times", lines.count(slog.LevelWarn, "workspace updates: "))
				}
				stop()
			})
		})
	}
}

// updateStream is a stream of workspace messages that ends with io.EOF.
type updateStream struct {
	tailnetv2.DRPCTailnet_WorkspaceUpdatesClient
	next func() *tailnetv2.WorkspaceUpdate
}

func (u *updateStream) Recv() (*tailnetv2.WorkspaceUpdate, error) {
	if update := u.next(); update != nil {
		return update, nil
	}
	return nil, io.EOF
}

// lone is a session without a connection, for its receivers alone.
func lone(engine Coordinatee, taken func(*workspace.State, workspace.Diff) error) (*session, *coordination) {
	loop := &Loop{Dialer: &Dialer{}, Coordinatee: engine, Workspaces: taken, Acks: true}
	loop.init()
	s := &session{loop: loop, log: loop.Logger}
	return s, newCoordination(s, nil)
}

// A million agents in messages of a proper size are not taken, however they
// come; the same few again and again are.
func TestMessageBomb(t *testing.T) {
	ws := make([]byte, 16)
	for _, test := range []struct {
		name    string
		id      func(i int) []byte
		refused bool
	}{
		{"new ones", func(i int) []byte { id := uuid.UUID{1, byte(i), byte(i >> 8), byte(i >> 16)}; return id[:] }, true},
		{"old ones", func(i int) []byte { id := uuid.UUID{1, byte(i)}; return id[:] }, false},
	} {
		most, sent := 0, 0
		s, c := lone(&data{}, func(state *workspace.State, _ workspace.Diff) error { most = max(most, state.Len()); return nil })
		stream := &updateStream{next: func() *tailnetv2.WorkspaceUpdate {
			if sent >= 250_000 {
				return nil
			}
			update := &tailnetv2.WorkspaceUpdate{UpsertedWorkspaces: []*tailnetv2.Workspace{{Id: ws}}}
			for range 10_000 {
				sent++
				update.UpsertedAgents = append(update.UpsertedAgents, &tailnetv2.Agent{Id: test.id(sent), WorkspaceId: ws, Name: "a"})
			}
			return update
		}}
		err := s.receiveWorkspaces(stream, c)
		if refused := !errors.Is(err, io.EOF); refused != test.refused || most > agentLimit {
			t.Errorf("%s: %d agents at most, after %d: %v", test.name, most, sent, err)
		}
		if test.refused && (!strings.Contains(err.Error(), "are over") || most < agentLimit/2) {
			t.Errorf("%s: refused too early, after %d, or without a reason: %v", test.name, most, err)
		}
	}
}

// Peers that the data plane refuses are logged, but not without end, and no id
// that is none is acknowledged: the far side would hang up.
func TestBadPeerUpdates(t *testing.T) {
	lines, sent := &journal{}, 0
	s, c := lone(&data{fail: errors.New("node \x1b is malformed")}, nil)
	s.log = slog.New(lines)
	c.stream = &coordinateStream{next: func() *tailnetv2.CoordinateResponse {
		if sent++; sent > 1000 {
			return nil
		}
		good := uuid.New()
		return &tailnetv2.CoordinateResponse{PeerUpdates: []*tailnetv2.CoordinateResponse_PeerUpdate{
			{Id: []byte("short"), Kind: tailnetv2.CoordinateResponse_PeerUpdate_NODE}, {Kind: tailnetv2.CoordinateResponse_PeerUpdate_NODE},
			{Id: good[:], Kind: tailnetv2.CoordinateResponse_PeerUpdate_NODE}, nil, {Id: good[:], Kind: 77},
		}}
	}}
	if err := c.receive(); err != nil {
		t.Errorf("ended with %v", err)
	}
	if n := lines.count(slog.LevelInfo, "skipped"); n != skippedLimit || lines.count(slog.LevelDebug, "\x1b") != 0 {
		t.Errorf("%d lines", n)
	}
	for _, ready := range c.out.ready {
		if len(ready.GetId()) != 16 {
			t.Fatalf("acknowledged %x", ready.GetId())
		}
	}
	if len(c.out.ready) != 1000 {
		t.Errorf("%d acknowledged", len(c.out.ready))
	}
}

// coordinateStream is a stream of coordination responses that ends cleanly.
type coordinateStream struct {
	tailnetv2.DRPCTailnet_CoordinateClient
	next func() *tailnetv2.CoordinateResponse
}

func (c *coordinateStream) Recv() (*tailnetv2.CoordinateResponse, error) {
	if response := c.next(); response != nil {
		return response, nil
	}
	return nil, io.EOF
}

// A rejection is read whole up to its limit, so that a long detail hides no
// validation behind it, and no longer than the dial may take.
func TestLongAndSlowRejections(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := &plane{reject: func(int, *http.Request) (int, string) {
			return 401, `{"message":"no","detail":"` + strings.Repeat("x", 30_000) + `","validations":[{"field":"resume_token","detail":"old"}]}`
		}}
		_, err := serve(t, p, newPipes()).Dial(t.Context(), "token")
		var refused *DialError
		if !errors.As(err, &refused) || !refused.has("resume_token") || errors.Is(err, ErrSignedOut) {
			t.Errorf("got %.200v", err)
		}
	})
	bubble(t, func(t *testing.T) {
		near, far := net.Pipe()
		var dripping sync.WaitGroup
		defer dripping.Wait()
		dripping.Go(func() {
			_, _ = far.Read(make([]byte, 4096))
			_, err := io.WriteString(far, "HTTP/1.1 400 Bad Request\r\nContent-Length: 1000000\r\n\r\n{")
			for ; err == nil; time.Sleep(time.Second) {
				_, err = io.WriteString(far, " ")
			}
		})
		dialer := serve(t, &plane{}, newPipes())
		dialer.HTTP.Transport.(*http.Transport).DialContext = func(context.Context, string, string) (net.Conn, error) { return near, nil }
		began := time.Now()
		_, err := dialer.Dial(t.Context(), "")
		var refused *DialError
		if took := time.Since(began); took > dialTimeout+time.Second || !errors.As(err, &refused) || refused.Status != 400 {
			t.Errorf("after %v: %v", took, err)
		}
		near.Close()
		far.Close()
	})
}
