package service

import (
	"context"
	"time"
)

const (
	// restAfter is how long after a change memory is given back: a start, a
	// connection and what follows it are done by then.
	restAfter = 10 * time.Second
	// restPause is the least time between two times that it is.
	restPause = time.Minute
)

// giveBack returns to the system what changes have used and left behind, by way
// of free; nothing happens, and nobody wakes up, without a change. The
// runtime does not do it by itself: it lets garbage grow to as much as what is
// in use, and to that it counts 45 MB of WireGuard's packet buffers, most of
// which nothing has ever been written to. What a start leaves (10 MB with 1,000
// agents) would stay for good.
func giveBack(ctx context.Context, changed func() <-chan struct{}, free func()) {
	after := func(wait time.Duration) bool {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
			return true
		}
	}
	next := changed()
	for {
		select {
		case <-ctx.Done():
			return
		case <-next:
		}
		if !after(restAfter) {
			return
		}
		next = changed()
		free()
		if !after(restPause - restAfter) {
			return
		}
	}
}
