package sshd

import (
	"fmt"
	"time"
)

// keepAlives is the time of how many questions a client may let go by, and
// leastKeepAlive the MaxTimeout from which on questions are asked (docs of the
// protocol, 5.3).
const (
	keepAlives     = 3
	leastKeepAlive = 3 * time.Second
)

// watch starts what ends a connection that is too old, idle, or dead.
func (c *connection) watch() {
	config := c.server.config
	if config.MaxSession > 0 {
		c.endAfter(config.MaxSession, fmt.Sprintf("the connection has lasted %v, the longest that is allowed", config.MaxSession))
	}
	if config.IdleTimeout > 0 {
		c.work.Go(func() { c.watchIdle(config.IdleTimeout) })
	}
	switch {
	case config.MaxTimeout >= leastKeepAlive:
		c.work.Go(func() { c.keepAlive(config.MaxTimeout / keepAlives) })
	case config.MaxTimeout > 0:
		c.endAfter(config.MaxTimeout, fmt.Sprintf("the connection has lasted %v, the longest that is allowed", config.MaxTimeout))
	}
}

func (c *connection) endAfter(limit time.Duration, reason string) {
	c.work.Go(func() {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		select {
		case <-timer.C:
			c.end(reason)
		case <-c.ctx.Done():
		}
	})
}

// watchIdle ends a connection over which no data has passed, in whatever
// channel. What keeps connections alive (keep-alives, changes of a window's
// size) is no data.
func (c *connection) watchIdle(limit time.Duration) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-c.ctx.Done():
			return
		}
		quiet := time.Since(c.began) - time.Duration(c.stirred.Load())
		if quiet >= limit {
			c.end(fmt.Sprintf("the connection was idle for %v", limit))
			return
		}
		timer.Reset(limit - quiet)
	}
}

// keepAlive asks the client whether it is there, and ends the connection when a
// question has waited for an answer for as long as three would have been asked.
// The others are not sent: x/crypto has one question under way at a time, and a
// connection that loses nothing needs no more.
func (c *connection) keepAlive(every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	answered := make(chan struct{}, 1)
	waiting, missed := false, 0
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-answered:
			waiting, missed = false, 0
		case <-ticker.C:
			if waiting {
				if missed++; missed == keepAlives {
					c.end(fmt.Sprintf("the client has not answered for %v", keepAlives*every))
					return
				}
				continue
			}
			waiting = true
			c.work.Go(func() {
				// Any answer will do; an error says that the connection is over.
				if _, _, err := c.wire.SendRequest("keepalive@openssh.com", true, nil); err == nil {
					answered <- struct{}{}
				}
			})
		}
	}
}
