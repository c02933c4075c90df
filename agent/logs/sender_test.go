package logs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/causewayhq/causeway/proto/agentv2"
)

var errAway = errors.New("connection closed")

// plane is a control plane that stores lines by the rule of our server: the
// longest beginning of a batch that repeats the end of what is stored is
// dropped.
type plane struct {
	mu      sync.Mutex
	stored  map[uuid.UUID][]*agentv2.Log
	batches []*agentv2.BatchCreateLogsRequest
	times   []time.Time
	// before and after fail a call without storing, or with its answer lost.
	before, after func(call int) error
	hang          bool
	exceeded      bool
}

func (p *plane) BatchCreateLogs(ctx context.Context, in *agentv2.BatchCreateLogsRequest) (*agentv2.BatchCreateLogsResponse, error) {
	p.mu.Lock()
	call := len(p.batches)
	p.batches = append(p.batches, proto.CloneOf(in))
	p.times = append(p.times, time.Now())
	before, after, hang := p.before, p.after, p.hang
	p.mu.Unlock()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if hang {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if before != nil {
		if err := before(call); err != nil {
			return nil, err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.exceeded {
		return &agentv2.BatchCreateLogsResponse{LogLimitExceeded: true}, nil
	}
	if p.stored == nil {
		p.stored = map[uuid.UUID][]*agentv2.Log{}
	}
	id := uuid.UUID(in.GetLogSourceId())
	old := p.stored[id]
	repeated := min(len(old), len(in.GetLogs()))
	for ; repeated > 0; repeated-- {
		if slices.EqualFunc(old[len(old)-repeated:], in.GetLogs()[:repeated], func(a, b *agentv2.Log) bool { return proto.Equal(a, b) }) {
			break
		}
	}
	for _, line := range in.GetLogs()[repeated:] {
		p.stored[id] = append(p.stored[id], proto.CloneOf(line))
	}
	if after != nil {
		if err := after(call); err != nil {
			return nil, err
		}
	}
	return &agentv2.BatchCreateLogsResponse{}, nil
}

func (p *plane) texts(id uuid.UUID) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var result []string
	for _, line := range p.stored[id] {
		result = append(result, line.GetOutput())
	}
	return result
}

func (p *plane) calls() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.batches)
}

func newSender() *Sender { return New(slog.New(slog.DiscardHandler)) }

// connect runs the sender over a connection until disconnect.
func connect(t *testing.T, s *Sender, p *plane) (disconnect func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, p) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run says %v", err)
		}
	}
}

func numbered(from, to int) []string {
	var result []string
	for i := from; i < to; i++ {
		result = append(result, fmt.Sprintf("line %d", i))
	}
	return result
}

func add(s *Source, lines []string) {
	for _, line := range lines {
		s.Add(agentv2.Log_INFO, line)
	}
}

func TestFlushEachSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p, id := newSender(), &plane{}, uuid.New()
		defer connect(t, s, p)()
		synctest.Wait()
		started := time.Now()
		source := s.Source(id)
		for i := range 30 { // every 100 ms for 3 s
			source.Add(agentv2.Log_INFO, fmt.Sprintf("line %d", i))
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(2 * time.Second)
		if got := p.texts(id); !slices.Equal(got, numbered(0, 30)) {
			t.Errorf("got %q", got)
		}
		// The first check comes after 250 ms and finds a source that never
		// flushed; from then on it is once a second.
		var at []time.Duration
		for _, each := range p.times {
			at = append(at, each.Sub(started))
		}
		want := []time.Duration{250 * time.Millisecond, 1250 * time.Millisecond, 2250 * time.Millisecond, 3250 * time.Millisecond}
		if !slices.Equal(at, want) {
			t.Errorf("flushed at %v, want %v", at, want)
		}
	})
}

func TestOldestFlushFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := newSender(), &plane{}
		defer connect(t, s, p)()
		synctest.Wait()
		first, second := s.Source(uuid.New()), s.Source(uuid.New())
		add(first, numbered(0, 1))
		time.Sleep(400 * time.Millisecond) // first flushed at 250 ms
		add(second, numbered(0, 1))
		time.Sleep(250 * time.Millisecond) // second at 500 ms
		p.mu.Lock()
		p.hang = true
		p.mu.Unlock()
		third := s.Source(uuid.New())
		add(third, numbered(0, 2)) // holds up the others until both are due
		time.Sleep(200 * time.Millisecond)
		add(second, numbered(1, 2))
		add(first, numbered(1, 2))
		p.mu.Lock()
		p.hang = false
		p.mu.Unlock()
		time.Sleep(sendLimit + retryCeiling)
		var served []uuid.UUID
		p.mu.Lock()
		for _, batch := range p.batches {
			served = append(served, uuid.UUID(batch.GetLogSourceId()))
		}
		p.mu.Unlock()
		if want := []uuid.UUID{first.id, second.id, third.id, first.id, second.id, third.id}; !slices.Equal(served, want) {
			t.Errorf("served %v, want %v", served, want)
		}
		for _, source := range []*Source{first, second, third} {
			if got := p.texts(source.id); !slices.Equal(got, numbered(0, 2)) {
				t.Errorf("got %q", got)
			}
		}
	})
}

