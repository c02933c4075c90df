package api

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/proto/agentv2"
	"github.com/causewayhq/causeway/server/store"
)

// batchMost is how many lines one batch may have: twice what an agent puts into
// its largest, and more than the limit of a run lets in.
const batchMost = 2 * store.LogLinesMost

// BatchCreateLogs stores lines and then answers, which is what tells the agent
// that it need not send them again.
func (h *agentHandler) BatchCreateLogs(ctx context.Context, req *agentv2.BatchCreateLogsRequest) (*agentv2.BatchCreateLogsResponse, error) {
	source, err := uuid.FromBytes(req.GetLogSourceId())
	if err != nil {
		return nil, fmt.Errorf("store logs: read id of their source: %w", err)
	}
	if count := len(req.GetLogs()); count > batchMost {
		return nil, fmt.Errorf("store logs: %d lines at once are more than %d", count, batchMost)
	}
	lines := make([]store.LogLine, 0, len(req.GetLogs()))
	for _, given := range req.GetLogs() {
		level := store.LogLevel(given.GetLevel())
		if level < store.LogTrace || level > store.LogError {
			level = store.LogInfo
		}
		// A line that is longer than all that a run may have ends the run's logs.
		lines = append(lines, store.LogLine{CreatedAt: agentTime(given.GetCreatedAt()), Level: level, Output: agentText(given.GetOutput(), store.LogsMost+1)})
	}
	exceeded, err := h.appendLogs(ctx, source, lines)
	if err == nil && exceeded && h.awaitStep(ctx) {
		exceeded, err = h.appendLogs(ctx, source, lines)
	}
	if err != nil {
		return nil, err
	}
	return &agentv2.BatchCreateLogsResponse{LogLimitExceeded: exceeded}, nil
}

func (h *agentHandler) appendLogs(ctx context.Context, source uuid.UUID, lines []store.LogLine) (exceeded bool, err error) {
	feed := &h.state.logs
	// Until they are published, so that followers get lines in their order.
	feed.writing.Lock()
	defer feed.writing.Unlock()
	stored, exceeded, err := h.server.config.Store.AppendLogs(ctx, h.agent.ID, source, lines)
	if len(stored) > 0 {
		feed.publish(stored)
	}
	return exceeded, err
}

// stepGrace is how long after its connection an agent has the time to say that
// it has started anew.
const stepGrace = 5 * time.Second

// awaitStep is for an agent that has started anew and whose logs overtake the
// step that says so: it has the limit of a new run, and one that is told that
// there is no room drops its logs for good.
func (h *agentHandler) awaitStep(ctx context.Context) (waited bool) {
	select {
	case <-h.stepped:
		return false
	default:
	}
	rest := time.Until(h.since.Add(stepGrace))
	if rest <= 0 {
		return false
	}
	timer := time.NewTimer(rest)
	defer timer.Stop()
	select {
	case <-h.stepped:
	case <-timer.C:
	case <-ctx.Done():
	}
	return true
}

// logFeed gives the lines of one agent to everybody who follows them, without a
// look at the database for each.
type logFeed struct {
	writing sync.Mutex

	mu        sync.Mutex
	followers map[*logFollower]struct{}
}

// followerBatches is how many batches wait for a follower. One that falls behind
// further reads on from the database.
const followerBatches = 16

type logFollower struct {
	batches chan []store.LogLine
	behind  atomic.Bool // a batch found no room
}

func (f *logFeed) join() (follower *logFollower, leave func()) {
	follower = &logFollower{batches: make(chan []store.LogLine, followerBatches)}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.followers == nil {
		f.followers = map[*logFollower]struct{}{}
	}
	f.followers[follower] = struct{}{}
	return follower, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.followers, follower)
	}
}

func (f *logFeed) publish(lines []store.LogLine) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for follower := range f.followers {
		select {
		case follower.batches <- lines:
		default:
			follower.behind.Store(true)
		}
	}
}

func (f *logFeed) followed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.followers) > 0
}

// follow sends an agent's lines after one, first those that are stored and then
// those that come, each once and in order, until the context ends, sending fails
// or the agent is deleted, which is errAgentGone.
func (s *Server) follow(ctx context.Context, state *reported, after int64, send func([]store.LogLine) error) error {
	for {
		last, err := s.followOnce(ctx, state, after, send)
		if err != nil {
			return err
		}
		after = last // it fell behind
	}
}

func (s *Server) followOnce(ctx context.Context, state *reported, last int64, send func([]store.LogLine) error) (int64, error) {
	// First the place, then the history: what comes meanwhile is in both.
	follower, leave := state.logs.join()
	defer leave()
	for {
		lines, err := s.config.Store.Logs(ctx, state.id, store.LogRange{After: last})
		if err != nil {
			return last, err
		}
		if len(lines) == 0 {
			break
		}
		if err := send(lines); err != nil {
			return last, err
		}
		last = lines[len(lines)-1].ID
	}
	for !follower.behind.Load() {
		select {
		case <-ctx.Done():
			return last, ctx.Err()
		case <-state.gone:
			return last, errAgentGone
		case lines := <-follower.batches:
			for len(lines) > 0 && lines[0].ID <= last {
				lines = lines[1:]
			}
			if len(lines) == 0 {
				continue
			}
			if err := send(lines); err != nil {
				return last, err
			}
			last = lines[len(lines)-1].ID
		}
	}
	return last, nil
}
