package api

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/server/store"
)

// Why a live connection ends early. The texts go into the websocket's close
// reason, which holds 123 bytes.
var (
	errPingTimeout = errors.New("ping timeout")
	errShutdown    = errors.New("server is shutting down")
	errTokenEnded  = errors.New("token expired, revoked or deleted")
)

// live is the set of websocket connections, each tied to the token that opened
// it, so that deleting a token or a user ends what was opened with it.
type live struct {
	mu          sync.Mutex
	closed      bool
	connections map[*connection]struct{}
	handlers    sync.WaitGroup
}

type connection struct {
	token  store.Token
	cancel context.CancelCauseFunc
	revoke func() // runs before the end if the token ended
}

func newLive() *live { return &live{connections: map[*connection]struct{}{}} }

// enter registers a connection; done must be called when it has ended. If it
// ends with its token, revoke is called first. It reports false once the server
// drains.
func (l *live) enter(ctx context.Context, token store.Token, revoke func()) (joined context.Context, done func(), ok bool) {
	joined, cancel := context.WithCancelCause(ctx)
	entry := &connection{token, cancel, revoke}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		cancel(errShutdown)
		return nil, nil, false
	}
	l.connections[entry] = struct{}{}
	l.handlers.Add(1)
	return joined, func() {
		cancel(nil)
		l.mu.Lock()
		delete(l.connections, entry)
		l.mu.Unlock()
		l.handlers.Done()
	}, true
}

// retain ends every connection whose token is not in the set or has expired.
func (l *live) retain(tokens map[string]struct{}, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for entry := range l.connections {
		if _, found := tokens[entry.token.ID]; !found || entry.token.Check(at) != nil {
			entry.revoke()
			entry.cancel(errTokenEnded)
		}
	}
}

// drain refuses new connections, ends all and waits for their handlers or the
// context.
func (l *live) drain(ctx context.Context) error {
	l.mu.Lock()
	l.closed = true
	for entry := range l.connections {
		entry.cancel(errShutdown)
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
