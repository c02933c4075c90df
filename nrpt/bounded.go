package nrpt

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

// callDeadline is how long a call into the system may keep us: some end only
// when a domain controller answers, which may need the names we are setting.
const callDeadline = 5 * time.Second

var (
	errSlow    = errors.New("not finished within 5 s; left to itself")
	errRunning = errors.New("the last one has not finished yet")
)

// bounded makes calls that cannot be ended, each in a goroutine of its own and
// never two at a time, so that ones that hang do not add up.
type bounded struct {
	name    string
	running atomic.Bool
}

func (b *bounded) run(ctx context.Context, call func() error) error {
	if !b.running.CompareAndSwap(false, true) {
		return errRunning
	}
	done := make(chan error, 1)
	go func() {
		err := call()
		b.running.Store(false)
		done <- err
	}()
	timer := time.NewTimer(callDeadline)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return errSlow
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
