package tailnetclient

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/server/coordinator"
)

const (
	// DialLimit bounds a Dial: agents answer within a second or two, and a
	// handshake that was lost is repeated after five.
	DialLimit = 15 * time.Second
	// connLimit bounds the connections of all users together. Each has two
	// goroutines of its user's and up to 10 MiB in flight on a long fat path.
	connLimit = 1024
	// idleLimit is how long an agent that nobody uses is kept (docs of the
	// protocol, 2.9).
	idleLimit = 30 * time.Minute
)

var (
	// ErrNotConnected is the answer for an agent without a control connection.
	ErrNotConnected = errors.New("the agent is not connected")
	// ErrSilent is the answer for an agent that is connected and does not answer.
	ErrSilent = errors.New("the agent is connected to the control plane, but does not answer in the tunnel")
	// ErrGone ends connections to an agent that left.
	ErrGone = errors.New("the agent has gone")
	// ErrBusy is the answer when there are too many connections.
	ErrBusy = fmt.Errorf("the server has %d connections to agents, which is the limit", connLimit)
	// ErrClosed ends everything.
	ErrClosed = errors.New("the server is shutting down")
)

// Config is what the peer is made of. Logger, Coordinator and RelayMap are needed.
type Config struct {
	Logger      *slog.Logger
	Coordinator *coordinator.Coordinator
	// RelayMap is the map that peers are to use now.
	RelayMap func() proto.RelayMap
	// Relay serves the embedded regions of the map, in this process; nil when
	// there are none.
	Relay http.Handler
	// DirectDisabled and ForceWebsocket are as for every other peer.
	DirectDisabled, ForceWebsocket bool
}

// Client reaches agents. All methods are safe for concurrent use.
type Client struct {
	config Config
	ctx    context.Context
	stop   context.CancelFunc
	work   sync.WaitGroup // a network each, until it has ended

	mu      sync.Mutex
	closed  bool
	network *network // nil: nobody is asked for
	open    int      // connections, and dials that are under way
}

// New makes the peer. It starts nothing; Close ends what Dial has started.
func New(config Config) *Client {
	c := &Client{config: config}
	c.ctx, c.stop = context.WithCancel(context.Background())
	return c
}

// Dial connects to a TCP port of an agent, within DialLimit. It fails with
// ErrNotConnected at once for an agent that is not there.
func (c *Client) Dial(ctx context.Context, agent uuid.UUID, port uint16) (net.Conn, error) {
	conn, err := c.dial(ctx, agent, port)
	if err != nil {
		return nil, fmt.Errorf("connect to port %d of agent %s: %w", port, agent, err)
	}
	return conn, nil
}

func (c *Client) dial(ctx context.Context, agent uuid.UUID, port uint16) (net.Conn, error) {
	if !c.config.Coordinator.Connected(agent) {
		return nil, ErrNotConnected
	}
	limited, cancel := context.WithTimeout(ctx, DialLimit)
	defer cancel()
	n, held, err := c.take(agent)
	if err != nil {
		return nil, err
	}
	made, err := n.dial(limited, held, port)
	if err == nil {
		result := &conn{Conn: made}
		result.release = func() { c.release(held, result) }
		if c.keep(n, held, result) {
			return result, nil
		}
		made.Close()
		err = ErrClosed
	}
	c.release(held, nil)
	switch {
	case n.ctx.Err() != nil:
		return nil, ErrClosed
	case ctx.Err() == nil && limited.Err() != nil && c.config.Coordinator.Connected(agent):
		return nil, ErrSilent
	case ctx.Err() == nil && limited.Err() != nil:
		return nil, ErrNotConnected
	}
	return nil, err
}

// take notes a use of an agent, and starts the network if there is none.
func (c *Client) take(agent uuid.UUID) (*network, *destination, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return nil, nil, ErrClosed
	case c.open >= connLimit:
		return nil, nil, ErrBusy
	}
	if c.network == nil {
		started, err := c.start()
		if err != nil {
			return nil, nil, err
		}
		c.network = started
		c.work.Go(func() { c.tend(started) })
	}
	c.open++
	held := c.network.destinations[agent]
	if held == nil {
		held = c.network.add(agent)
	}
	held.users++
	return c.network, held, nil
}

// keep notes a connection that was made, unless its network has ended meanwhile.
func (c *Client) keep(n *network, held *destination, made *conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n.ended {
		return false
	}
	held.conns[made] = struct{}{}
	return true
}

// release ends a use.
func (c *Client) release(held *destination, made *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(held.conns, made)
	held.users--
	held.idleSince = time.Now()
	c.open--
}

// Close ends all connections and waits until nothing is left.
func (c *Client) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.stop()
	c.work.Wait()
}
