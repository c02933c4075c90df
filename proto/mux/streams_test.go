package mux

import (
	"bytes"
	"context"
	"net"
	"runtime"
	"testing"
	"time"

	"storj.io/drpc/drpcmux"

	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// polite is a connection that takes its time to close, as a websocket does that
// waits for the far side's close frame.
type polite struct {
	net.Conn
	release chan struct{}
}

func newPolite(conn net.Conn) *polite {
	return &polite{Conn: conn, release: make(chan struct{})}
}

func (p *polite) Close() error {
	<-p.release
	return p.Conn.Close()
}

// waiting is a server of calls that are open and silent.
type waiting struct {
	tailnetv2.DRPCTailnetUnimplementedServer
	begun chan struct{}
}

func (w *waiting) Coordinate(stream tailnetv2.DRPCTailnet_CoordinateStream) error {
	w.begun <- struct{}{}
	_, _ = stream.Recv()
	return nil
}

// readers is how many goroutines are inside yamux's read.
func readers() int {
	stacks := make([]byte, 1<<20)
	return bytes.Count(stacks[:runtime.Stack(stacks, true)], []byte("yamux.(*Stream).Read("))
}

// TestNobodyReadsFromAnEndedSession holds that the readers of a session return
// when it ends, not when the connection below it is closed: until then yamux
// would let them spin.
func TestNobodyReadsFromAnEndedSession(t *testing.T) {
	const calls = 5 // each with one reader at either end
	for name, test := range map[string]struct {
		end  func(near net.Conn, cancel func(), client *Client)
		left int
	}{
		"the server ends":  {func(_ net.Conn, cancel func(), _ *Client) { cancel() }, calls},
		"the network ends": {func(near net.Conn, _ func(), _ *Client) { near.Close() }, 0},
		"the client ends":  {func(_ net.Conn, _ func(), client *Client) { go client.Close() }, calls},
	} {
		t.Run(name, func(t *testing.T) {
			near, far := net.Pipe()
			slow, slowNear := newPolite(far), newPolite(near)
			handler := &waiting{begun: make(chan struct{}, calls)}
			router := drpcmux.New()
			if err := tailnetv2.DRPCRegisterTailnet(router, handler); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			served := make(chan error, 1)
			go func() { served <- Serve(ctx, slow, router) }()
			client, err := NewClient(slowNear)
			if err != nil {
				t.Fatal(err)
			}
			for range calls {
				stream, err := tailnetv2.NewDRPCTailnetClient(client).Coordinate(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if err := stream.Send(&tailnetv2.CoordinateRequest{}); err != nil {
					t.Fatal(err)
				}
				<-handler.begun
			}
			test.end(near, cancel, client)
			for deadline := time.Now().Add(10 * time.Second); readers() > test.left; time.Sleep(5 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Errorf("%d readers, want %d", readers(), test.left)
					break
				}
			}
			close(slow.release)
			close(slowNear.release)
			cancel()
			<-served
			client.Close()
		})
	}
}
