// Package mux carries many dRPC calls over one byte stream, as the Tailnet and
// agent APIs demand: yamux over the stream, and each RPC on a yamux stream of
// its own that ends with the RPC (docs of the protocol, 1.5).
package mux

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/hashicorp/yamux"
	"storj.io/drpc"
	"storj.io/drpc/drpcconn"
	"storj.io/drpc/drpcmanager"
	"storj.io/drpc/drpcserver"
	"storj.io/drpc/drpcstream"
	"storj.io/drpc/drpcwire"
)

// bufferLimit is the largest message that either side takes; the library's own
// limit is too small for a large coordinate response (docs of the protocol, 1.5).
const bufferLimit = 4 << 20

func managerOptions() drpcmanager.Options {
	return drpcmanager.Options{
		Reader: drpcwire.ReaderOptions{MaximumBufferSize: bufferLimit},
		Stream: drpcstream.Options{MaximumBufferSize: bufferLimit},
	}
}

func yamuxConfig() *yamux.Config {
	config := yamux.DefaultConfig()
	config.LogOutput = io.Discard
	// Two minutes is past any liveness check of ours: the session itself is
	// closed long before, and a half-closed stream never holds it.
	config.StreamCloseTimeout = 2 * time.Minute
	return config
}

// Client is a dRPC connection that opens one yamux stream for each call. It is
// safe for concurrent use. It owns the session and the stream below it.
type Client struct {
	session *yamux.Session
	streams streams
}

var _ drpc.Conn = (*Client)(nil)

// NewClient starts the yamux client on conn.
func NewClient(conn io.ReadWriteCloser) (*Client, error) {
	session, err := yamux.Client(&gather{ReadWriteCloser: conn}, yamuxConfig())
	if err != nil {
		return nil, fmt.Errorf("start yamux client: %w", err)
	}
	c := &Client{session: session}
	go func() {
		<-session.CloseChan()
		c.streams.end()
	}()
	return c, nil
}

// Close closes the session, every stream and the connection below.
func (c *Client) Close() error {
	c.streams.end()
	return c.session.Close()
}

// Closed is closed when the session has ended, for whatever reason.
func (c *Client) Closed() <-chan struct{} { return c.session.CloseChan() }

// Ping measures one round trip at the yamux layer. It blocks for up to the
// library's write timeout when the far side has gone silent.
func (c *Client) Ping() (time.Duration, error) { return c.session.Ping() }

// Invoke runs a unary call on a stream of its own.
func (c *Client) Invoke(ctx context.Context, rpc string, enc drpc.Encoding, in, out drpc.Message) error {
	stream, err := c.open()
	if err != nil {
		return err
	}
	defer c.streams.remove(stream)
	conn := drpcconn.NewWithOptions(stream, drpcconn.Options{Manager: managerOptions()})
	defer conn.Close()
	return conn.Invoke(ctx, rpc, enc, in, out)
}

// NewStream runs a streaming call on a yamux stream of its own, which is
// closed when the call has ended.
func (c *Client) NewStream(ctx context.Context, rpc string, enc drpc.Encoding) (drpc.Stream, error) {
	stream, err := c.open()
	if err != nil {
		return nil, err
	}
	conn := drpcconn.NewWithOptions(stream, drpcconn.Options{Manager: managerOptions()})
	call, err := conn.NewStream(ctx, rpc, enc)
	if err != nil {
		conn.Close()
		c.streams.remove(stream)
		return nil, err
	}
	go func() {
		select {
		case <-call.Context().Done():
		case <-c.session.CloseChan():
		}
		conn.Close()
		c.streams.remove(stream)
	}()
	return call, nil
}

func (c *Client) open() (*yamux.Stream, error) {
	stream, err := c.session.OpenStream()
	if err != nil {
		return nil, fmt.Errorf("open stream: %w", err)
	}
	c.streams.add(stream)
	return stream, nil
}

// streamLimit is how many calls one connection may have at once. A client of
// ours has fewer than ten; each one costs the server buffers and goroutines.
const streamLimit = 64

// halfOpenLimit is how many streams one connection may have beyond those: calls
// that have ended here and not yet over there. Each holds up to 256 KiB of what the
// far side goes on sending, for as long as StreamCloseTimeout.
const halfOpenLimit = 64

// serverBuffer is what a server gathers of one call before it writes: each of its
// messages is flushed anyway, and a server has thousands of calls open. The
// buffer grows with a longer message.
const serverBuffer = 512

var errStreams = errors.New("too many streams at once")

// Serve starts the yamux server on conn and serves each stream with handler
// until the context or the session ends; then it closes the connection, waits
// for every call to return, and says why it ended: nil is a normal end. A
// stream beyond the 64th that are open at once is closed unread; a far side that
// goes on opening them and never lets go loses the connection.
func Serve(ctx context.Context, conn io.ReadWriteCloser, handler drpc.Handler) error {
	session, err := yamux.Server(&gather{ReadWriteCloser: conn}, yamuxConfig())
	if err != nil {
		return fmt.Errorf("start yamux server: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	var calls sync.WaitGroup
	defer calls.Wait()
	defer cancel()
	var open streams
	end := func() {
		open.end()
		session.Close()
	}
	stop := context.AfterFunc(ctx, end)
	defer stop()
	defer end()

	places := make(chan struct{}, streamLimit)
	options := managerOptions()
	options.WriterBufferSize = serverBuffer
	server := drpcserver.NewWithOptions(handler, drpcserver.Options{Manager: options})
	for {
		stream, err := session.AcceptStream()
		switch {
		case errors.Is(err, io.EOF) || errors.Is(err, yamux.ErrSessionShutdown) || ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("accept stream: %w", err)
		case session.NumStreams() > streamLimit+halfOpenLimit:
			return errStreams
		}
		select {
		case places <- struct{}{}:
		default:
			stream.Close()
			continue
		}
		open.add(stream)
		calls.Go(func() {
			defer func() { open.remove(stream); <-places }()
			// A failed call has told its caller; the session goes on.
			_ = server.ServeOne(ctx, stream)
			stream.Close()
		})
	}
}
