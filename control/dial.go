package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/mux"
)

// TokenHeader carries the session token of a user or of an agent.
const TokenHeader = "Coder-Session-Token"

// The paths that carry the Tailnet API.
const (
	UserPath  = "/api/v2/tailnet"
	AgentPath = "/api/v2/workspaceagents/me/rpc"
)

const (
	// dialTimeout bounds one dial. TCP repeats its first packet after 1, 3 and
	// 7 seconds, so that a network that heals meanwhile is used at once.
	dialTimeout = 10 * time.Second
	// A silent connection is noticed after at most pingInterval + pingTimeout.
	pingInterval = 5 * time.Second
	pingTimeout  = 5 * time.Second
	// probeTimeout bounds the ping after an event of the host, when a dead
	// connection is likely.
	probeTimeout = 2 * time.Second
)

// Dialer opens connections to the control plane.
type Dialer struct {
	// URL is the access URL of the deployment; a path in it is kept.
	URL *url.URL
	// Path of the API, UserPath or AgentPath.
	Path string
	// Version that is asked for: the lowest that has what the caller needs.
	Version proto.Version
	// Query holds further parameters, for example role=agent.
	Query url.Values
	// Token gives the session token, at each dial.
	Token func() string
	// Header holds extra headers.
	Header http.Header
	// HTTP is the client to use; nil is http.DefaultClient. It must not set a
	// Timeout: the deadline of the dial is the dialer's own.
	HTTP *http.Client
	// Logger may be nil.
	Logger *slog.Logger
}

// Conn is one connection to the control plane. It checks by itself that the
// far side is alive, and closes when it is not.
type Conn struct {
	*mux.Client
	socket *websocket.Conn
	probe  chan struct{}
	cancel context.CancelFunc
	done   sync.WaitGroup
	once   sync.Once
	dead   error // set before the session closes
	mu     sync.Mutex
}

// Dial opens one connection. The resume token is sent unless it is empty. A
// rejection by the control plane is a *DialError.
func (d *Dialer) Dial(ctx context.Context, resumeToken string) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	target := d.target(resumeToken)
	header := d.Header.Clone()
	if header == nil {
		header = http.Header{}
	}
	header.Set(TokenHeader, d.Token())
	//nolint:bodyclose // the library closes it; what is left of a rejection is a copy in memory
	socket, response, err := websocket.Dial(ctx, target.String(), &websocket.DialOptions{
		HTTPClient: sameHost(d.HTTP), HTTPHeader: header, CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		return nil, d.dialError(response, err)
	}
	socket.SetReadLimit(-1)
	streamCtx, stop := context.WithCancel(context.Background())
	stream := websocket.NetConn(streamCtx, socket, websocket.MessageBinary)
	client, err := mux.NewClient(stream)
	if err != nil {
		stop()
		_ = socket.CloseNow()
		return nil, fmt.Errorf("dial %s: %w", d.URL.Redacted(), err)
	}
	conn := &Conn{Client: client, socket: socket, probe: make(chan struct{}, 1), cancel: stop}
	conn.done.Go(func() { conn.watch(streamCtx) })
	return conn, nil
}

func (d *Dialer) target(resumeToken string) *url.URL {
	target := d.URL.JoinPath(d.Path)
	query := target.Query()
	for key, values := range d.Query {
		query[key] = values
	}
	query.Set("version", d.Version.String())
	if resumeToken != "" {
		query.Set("resume_token", resumeToken)
	}
	target.RawQuery = query.Encode()
	return target
}

// dialError drops the URL that the HTTP client puts into its errors: it holds
// the resume token.
func (d *Dialer) dialError(response *http.Response, err error) error {
	if response != nil && response.StatusCode != http.StatusSwitchingProtocols {
		return rejection(d.URL.Redacted(), response)
	}
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	return fmt.Errorf("dial %s: %w", d.URL.Redacted(), err)
}

// watch pings the far side until the connection ends, and closes it when no
// answer comes back.
func (c *Conn) watch(ctx context.Context) {
	ticker := time.NewTicker(pingInterval)
	defer ticker.Stop()
	for {
		wait := pingTimeout
		select {
		case <-c.Closed():
			return
		case <-ticker.C:
		case <-c.probe:
			wait = probeTimeout
		}
		pingCtx, cancel := context.WithTimeout(ctx, wait)
		err := c.socket.Ping(pingCtx)
		cancel()
		if err != nil {
			c.fail(fmt.Errorf("ping control plane: %w", err))
			return
		}
	}
}

// Probe checks now whether the far side is alive.
func (c *Conn) Probe() {
	select {
	case c.probe <- struct{}{}:
	default:
	}
}

// Err says why the connection closed itself; nil when it did not.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dead
}

func (c *Conn) fail(err error) {
	c.mu.Lock()
	if c.dead == nil {
		c.dead = err
	}
	c.mu.Unlock()
	c.shut()
}

// shut ends the connection without waiting for the far side. The socket goes
// first, so that nothing below waits for a write into a dead network.
func (c *Conn) shut() {
	c.once.Do(func() {
		c.cancel()
		_ = c.socket.CloseNow()
		_ = c.Client.Close()
	})
}

// farewell is how long a polite end waits for the far side's close frame.
const farewell = 250 * time.Millisecond

// hangUp ends the connection with a close frame, when the far side takes one.
func (c *Conn) hangUp() {
	closed := make(chan struct{})
	c.done.Go(func() {
		_ = c.socket.Close(websocket.StatusNormalClosure, "")
		close(closed)
	})
	timer := time.NewTimer(farewell)
	defer timer.Stop()
	select {
	case <-closed:
	case <-timer.C:
	}
	c.Close()
}

// Close ends the connection at once and waits for its goroutines.
func (c *Conn) Close() error {
	c.shut()
	c.done.Wait()
	return nil
}
