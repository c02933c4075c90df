package tunnel

import (
	"context"
	"time"
)

// A device that was taken away is opened again at once, and when that goes on,
// after reopenFirst and then twice as long each time up to reopenCeiling,
// without end. One that was there for reopenSteady starts from the beginning.
const (
	reopenFirst   = 250 * time.Millisecond
	reopenCeiling = 2 * time.Second
	reopenSteady  = 5 * time.Second
)

// reopening says when a lost device is opened again.
type reopening struct {
	lost bool // lately
	next time.Duration
}

// wait is how long to wait after the loss of a device that was there for so
// long.
func (r *reopening) wait(lived time.Duration) time.Duration {
	if !r.lost || lived >= reopenSteady {
		*r = reopening{lost: true, next: reopenFirst}
		return 0
	}
	wait := r.next
	r.next = min(2*wait, reopenCeiling)
	return wait
}

// lost notes the loss of the device once that repeats itself: the first one is
// over before anybody could look.
func (t *Tunnel) lost(err error, repeated bool) {
	t.note(func(f *facts) {
		if f.lost = nil; repeated {
			f.lost = err
		}
	})
}

// stands notes that the device was there for long enough for its losses to be
// history.
func (s *session) stands(ctx context.Context) {
	if pause(ctx, reopenSteady) {
		s.tunnel.lost(nil, false)
	}
}
