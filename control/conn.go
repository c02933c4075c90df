package control

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/causewayhq/causeway/proto/mux"
)

// Conn is one connection to the control plane. It checks by itself that the
// far side is alive, and closes when it is not.
type Conn struct {
	*mux.Client
	socket *websocket.Conn
	probe  chan struct{}
	cancel context.CancelFunc
	done   sync.WaitGroup
	once   sync.Once

	mu   sync.Mutex
	dead error      // why it ended, known before anybody sees the end
	told *toldError // the far side's own reason for ending it
}

// newConn starts yamux and the watch over an open websocket.
func newConn(socket *websocket.Conn) (*Conn, error) {
	ctx, cancel := context.WithCancel(context.Background())
	conn := &Conn{socket: socket, probe: make(chan struct{}, 1), cancel: cancel}
	client, err := mux.NewClient(&byteStream{ctx: ctx, socket: socket, ended: conn.note})
	if err != nil {
		cancel()
		_ = socket.CloseNow()
		return nil, err
	}
	conn.Client = client
	conn.done.Go(func() { conn.watch(ctx) })
	return conn, nil
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
		err := c.ping(ctx, wait)
		if err != nil {
			c.fail(fmt.Errorf("ping control plane: %w", err))
			return
		}
	}
}

// ping waits for one answer. A Probe shortens the wait that is left: what was
// on its way when the network changed has probably been lost.
func (c *Conn) ping(ctx context.Context, wait time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	answer := make(chan error, 1)
	go func() { answer <- c.socket.Ping(ctx) }()
	for {
		select {
		case err := <-answer:
			return err
		case <-c.probe:
			short := time.AfterFunc(probeTimeout, cancel)
			defer short.Stop()
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

// Err says why the connection ended; nil while it has not.
func (c *Conn) Err() error {
	c.mu.Lock()
	dead := c.dead
	c.mu.Unlock()
	if dead == nil {
		return c.Client.Err()
	}
	return dead
}

// lastWord is the far side's own reason for ending the connection, or nil. It
// may come after other signs of the end.
func (c *Conn) lastWord() *toldError {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.told
}

// note keeps the first reason for the end.
func (c *Conn) note(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead == nil {
		c.dead = err
	}
	if c.told == nil {
		errors.As(err, &c.told)
	}
}

// fail ends the connection for a reason of ours.
func (c *Conn) fail(err error) {
	c.note(err)
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
func (c *Conn) hangUp(code websocket.StatusCode) {
	closed := make(chan struct{})
	c.done.Go(func() {
		_ = c.socket.Close(code, "")
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
