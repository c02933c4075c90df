package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"
	"storj.io/drpc/drpcmux"

	"github.com/causewayhq/causeway/control"
	cwproto "github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/mux"
	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// plane is the least control plane that a loop calls one: a relay map, and
// coordination that listens.
type plane struct {
	tailnetv2.DRPCTailnetUnimplementedServer
	mu     sync.Mutex
	newest *websocket.Conn
}

func (*plane) Coordinate(stream tailnetv2.DRPCTailnet_CoordinateStream) error {
	for {
		if request, err := stream.Recv(); err != nil || request.GetDisconnect() != nil {
			return nil
		}
	}
}

func (*plane) StreamDERPMaps(_ *tailnetv2.StreamDERPMapsRequest, stream tailnetv2.DRPCTailnet_StreamDERPMapsStream) error {
	if err := stream.Send(&tailnetv2.DERPMap{}); err != nil {
		return err
	}
	<-stream.Context().Done()
	return nil
}

func (p *plane) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	socket, err := websocket.Accept(w, r, &websocket.AcceptOptions{CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		return
	}
	p.mu.Lock()
	p.newest = socket
	p.mu.Unlock()
	router := drpcmux.New()
	if err := tailnetv2.DRPCRegisterTailnet(router, p); err != nil {
		return
	}
	_ = mux.Serve(r.Context(), websocket.NetConn(context.Background(), socket, websocket.MessageBinary), router)
}

// drop cuts the newest connection, as a proxy or a crash does.
func (p *plane) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.newest.CloseNow()
}

// aside lets somebody else connect, without being the newest after it.
func (p *plane) aside(connect func() (time.Duration, error)) (time.Duration, error) {
	p.mu.Lock()
	newest := p.newest
	p.mu.Unlock()
	took, err := connect()
	p.mu.Lock()
	p.newest = newest
	p.mu.Unlock()
	return took, err
}

// idle is a data plane that takes everything.
type idle struct{}

func (idle) UpdatePeers([]*tailnetv2.CoordinateResponse_PeerUpdate) error { return nil }
func (idle) SetAllPeersLost()                                             {}
func (idle) SetNodeCallback(func(*tailnetv2.Node))                        {}
func (idle) SetTunnelDestination(uuid.UUID)                               {}
func (idle) ClearTunnelDestination(uuid.UUID)                             {}

// firstWait is the longest wait of the loop before it dials again after a
// connection that worked: the floor of 50 ms, and jitter of as much.
const firstWait = 100 * time.Millisecond

// measureReconnect cuts a connection again and again, and times the way back.
// After each cut it also dials once by hand, which is what the bound is made of.
func measureReconnect(ctx context.Context, flags *flag.FlagSet, args []string) error {
	drops := flags.Int("drops", 100, "how often the connection is cut")
	rounds := flags.Int("rounds", 3, "of so many drops")
	if err := flags.Parse(args); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	p := &plane{}
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: p}
	go func() { _ = server.Serve(listener) }()
	defer server.Close()
	dialer := &control.Dialer{
		URL: &url.URL{Scheme: "http", Host: listener.Addr().String()}, Path: control.UserPath, Version: cwproto.V20, Token: func() string { return "" },
	}
	up := make(chan time.Time, 16)
	loop := &control.Loop{Dialer: dialer, Coordinatee: idle{}, RelayMap: func(cwproto.RelayMap) {}, Connected: func(connected bool, _ error) {
		if connected {
			up <- time.Now()
		}
	}}
	loopCtx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { _ = loop.Run(loopCtx) })
	defer running.Wait()
	defer cancel()
	result := figures{}
	<-up
	for range *rounds {
		var took, dialled []time.Duration
		for range *drops {
			began := time.Now()
			p.drop()
			back, err := awaitUp(ctx, up)
			if err != nil {
				return err
			}
			took = append(took, back.Sub(began))
			once, err := p.aside(func() (time.Duration, error) { return dialOnce(ctx, dialer) })
			if err != nil {
				return err
			}
			dialled = append(dialled, once)
		}
		result.add("p50", millis(percentile(took, 50)))
		result.add("p99", millis(percentile(took, 99)))
		result.add("bound p50", millis(firstWait*3/4+percentile(dialled, 50)))
		result.add("bound p99", millis(firstWait+percentile(dialled, 99)))
	}
	return result.print()
}

func awaitUp(ctx context.Context, up <-chan time.Time) (time.Time, error) {
	select {
	case at := <-up:
		return at, nil
	case <-ctx.Done():
		return time.Time{}, ctx.Err()
	case <-time.After(30 * time.Second):
		return time.Time{}, fmt.Errorf("wait for the connection: %w", context.DeadlineExceeded)
	}
}

// dialOnce is the time from a dial to the first answer.
func dialOnce(ctx context.Context, dialer *control.Dialer) (time.Duration, error) {
	began := time.Now()
	conn, err := dialer.Dial(ctx, "")
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	stream, err := tailnetv2.NewDRPCTailnetClient(conn).StreamDERPMaps(ctx, &tailnetv2.StreamDERPMapsRequest{})
	if err != nil {
		return 0, err
	}
	if _, err := stream.Recv(); err != nil {
		return 0, err
	}
	return time.Since(began), nil
}
