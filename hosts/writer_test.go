package hosts

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errHeld = errors.New("held by another program")

// target is a file that fails as long as it is told to.
type target struct {
	mu    sync.Mutex
	err   error
	calls []time.Duration
	began time.Time
	got   []Entry
	slow  time.Duration
}

func (f *target) apply(entries []Entry) error {
	f.mu.Lock()
	slow := f.slow
	f.mu.Unlock()
	time.Sleep(slow) // in the bubble's time
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, time.Since(f.began))
	if f.err == nil {
		f.got = entries
	}
	return f.err
}

func (f *target) set(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

// attempts are the times of all attempts; written is what the last good one wrote.
func (f *target) attempts() []time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

func (f *target) written() []Entry {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.got
}

func writer(t *testing.T, f *target) *Writer {
	f.began = time.Now()
	w := newWriter(f.apply, slog.New(slog.DiscardHandler))
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func TestWriterWritesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &target{}
		w := writer(t, f)
		w.Set(one)
		synctest.Wait()
		if !slices.Equal(f.written(), one) || w.Status() != (Status{}) || len(f.attempts()) != 1 {
			t.Errorf("wrote %v in %d calls, status %+v", f.written(), len(f.attempts()), w.Status())
		}
	})
}

func TestWriterPausesAndStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &target{err: errHeld}
		w := writer(t, f)
		began := time.Now()
		w.Set(one)
		time.Sleep(29 * time.Second)
		synctest.Wait()
		if s := w.Status(); !s.Pending || s.Err != nil || !s.Since.Equal(began) {
			t.Errorf("after 29 s: %+v", s)
		}
		time.Sleep(4*time.Minute - 29*time.Second)
		synctest.Wait()
		if s := w.Status(); !s.Pending || !errors.Is(s.Err, errHeld) {
			t.Errorf("after 4 min: %+v", s)
		}
		ms := time.Millisecond
		want := []time.Duration{0, 50 * ms, 150 * ms, 350 * ms, 750 * ms, 1550 * ms, 3150 * ms, 6350 * ms, 11350 * ms, 16350 * ms, 21350 * ms, 26350 * ms, 31350 * ms,
			91350 * ms, 151350 * ms, 211350 * ms}
		if !slices.Equal(f.attempts(), want) {
			t.Errorf("attempts at %v", f.attempts())
		}
		f.set(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		if w.Status() != (Status{}) || !slices.Equal(f.written(), one) {
			t.Errorf("after success: %+v, %v", w.Status(), f.written())
		}
		count := len(f.attempts())
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(f.attempts()) != count {
			t.Error("it goes on writing")
		}
	})
}

// TestWriterOffer: what is only offered is tried as long, and is no error.
func TestWriterOffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &target{err: errHeld}
		w := writer(t, f)
		w.Offer(one)
		time.Sleep(2 * patience)
		synctest.Wait()
		if s := w.Status(); !s.Pending || s.Err != nil {
			t.Errorf("status %+v", s)
		}
		w.Set(two)
		time.Sleep(time.Second)
		synctest.Wait()
		if s := w.Status(); !errors.Is(s.Err, errHeld) {
			t.Errorf("status of what is needed %+v", s)
		}
		f.set(nil)
		w.Offer(one)
		synctest.Wait()
		if w.Status() != (Status{}) || !slices.Equal(f.written(), one) {
			t.Errorf("%+v, %v", w.Status(), f.written())
		}
	})
}

func TestWriterLatestWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &target{slow: time.Second}
		w := writer(t, f)
		w.Set(one)
		synctest.Wait() // the first attempt is under way
		for range 100 {
			w.Set(one)
		}
		w.Set(two)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if len(f.attempts()) != 2 || !slices.Equal(f.written(), two) {
			t.Errorf("%d attempts, last %v", len(f.attempts()), f.written())
		}
	})
}

func TestWriterNewRequestEndsThePause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &target{err: errHeld}
		w := writer(t, f)
		w.Set(one)
		time.Sleep(45 * time.Second) // in a slow pause
		f.set(nil)
		w.Set(two)
		synctest.Wait()
		if !slices.Equal(f.written(), two) || w.Status().Pending {
			t.Errorf("got %v", f.written())
		}
		f.set(errHeld)
		count := len(f.attempts())
		w.Set(one)
		time.Sleep(60 * time.Millisecond)
		synctest.Wait()
		if len(f.attempts()) != count+2 {
			t.Errorf("%d attempts in the first 60 ms: pauses do not start anew", len(f.attempts())-count)
		}
	})
}

func TestWriterDoesNotKeepTheCallersSlice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &target{}
		w := writer(t, f)
		mine := slices.Clone(one)
		w.Set(mine)
		mine[0].Name = "changed"
		synctest.Wait()
		if !slices.Equal(f.written(), one) {
			t.Errorf("got %v", f.written())
		}
	})
}

func TestWriterRemove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &target{err: errHeld}
		w := writer(t, f)
		w.Set(one)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		began := time.Now()
		if err := w.Remove(ctx); !errors.Is(err, errHeld) || time.Since(began) != 2*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		f.set(nil)
		time.Sleep(lastRetry)
		synctest.Wait()
		if f.written() != nil || w.Status().Pending {
			t.Errorf("the removal was given up: %v", f.written())
		}
		w.Set(one)
		if err := w.Remove(t.Context()); err != nil || len(f.written()) != 0 {
			t.Errorf("%v, %v", err, f.written())
		}
		synctest.Wait()
		if len(w.waiting) != 0 {
			t.Errorf("%d waiters are left", len(w.waiting))
		}
	})
}

func TestWriterCloseWaitsAndWakesWaiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &target{err: errHeld, slow: 3 * time.Second}
		w := writer(t, f)
		w.Set(one)
		removed := make(chan error, 1)
		go func() { removed <- w.Remove(context.Background()) }()
		synctest.Wait()
		began := time.Now()
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if time.Since(began) != 3*time.Second {
			t.Errorf("Close took %v, the attempt 3 s", time.Since(began))
		}
		if err := <-removed; err == nil {
			t.Error("Remove succeeded, though nothing was written")
		}
		w.Set(two) // harmless
	})
}
