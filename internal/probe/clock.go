package main

import (
	"sync"
	"time"
)

// stopped is a silence of the clock that only a host that was frozen explains:
// it is asked each 50 ms.
const stopped = 2 * time.Second

// clock counts the time that this process could run. While the host is frozen
// nothing here can be late.
type clock struct {
	mu     sync.Mutex
	began  time.Time
	last   time.Duration
	frozen time.Duration
	// thawed is told how long it was; it must not ask the clock.
	thawed func(time.Duration)
}

func newClock(thawed func(time.Duration)) *clock { return &clock{began: time.Now(), thawed: thawed} }

func (c *clock) now() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Since(c.began)
	if gap := now - c.last; gap > stopped {
		c.frozen += gap
		c.thawed(gap)
	}
	c.last = now
	return now - c.frozen
}

// run keeps the clock going until stop is closed.
func (c *clock) run(stop <-chan struct{}) {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-stop:
			return
		case <-ticker.C:
			c.now()
		}
	}
}
