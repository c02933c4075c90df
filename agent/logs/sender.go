package logs

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/control"
	"github.com/causewayhq/causeway/proto/agentv2"
)

// The figures are the protocol's (docs, 5.6).
const (
	// Limit bounds a batch, and what waits for the control plane, in bytes.
	Limit = 1 << 20
	// Overhead is what a line counts besides its text.
	Overhead      = 21
	flushInterval = time.Second
	checkInterval = flushInterval / 4
)

const (
	// early is how much of one source makes a batch that does not wait for its
	// second, so that a burst is not dropped while the control plane takes it.
	early = Limit / 2
	// sendLimit is how long the control plane has for its answer.
	sendLimit = 30 * time.Second
	// A batch that was not taken is tried again after retryFloor, then twice as
	// long each time, up to retryCeiling.
	retryFloor   = time.Second
	retryCeiling = 10 * time.Second
)

// API is the part of the agent API that takes lines.
type API interface {
	BatchCreateLogs(ctx context.Context, in *agentv2.BatchCreateLogsRequest) (*agentv2.BatchCreateLogsResponse, error)
}

// Sender holds the lines of all sources until they are taken. What does not fit
// into Limit is dropped, the newest first, because what began a fault says more
// than its millionth repetition; a line in its place says how many are missing.
// The answer to a batch acknowledges it. A batch whose answer was lost may have
// been taken: it is repeated as it was, before anything newer of its source, so
// that the control plane can tell it from new lines that read the same. No two
// lines of a source have the same time.
type Sender struct {
	log  *slog.Logger
	wake chan struct{}

	mu       sync.Mutex
	sources  map[uuid.UUID]*Source // one for each script that ever ran
	queued   int                   // bytes of all sources, with overhead
	exceeded bool                  // the control plane wants no more, for good
	deaf     bool                  // the control plane of this connection knows no lines
	draining bool
	oversize bool          // was told of
	full     bool          // was told of
	empty    chan struct{} // closed while nothing waits
}

// New makes a sender.
func New(logger *slog.Logger) *Sender {
	empty := make(chan struct{})
	close(empty)
	return &Sender{log: logger, wake: make(chan struct{}, 1), sources: map[uuid.UUID]*Source{}, empty: empty}
}

// Source is where lines of one log source go; it is the same one each time.
func (s *Sender) Source(id uuid.UUID) *Source {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sources[id] == nil {
		s.sources[id] = &Source{id: id, sender: s}
	}
	return s.sources[id]
}

// Run sends over one connection until the context ends. It returns early, and
// nil, when the control plane does not know the call or wants no more lines. An
// error of the call does not end the connection: all others would suffer.
func (s *Sender) Run(ctx context.Context, api API) error {
	s.retryNow()
	ticker := time.NewTicker(checkInterval)
	defer ticker.Stop()
	for {
		for ctx.Err() == nil {
			source, batch := s.next(time.Now())
			if source == nil {
				break
			}
			if !s.send(ctx, api, source, batch) {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		case <-s.wake:
		}
	}
}

// Drain makes everything due at once, and waits until it was taken, or until
// the context ends.
func (s *Sender) Drain(ctx context.Context) {
	s.mu.Lock()
	s.draining = true
	empty := s.empty
	s.mu.Unlock()
	s.poke()
	select {
	case <-empty:
	case <-ctx.Done():
	}
}

// send says whether there is any sense in sending more over this connection.
func (s *Sender) send(ctx context.Context, api API, source *Source, batch []*agentv2.Log) bool {
	request, cancel := context.WithTimeout(ctx, sendLimit)
	defer cancel()
	answer, err := api.BatchCreateLogs(request, &agentv2.BatchCreateLogsRequest{LogSourceId: source.id[:], Logs: batch})
	switch {
	case err == nil && answer.GetLogLimitExceeded():
		s.log.Warn("the control plane takes no more log lines of this agent's scripts; the scripts run on, their log files are complete")
		s.discard(&s.exceeded)
		return false
	case err == nil:
		s.taken(source, len(batch))
		return true
	case control.Unimplemented(err):
		s.discard(&s.deaf)
		return false
	}
	wait := s.refused(source)
	if ctx.Err() == nil {
		s.log.Debug("log lines not taken", slog.String("source", source.id.String()), slog.Duration("retry", wait), slog.String("error", err.Error()))
	}
	return true
}

// next is the batch of the source that is due and has waited longest.
func (s *Sender) next(now time.Time) (*Source, []*agentv2.Log) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var first *Source
	for _, source := range s.sources {
		if source.due(now) && (first == nil || source.flushed.Before(first.flushed)) {
			first = source
		}
	}
	if first == nil {
		return nil, nil
	}
	first.flushed = now
	return first, first.batch()
}

// taken forgets a batch, and tells of what was dropped while it was in the way.
func (s *Sender) taken(source *Source, count int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	source.forget(count)
	for _, each := range s.sources {
		each.tellGap()
	}
	s.settle()
}

// refused plans the repetition.
func (s *Sender) refused(source *Source) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	source.wait = min(max(2*source.wait, retryFloor), retryCeiling)
	source.retry = time.Now().Add(source.wait)
	return source.wait
}

// retryNow forgets what was found out about an earlier connection.
func (s *Sender) retryNow() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deaf = false
	for _, source := range s.sources {
		source.wait, source.retry = 0, time.Time{}
	}
}

// discard drops everything, now and while the reason lasts.
func (s *Sender) discard(reason *bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*reason = true
	s.queued = 0
	for _, source := range s.sources {
		source.lines, source.size, source.frozen, source.gap, source.after = nil, 0, 0, 0, nil
	}
	s.settle()
}

// settle lets those go on who wait for the queue to be empty.
func (s *Sender) settle() {
	if s.queued > 0 {
		return
	}
	select {
	case <-s.empty:
	default:
		close(s.empty)
	}
}

// unsettle makes those wait who ask from now on. Who waits already goes on
// waiting: what is added when the last line was taken tells of lines left out.
func (s *Sender) unsettle() {
	select {
	case <-s.empty:
		s.empty = make(chan struct{})
	default:
	}
}

func (s *Sender) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
