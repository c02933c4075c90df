package hosts

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

const (
	// firstRetry and lastRetry are the first pauses after a failure, doubling:
	// endpoint security holds the file for seconds after each change.
	firstRetry = 50 * time.Millisecond
	lastRetry  = 5 * time.Second
	// patience is how long a failure is not worth a word. Retries become slow
	// after it, but do not end.
	patience  = 30 * time.Second
	slowRetry = time.Minute
)

// Writer keeps the section of one file at what was asked for last, from its own
// goroutine. Its owner calls Close.
type Writer struct {
	apply  func([]Entry) error
	logger *slog.Logger
	wake   chan struct{}
	done   context.Context
	stop   context.CancelFunc
	ended  sync.WaitGroup

	mu      sync.Mutex
	want    []Entry
	offered bool   // want is only good to have
	asked   uint64 // counts calls of Set, Offer and Remove
	applied uint64 // the one that is in the file
	since   time.Time
	err     error // of the last attempt
	waiting map[chan struct{}]uint64
}

// Status of a writer.
type Status struct {
	// Pending is whether the file does not hold yet what was asked for.
	Pending bool
	// Since is when the first of the waiting requests was made.
	Since time.Time
	// Err is why, once it has taken more than 30 s; nil before, and for what
	// was only offered. It is the error of the last attempt, which is not the
	// last one.
	Err error
}

// NewWriter starts a writer for the file. Nothing is written before the first
// call of Set.
func NewWriter(path string, logger *slog.Logger) *Writer {
	file := File{Path: path}
	return newWriter(file.Set, logger)
}

func newWriter(apply func([]Entry) error, logger *slog.Logger) *Writer {
	w := &Writer{apply: apply, logger: logger, wake: make(chan struct{}, 1), waiting: map[chan struct{}]uint64{}}
	w.done, w.stop = context.WithCancel(context.Background())
	w.ended.Go(w.run)
	return w
}

// Set asks for these entries, in place of what was asked for before and is not
// written yet; none means that the section goes. It returns at once. Asking
// for the same again checks the file again.
func (w *Writer) Set(entries []Entry) { w.ask(entries, false, nil) }

// Offer is Set for entries that are good to have and not needed: a file that
// cannot be written is worth a line in the log, and no error in Status.
func (w *Writer) Offer(entries []Entry) { w.ask(entries, true, nil) }

// Remove asks for the section to go, and waits until it is gone, something else
// was asked for and written, or the context ends. The error then is that of the
// last attempt; attempts go on.
func (w *Writer) Remove(ctx context.Context) error {
	written := make(chan struct{})
	w.ask(nil, false, written)
	select {
	case <-written:
		return nil
	case <-ctx.Done():
	case <-w.done.Done():
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, waits := w.waiting[written]; !waits {
		return nil
	}
	delete(w.waiting, written)
	cause := w.err
	switch {
	case cause != nil:
	case ctx.Err() != nil:
		cause = context.Cause(ctx)
	default:
		cause = context.Canceled
	}
	return fmt.Errorf("remove section of hosts file: %w", cause)
}

func (w *Writer) ask(entries []Entry, offered bool, written chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.asked == w.applied {
		w.since = time.Now()
	}
	w.want, w.offered = slices.Clone(entries), offered
	w.asked++
	if written != nil {
		w.waiting[written] = w.asked
	}
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Status tells whether the file is as it should be.
func (w *Writer) Status() Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.asked == w.applied {
		return Status{}
	}
	status := Status{Pending: true, Since: w.since}
	if time.Since(w.since) >= patience && !w.offered {
		status.Err = w.err
	}
	return status
}

// Close ends the writer and waits for an attempt that is under way. What is not
// written by then stays unwritten; the section stays as it is.
func (w *Writer) Close() error {
	w.stop()
	w.ended.Wait()
	return nil
}

func (w *Writer) run() {
	for {
		select {
		case <-w.done.Done():
			return
		case <-w.wake:
		}
		w.settle()
	}
}

// settle tries until the file holds what is wanted. A new request starts the
// pauses from the beginning.
func (w *Writer) settle() {
	var began time.Time
	pause, told := firstRetry, false
	for last := uint64(0); w.done.Err() == nil; {
		w.mu.Lock()
		want, offered, asked := w.want, w.offered, w.asked
		select {
		case <-w.wake: // this request is being dealt with
		default:
		}
		w.mu.Unlock()
		if asked != last {
			last, began, pause = asked, time.Now(), firstRetry
		}
		err := w.apply(want)
		if w.note(asked, err) {
			return
		}
		if err != nil {
			waited := time.Since(began)
			if waited >= patience {
				pause = slowRetry
				if !told {
					level := slog.LevelWarn
					if offered {
						level = slog.LevelInfo
					}
					w.logger.Log(w.done, level, "hosts file cannot be written, trying on", slog.Duration("since", waited), slog.Any("error", err))
					told = true
				}
			}
			if !w.sleep(pause) {
				return
			}
			pause = min(2*pause, lastRetry)
		}
	}
}

// sleep ends early on a new request; false means that the writer is closed.
func (w *Writer) sleep(pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-w.done.Done():
		return false
	case <-w.wake:
	case <-timer.C:
	}
	return w.done.Err() == nil
}

// note takes down the outcome of an attempt and tells those who wait for it.
// It is true when nothing is left to do.
func (w *Writer) note(asked uint64, err error) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
	if err != nil {
		return false
	}
	w.applied = asked
	for written, wanted := range w.waiting {
		if wanted <= asked {
			close(written)
			delete(w.waiting, written)
		}
	}
	return w.applied == w.asked
}
