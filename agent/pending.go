package agent

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/causewayhq/causeway/control"
)

const (
	// reportRetry is the wait after a report that the control plane could not
	// take; no session depends on one.
	reportRetry = 5 * time.Second
	// reportLimit is how long the control plane has for its answer.
	reportLimit = 30 * time.Second
)

// pending is what waits to be told to the control plane, in order, over however
// many connections that takes. It is safe for concurrent use by those who add,
// and one who tells.
type pending[T any] struct {
	limit int // of items; the oldest is dropped for one too many. Zero: none.
	wake  chan struct{}

	mu    sync.Mutex
	items []T
	begin int           // number of the first item
	empty chan struct{} // closed while there is none
}

func newPending[T any](limit int) *pending[T] {
	p := &pending[T]{limit: limit, wake: make(chan struct{}, 1), empty: make(chan struct{})}
	close(p.empty)
	return p
}

func (p *pending[T]) add(item T) {
	p.mu.Lock()
	if len(p.items) == 0 {
		p.empty = make(chan struct{})
	}
	p.items = append(p.items, item)
	if p.limit > 0 && len(p.items) > p.limit {
		p.items = p.items[1:]
		p.begin++
	}
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// first is the oldest item with its number.
func (p *pending[T]) first() (item T, number int, found bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.items) == 0 {
		return item, 0, false
	}
	return p.items[0], p.begin, true
}

// told drops an item, unless it was dropped before.
func (p *pending[T]) told(number int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if number != p.begin || len(p.items) == 0 {
		return
	}
	p.items = p.items[1:]
	if p.begin++; len(p.items) == 0 {
		close(p.empty)
	}
}

// drain waits until all was told, or for the context.
func (p *pending[T]) drain(ctx context.Context) {
	p.mu.Lock()
	empty := p.empty
	p.mu.Unlock()
	select {
	case <-empty:
	case <-ctx.Done():
	}
}

// run tells each over one connection, until the context ends.
func (p *pending[T]) run(ctx context.Context, log *slog.Logger, what string, tell func(context.Context, T) error) {
	for {
		item, number, found := p.first()
		if !found {
			select {
			case <-ctx.Done():
				return
			case <-p.wake:
				continue
			}
		}
		if !insist(ctx, log, what, func(ctx context.Context) error { return tell(ctx, item) }) {
			return
		}
		p.told(number)
	}
}

// insist repeats a report until it is taken, or nobody knows it, or there is
// nobody to take it; it says whether the connection goes on.
func insist(ctx context.Context, log *slog.Logger, what string, report func(context.Context) error) bool {
	for {
		limited, cancel := context.WithTimeout(ctx, reportLimit)
		err := report(limited)
		cancel()
		switch {
		case err == nil || control.Unimplemented(err):
			return ctx.Err() == nil
		case ctx.Err() != nil:
			return false
		}
		log.Debug("report not taken", slog.String("report", what), slog.String("error", err.Error()))
		timer := time.NewTimer(reportRetry)
		select {
		case <-ctx.Done():
			timer.Stop()
			return false
		case <-timer.C:
		}
	}
}
