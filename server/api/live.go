package api

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/server/coordinator"
	"github.com/causewayhq/causeway/server/store"
	tailnetsvc "github.com/causewayhq/causeway/server/tailnet"
)

// Why a live connection ends early. The texts go into the coordination stream
// and into the websocket's close reason, which holds 123 bytes.
var (
	errPingTimeout = errors.New("ping timeout")
	errTokenEnded  = &tailnetsvc.PartingError{How: coordinator.Gone, Text: "token expired, revoked or deleted"}
)

const (
	// connectionLimit is how many connections the holder of a user's or an
	// agent's tokens may have at once: a person has a handful of devices, and each
	// connection costs the server some 190 KB and 17 goroutines (performance.md, 11).
	connectionLimit = 256
	// lostLimit bounds how many lost peers are remembered with their token.
	lostLimit = 1 << 16
	// returnRate is how many clients a second are asked to come back after a
	// restart: what two cores upgrade beside everything else, as measured.
	returnRate = 200
	// returnLimit is the longest that a client is asked to wait.
	returnLimit = 10 * time.Second
)

// live is the set of websocket connections, each tied to the token that opened
// it, so that deleting a token or a user ends what was opened with it.
type live struct {
	mu          sync.Mutex
	closed      bool
	connections map[*connection]struct{}
	holders     map[uuid.UUID]int // connections of each user and agent
	peers       map[uuid.UUID]int // connections of each peer
	// lost are peers without a connection, whose partners may still serve them
	// until their token ends.
	lost map[uuid.UUID]lostPeer
	// lingers says whether they may: most peers that leave are gone for good,
	// and must not take the places of those that are lost.
	lingers  func(peer uuid.UUID) bool
	handlers sync.WaitGroup
}

// connection ends with a word by leave, and at once by cancel.
type connection struct {
	token  store.Token
	peer   uuid.UUID
	since  time.Time
	ctx    context.Context
	cancel context.CancelCauseFunc
	leave  context.Context
	part   context.CancelCauseFunc
}

type lostPeer struct {
	token       store.Token
	from, since time.Time // its last connection's beginning and end
}

func newLive(lingers func(peer uuid.UUID) bool) *live {
	return &live{
		lingers:     lingers,
		connections: map[*connection]struct{}{}, holders: map[uuid.UUID]int{}, peers: map[uuid.UUID]int{}, lost: map[uuid.UUID]lostPeer{},
	}
}

func holder(token store.Token) uuid.UUID {
	if token.UserID != uuid.Nil {
		return token.UserID
	}
	return token.AgentID
}

// enter registers a connection of a peer; exit must be called when it has
// ended. It is refused once the server drains, and to whoever has too many.
func (l *live) enter(ctx context.Context, token store.Token, peer uuid.UUID) (*connection, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		rejection := reject(http.StatusServiceUnavailable, "The server is shutting down.", "Try again in a moment.")
		rejection.retry = time.Duration(1 + rand.N(window(len(l.connections))))
		return nil, rejection
	case l.holders[holder(token)] >= connectionLimit:
		rejection := reject(http.StatusTooManyRequests, "Too many connections.", fmt.Sprintf("This account has %d open, which is the limit. Close some, or look for a client that does not.", connectionLimit))
		rejection.retry = returnLimit // not a matter of moments
		return nil, rejection
	}
	entry := &connection{token: token, peer: peer, since: time.Now()}
	entry.ctx, entry.cancel = context.WithCancelCause(ctx)
	entry.leave, entry.part = context.WithCancelCause(ctx)
	l.connections[entry] = struct{}{}
	l.holders[holder(token)]++
	l.peers[peer]++
	delete(l.lost, peer)
	l.handlers.Add(1)
	return entry, nil
}

func (l *live) exit(entry *connection) {
	entry.cancel(nil)
	entry.part(nil)
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.connections, entry)
	decrement(l.holders, holder(entry.token))
	if decrement(l.peers, entry.peer); l.peers[entry.peer] == 0 && len(l.lost) < lostLimit && l.lingers(entry.peer) {
		l.lost[entry.peer] = lostPeer{entry.token, entry.since, time.Now()}
	}
	l.handlers.Done()
}

func decrement(counts map[uuid.UUID]int, of uuid.UUID) {
	if counts[of]--; counts[of] <= 0 {
		delete(counts, of)
	}
}

// cause says why we end a connection; nil is a clean end.
func (c *connection) cause() error {
	if c.leave.Err() != nil {
		return context.Cause(c.leave)
	}
	return context.Cause(c.ctx)
}

// retain ends every connection whose token is not in the set or has expired,
// and gives the peers that such tokens were good for. The set was read no sooner
// than at: a connection that is younger may have a token that is younger still.
func (l *live) retain(tokens map[string]struct{}, at time.Time) (ended []uuid.UUID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	stale := func(token store.Token, since time.Time) bool {
		_, found := tokens[token.ID]
		return !since.After(at) && (!found || token.Check(at) != nil)
	}
	for entry := range l.connections {
		if stale(entry.token, entry.since) {
			entry.part(errTokenEnded)
			ended = append(ended, entry.peer)
		}
	}
	for peer, lost := range l.lost {
		ends := stale(lost.token, lost.from)
		if ends {
			ended = append(ended, peer)
		}
		// Nothing is relayed for longer to a peer that is lost.
		if ends || at.Sub(lost.since) > tailnetsvc.ResumeLife || !l.lingers(peer) {
			delete(l.lost, peer)
		}
	}
	return ended
}

// window is the time over which so many clients are asked to come back.
func window(connections int) time.Duration {
	spread := time.Duration(connections+1) * time.Second / returnRate
	return min(spread, returnLimit)
}

// drain refuses new connections, ends all and waits for their handlers or the
// context. Each one is told another time to come back, evenly over the window.
func (l *live) drain(ctx context.Context) error {
	l.mu.Lock()
	l.closed = true
	count := len(l.connections)
	turn := 0
	for entry := range l.connections {
		wait := time.Duration((float64(turn) + rand.Float64()) / float64(count) * float64(window(count)))
		turn++
		text := fmt.Sprintf("server is shutting down; retry after %s", wait.Round(time.Millisecond))
		entry.part(&tailnetsvc.PartingError{How: coordinator.Closing, Text: text})
	}
	l.mu.Unlock()
	idle := make(chan struct{})
	go func() {
		l.handlers.Wait()
		close(idle)
	}()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// users are those who have a connection, each once.
func (l *live) users() []uuid.UUID {
	l.mu.Lock()
	defer l.mu.Unlock()
	found := map[uuid.UUID]struct{}{}
	for entry := range l.connections {
		if entry.token.UserID != uuid.Nil {
			found[entry.token.UserID] = struct{}{}
		}
	}
	return slices.Collect(maps.Keys(found))
}

func (l *live) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.connections)
}
