package tailnetsvc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// UpdatesProvider tells what workspaces a user has.
type UpdatesProvider interface {
	// Subscribe gives the complete state first, even if empty, then what
	// changed, never an empty update. The channel closes when ctx or the
	// provider ends. An owner that cannot be read is an error.
	Subscribe(ctx context.Context, ownerID uuid.UUID) (<-chan *tailnetv2.WorkspaceUpdate, error)
}

// Source is where the workspaces and agents of an owner are kept. It must give
// up when its context ends.
type Source interface {
	Workspaces(ctx context.Context, ownerID uuid.UUID) ([]*tailnetv2.Workspace, []*tailnetv2.Agent, error)
}

// errUpdatesClosed is what Subscribe answers after Close.
var errUpdatesClosed = errors.New("workspace updates closed")

// sourceRetry is how long a subscription waits after its source failed.
const sourceRetry = time.Second

// Updates is the UpdatesProvider over a Source. It runs one goroutine for each
// subscription, which ends with the context of the subscription or with Close.
type Updates struct {
	source Source
	logger *slog.Logger

	mu     sync.Mutex
	closed bool
	// subscribers by owner. The channel of each has one slot: while it is full
	// further changes merge into the one to come.
	subscribers map[uuid.UUID]map[chan struct{}]struct{}
	ending      context.Context // ends with Close
	end         context.CancelFunc
	running     sync.WaitGroup
}

// NewUpdates makes an Updates that Close must end.
func NewUpdates(source Source, logger *slog.Logger) *Updates {
	ending, end := context.WithCancel(context.Background())
	return &Updates{
		source: source, logger: logger,
		subscribers: map[uuid.UUID]map[chan struct{}]struct{}{}, ending: ending, end: end,
	}
}

// Changed makes every subscription of that owner look again. It never blocks.
// It is called after the change can be read from the source.
func (u *Updates) Changed(ownerID uuid.UUID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for dirty := range u.subscribers[ownerID] {
		select {
		case dirty <- struct{}{}:
		default:
		}
	}
}

// Close ends all subscriptions and waits for them.
func (u *Updates) Close() {
	u.mu.Lock()
	u.closed = true
	u.mu.Unlock()
	u.end()
	u.running.Wait()
}

// Subscribe implements UpdatesProvider. The first state is read before it
// returns, so that the caller hears of an unreadable source.
func (u *Updates) Subscribe(ctx context.Context, ownerID uuid.UUID) (<-chan *tailnetv2.WorkspaceUpdate, error) {
	dirty := make(chan struct{}, 1)
	u.mu.Lock()
	if u.closed {
		u.mu.Unlock()
		return nil, errUpdatesClosed
	}
	// Registered before the first look, so that no change falls in between.
	if u.subscribers[ownerID] == nil {
		u.subscribers[ownerID] = map[chan struct{}]struct{}{}
	}
	u.subscribers[ownerID][dirty] = struct{}{}
	u.running.Add(1)
	u.mu.Unlock()

	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(u.ending, cancel)
	release := func() {
		stop()
		cancel()
		u.unsubscribe(ownerID, dirty)
	}
	state := newSentState()
	first, err := u.look(ctx, ownerID, state)
	if err != nil {
		release()
		return nil, err
	}
	out := make(chan *tailnetv2.WorkspaceUpdate)
	go func() {
		defer release()
		defer close(out)
		u.follow(ctx, ownerID, dirty, state, first, out)
	}()
	return out, nil
}

func (u *Updates) unsubscribe(ownerID uuid.UUID, dirty chan struct{}) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.subscribers[ownerID], dirty)
	if len(u.subscribers[ownerID]) == 0 {
		delete(u.subscribers, ownerID)
	}
	u.running.Done()
}

func (u *Updates) follow(ctx context.Context, ownerID uuid.UUID, dirty chan struct{}, state *sentState, update *tailnetv2.WorkspaceUpdate, out chan<- *tailnetv2.WorkspaceUpdate) {
	var retry <-chan time.Time
	for {
		if update != nil {
			select {
			case out <- update:
			case <-ctx.Done():
				return
			}
		}
		select {
		case <-dirty:
		case <-retry:
		case <-ctx.Done():
			return
		}
		retry = nil
		var err error
		if update, err = u.look(ctx, ownerID, state); err != nil {
			if ctx.Err() != nil {
				return
			}
			u.logger.Warn("read workspaces for updates", slog.String("owner", ownerID.String()), slog.Any("error", err))
			retry = time.After(sourceRetry)
		} else if empty(update) {
			update = nil
		}
	}
}

// look reads the source and gives what changed since the last look.
func (u *Updates) look(ctx context.Context, ownerID uuid.UUID, state *sentState) (*tailnetv2.WorkspaceUpdate, error) {
	workspaces, agents, err := u.source.Workspaces(ctx, ownerID)
	if err != nil {
		return nil, fmt.Errorf("read workspaces: %w", err)
	}
	return state.diff(workspaces, agents), nil
}
