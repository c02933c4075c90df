package control

import (
	"errors"
	"time"
)

// replacedText is what the coordinator says to a connection whose peer has
// connected again (docs of the protocol, 2.6).
const replacedText = "peer ID overwritten by new connection"

// ErrReplaced is matched by the end of a connection whose place another one
// took: somebody else connected under the same identity.
var ErrReplaced = errors.New("replaced by another connection")

const (
	// rivalWait is the wait while another program uses our identity: whoever
	// comes back takes the place of the other, so both serve nobody if both
	// hurry.
	rivalWait = 30 * time.Second
	// rivalWindow is longer than two programs that both wait need to meet again.
	rivalWindow = 4 * rivalWait
	// rivalSpared is how often we may be replaced before we wait: it can be a
	// dial of our own that was given up and arrived late, or a program that was
	// about to end.
	rivalSpared = 2
)

// rivals counts how often our place was taken with little time in between.
type rivals struct {
	last  time.Time
	count int
}

// replaced counts one time more and gives the least wait before the next dial.
func (r *rivals) replaced(now time.Time) time.Duration {
	if now.Sub(r.last) > rivalWindow {
		r.count = 0
	}
	r.last = now
	if r.count++; r.count <= rivalSpared {
		return 0
	}
	return rivalWait
}
