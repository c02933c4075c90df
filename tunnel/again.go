package tunnel

import (
	"context"
	"time"
)

// A device that was taken away is opened again at once, for libc asks for no
// IPv6 address of ours on a host that has none itself (AI_ADDRCONFIG). One that
// goes within reopenSteady after that comes back after reopenFirst, and then
// after twice as long each time up to reopenCeiling, without end.
const (
	reopenFirst   = 250 * time.Millisecond
	reopenCeiling = 2 * time.Second
	reopenSteady  = time.Second
	// standing is how long a device has to be there for what took away the one
	// before to be history.
	standing = 5 * time.Second
)

// reopening says when a lost device is opened again.
type reopening struct {
	lost bool // lately
	next time.Duration
}

// after says how long to wait after the loss of a device that was there for so
// long, and whether another was lost shortly before.
func (r *reopening) after(lived time.Duration) (wait time.Duration, repeated bool) {
	repeated = r.lost && lived < standing
	if r.lost && lived < reopenSteady {
		wait = r.next
	}
	r.lost, r.next = true, min(max(2*wait, reopenFirst), reopenCeiling)
	return wait, repeated
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
	if pause(ctx, standing) {
		s.tunnel.lost(nil, false)
	}
}
