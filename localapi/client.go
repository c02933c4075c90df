package localapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"sync"
	"syscall"

	"storj.io/drpc"
	"storj.io/drpc/drpcconn"
	"storj.io/drpc/drpcerr"
	"storj.io/drpc/drpcmanager"
	"storj.io/drpc/drpcstream"
	"storj.io/drpc/drpcwire"

	"github.com/causewayhq/causeway/proto/localv1"
)

// maxAnswer bounds one answer, in bytes: a status takes about 500 for each
// agent, and 10,000 agents are many.
const maxAnswer = 16 << 20

// Client calls the daemon. Each call is a connection of its own, so that calls
// do not wait for each other. It is safe for concurrent use. Errors are *Error
// where somebody can do something about them.
type Client struct {
	localv1.DRPCLocalClient
	conn *dialer
}

// Dial finds out that a daemon serves the socket and who it is, and returns
// its client. Close ends the streams that are still open.
func Dial(ctx context.Context, path string) (*Client, error) {
	d := &dialer{path: path, done: make(chan struct{})}
	probe, err := d.dial(ctx)
	if err != nil {
		return nil, err
	}
	probe.Close()
	return &Client{DRPCLocalClient: localv1.NewDRPCLocalClient(d), conn: d}, nil
}

// Close ends the open streams and waits for them.
func (c *Client) Close() error { return c.conn.Close() }

// dialer is a drpc.Conn that opens one connection for each call.
type dialer struct {
	path    string
	streams sync.WaitGroup
	close   sync.Once
	done    chan struct{}
}

var _ drpc.Conn = (*dialer)(nil)

func (d *dialer) dial(ctx context.Context) (net.Conn, error) {
	conn, err := dialLocal(ctx, d.path)
	if err != nil {
		return nil, diagnose(d.path, err)
	}
	// A login hands over a token, so the other end must be one that could
	// read our files anyway.
	if err := trustServer(conn, d.path); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

func diagnose(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return notRunning(fmt.Sprintf("connect to %s: there is no socket", path))
	case errors.Is(err, syscall.ECONNREFUSED):
		return notRunning(fmt.Sprintf("connect to %s: nobody serves the socket", path))
	case errors.Is(err, fs.ErrPermission):
		return &Error{
			Code:   CodePermission,
			Cause:  fmt.Sprintf("connect to %s: permission denied", path),
			Remedy: runAsRoot,
		}
	case errors.Is(err, syscall.EAGAIN):
		return &Error{
			Code:   CodeTimeout,
			Cause:  fmt.Sprintf("connect to %s: the daemon does not accept connections", path),
			Remedy: "look at the daemon's log, and restart it",
		}
	}
	return fmt.Errorf("connect to %s: %w", path, err)
}

func notRunning(cause string) *Error {
	return &Error{
		Code:   CodeNotRunning,
		Cause:  cause,
		Remedy: startDaemon,
	}
}

// Invoke runs a unary call.
func (d *dialer) Invoke(ctx context.Context, rpc string, encoding drpc.Encoding, in, out drpc.Message) error {
	conn, err := d.dial(ctx)
	if err != nil {
		return err
	}
	call := drpcconn.NewWithOptions(conn, options())
	defer call.Close()
	return d.explain(ctx, call.Invoke(ctx, rpc, encoding, in, out))
}

// NewStream runs a streaming call.
func (d *dialer) NewStream(ctx context.Context, rpc string, encoding drpc.Encoding) (drpc.Stream, error) {
	conn, err := d.dial(ctx)
	if err != nil {
		return nil, err
	}
	call := drpcconn.NewWithOptions(conn, options())
	stream, err := call.NewStream(ctx, rpc, encoding)
	if err != nil {
		call.Close()
		return nil, d.explain(ctx, err)
	}
	d.streams.Go(func() {
		select {
		case <-stream.Context().Done():
		case <-d.done:
		}
		call.Close()
	})
	return &explained{Stream: stream, dialer: d, ctx: ctx}, nil
}

// explained puts a stream's errors into words.
type explained struct {
	drpc.Stream
	dialer *dialer
	ctx    context.Context // the caller's, to tell its end from the daemon's
}

func (e *explained) MsgRecv(message drpc.Message, encoding drpc.Encoding) error {
	err := e.Stream.MsgRecv(message, encoding)
	// The handler said that it is done; a connection that breaks is canceled.
	if errors.Is(err, io.EOF) && !drpc.ClosedError.Has(err) && e.ctx.Err() == nil {
		return io.EOF
	}
	return e.dialer.explain(e.ctx, err)
}

func (d *dialer) explain(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case drpcerr.Code(err) != 0:
		return fromWire(err)
	case hungUp(err), errors.Is(err, io.EOF), drpc.ClosedError.Has(err), errors.Is(err, syscall.ECONNRESET),
		errors.Is(err, syscall.EPIPE), errors.Is(err, io.ErrUnexpectedEOF),
		// What dRPC calls a stream whose connection ended; ours did not.
		errors.Is(err, context.Canceled):
		return notRunning(fmt.Sprintf("call the daemon on %s: it ended the connection", d.path))
	}
	return fmt.Errorf("call the daemon on %s: %w", d.path, err)
}

// Close ends the open streams and waits for them.
func (d *dialer) Close() error {
	d.close.Do(func() { close(d.done) })
	d.streams.Wait()
	return nil
}

// Closed is closed by Close.
func (d *dialer) Closed() <-chan struct{} { return d.done }

func options() drpcconn.Options {
	return drpcconn.Options{Manager: drpcmanager.Options{
		Reader: drpcwire.ReaderOptions{MaximumBufferSize: maxAnswer},
		Stream: drpcstream.Options{MaximumBufferSize: maxAnswer},
	}}
}
