package nrpt

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestFlush asks the system, tells what it said, and waits no longer than is
// allowed.
func TestFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem()
		r := rules(newMemory(), &listed{}, s)
		if err := r.Flush(t.Context()); err != nil {
			t.Errorf("Flush() = %v", err)
		}
		if notified, flushed := s.told(); notified != 0 || flushed != 1 {
			t.Errorf("%d notifications, %d flushes", notified, flushed)
		}
		failed := errors.New("refused")
		s.err = failed
		if err := r.Flush(t.Context()); !errors.Is(err, failed) {
			t.Errorf("Flush() = %v, want %v", err, failed)
		}
		s.hang = make(chan struct{})
		began := time.Now()
		if err := r.Flush(t.Context()); !errors.Is(err, errSlow) || time.Since(began) != callDeadline {
			t.Errorf("Flush() = %v after %v", err, time.Since(began))
		}
		if err := r.Flush(t.Context()); !errors.Is(err, errRunning) {
			t.Errorf("the second = %v", err)
		}
		close(s.hang)
		synctest.Wait()
		s.hang = make(chan struct{})
		defer close(s.hang)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with an end of its own: %v", err)
		}
	})
}