// TestCutOffForAMinute lets two sources print while the control plane is away,
// and loses answers before and after.
func TestCutOffForAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := newSender(), &plane{}
		ids := []uuid.UUID{uuid.New(), uuid.New()}
		printing := make(chan struct{})
		go func() {
			defer close(printing)
			for i := range 900 { // every 100 ms for 90 s
				for _, id := range ids {
					add(s.Source(id), []string{fmt.Sprintf("line %d", i), "the same", "the same", ""})
				}
				time.Sleep(100 * time.Millisecond)
			}
		}()
		p.after = func(call int) error {
			if call%3 == 2 {
				return errAway // taken, and the answer lost
			}
			return nil
		}
		p.before = func(call int) error {
			if call%5 == 4 {
				return errAway // not taken
			}
			return nil
		}
		disconnect := connect(t, s, p)
		time.Sleep(10 * time.Second)
		disconnect()
		time.Sleep(time.Minute)
		disconnect = connect(t, s, p)
		<-printing
		drained, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		s.Drain(drained)
		disconnect()
		var want []string
		for i := range 900 {
			want = append(want, fmt.Sprintf("line %d", i), "the same", "the same", "")
		}
		for _, id := range ids {
			if got := p.texts(id); !slices.Equal(got, want) {
				t.Errorf("got %d lines, want %d", len(got), len(want))
			}
			stored := p.stored[id]
			for i := 1; i < len(stored); i++ {
				if step := stored[i].GetCreatedAt().AsTime().Sub(stored[i-1].GetCreatedAt().AsTime()); step < tick {
					t.Fatalf("line %d is %s after the one before it", i, step)
				}
			}
		}
	})
}

// TestLostAnswerIsRepeatedUnchanged although more lines have come since.
func TestLostAnswerIsRepeatedUnchanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p, id := newSender(), &plane{}, uuid.New()
		p.after = func(call int) error {
			if call < 2 {
				return errAway
			}
			return nil
		}
		disconnect := connect(t, s, p)
		source := s.Source(id)
		add(source, numbered(0, 3))
		time.Sleep(500 * time.Millisecond)
		disconnect()
		add(source, numbered(3, 5))
		disconnect = connect(t, s, p)
		time.Sleep(5 * time.Second)
		disconnect()
		if len(p.batches) != 4 || !proto.Equal(p.batches[0], p.batches[1]) || !proto.Equal(p.batches[1], p.batches[2]) || len(p.batches[3].GetLogs()) != 2 {
			t.Errorf("sent %v", p.batches)
		}
		// The second connection's first try is at once, the next after retryFloor.
		if wait := p.times[2].Sub(p.times[1]); wait != retryFloor {
			t.Errorf("tried again after %s", wait)
		}
		if got := p.texts(id); !slices.Equal(got, numbered(0, 5)) {
			t.Errorf("got %q", got)
		}
	})
}

// TestServerThatHangs costs its own limit, and nobody who prints waits.
func TestServerThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p, id := newSender(), &plane{hang: true}, uuid.New()
		defer connect(t, s, p)()
		started := time.Now()
		source := s.Source(id)
		add(source, numbered(0, 100_000)) // more than the queue takes
		if took := time.Since(started); took != 0 {
			t.Errorf("printing took %s", took)
		}
		s.mu.Lock()
		if s.queued > Limit {
			t.Errorf("%d bytes wait", s.queued)
		}
		s.mu.Unlock()
		for range 2 * maxAfter { // what the agent itself has to say is kept
			source.Add(agentv2.Log_WARN, "warning")
		}
		time.Sleep(sendLimit)
		p.mu.Lock()
		p.hang = false
		p.mu.Unlock()
		time.Sleep(time.Minute)
		add(source, []string{"after"})
		time.Sleep(5 * time.Second)
		got := p.texts(id)
		kept := len(got) - 2 - maxAfter
		gap := fmt.Sprintf("causeway-agent: %d lines were left out here: the control plane did not take them in time", 100_000-kept+maxAfter)
		want := append(numbered(0, kept), gap)
		for range maxAfter {
			want = append(want, "warning")
		}
		if want = append(want, "after"); !slices.Equal(got, want) {
			t.Errorf("kept %d lines, the last two are %q", kept, got[max(0, kept):])
		}
	})
}

func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := newSender(), &plane{}
		source := s.Source(uuid.New())
		s.Drain(t.Context()) // of nothing: at once
		add(source, numbered(0, 1))
		limit, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		started := time.Now()
		s.Drain(limit) // nobody is there to take it
		if took := time.Since(started); took != 5*time.Second {
			t.Errorf("took %s", took)
		}
		defer connect(t, s, p)()
		s.Drain(t.Context())
		add(source, numbered(1, 2)) // a straggler
		s.Drain(t.Context())
		if got := p.texts(source.id); !slices.Equal(got, numbered(0, 2)) {
			t.Errorf("got %q", got)
		}
		if took := time.Since(started); took != 5*time.Second {
			t.Errorf("the rest took %s", took-5*time.Second)
		}
	})
}
