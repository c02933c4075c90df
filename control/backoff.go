package control

import (
	"math/rand/v2"
	"time"
)

const (
	backoffFloor   = 50 * time.Millisecond
	backoffCeiling = 10 * time.Second
	// signedOutWait is the wait while the token is refused: only the user can
	// mend that, and then Kick cuts the wait short.
	signedOutWait = 30 * time.Second
)

// backoff decides how long to wait before the next dial: between the floor and
// a bound that doubles up to the ceiling, evenly spread, so that the clients
// of a control plane that restarts do not all come back at the same instant.
type backoff struct{ floor, bound time.Duration }

func (b *backoff) reset() { b.bound = 0 }

// next gives the wait, counted from the end of the last attempt. The time that
// the attempt itself took counts as waited, so that two tries never start more
// than the ceiling apart because of the waiting.
func (b *backoff) next(attempt time.Duration) time.Duration {
	floor := b.floor
	if floor == 0 {
		floor = backoffFloor
	}
	b.bound = min(max(2*b.bound, 2*floor), backoffCeiling)
	wait := floor + rand.N(b.bound-floor+1)
	return max(wait-attempt, floor)
}
