package tailnetclient

import (
	"net"
	"sync"
)

// conn is a connection that hears why it ended.
type conn struct {
	net.Conn
	release func()
	once    sync.Once

	mu    sync.Mutex
	cause error
}

// abort ends the connection for a reason of ours.
func (c *conn) abort(cause error) {
	c.mu.Lock()
	if c.cause == nil {
		c.cause = cause
	}
	c.mu.Unlock()
	c.Conn.Close()
}

func (c *conn) reason(err error) error {
	if err == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		return c.cause
	}
	return err
}

// Read gives the reason of the end where there is one.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	return n, c.reason(err)
}

// Write gives the reason of the end where there is one.
func (c *conn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	return n, c.reason(err)
}

// Close ends the connection and the use of its agent.
func (c *conn) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.release)
	return err
}
