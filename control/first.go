package control

import (
	"context"
	"errors"
	"net/http"
	"sync"
)

// firstDial is the outcome of the very first dial, for who waits for it.
type firstDial struct {
	once sync.Once
	done chan struct{}
	err  error
}

// settle keeps the first outcome: an error only when the control plane refused
// for a reason that time does not mend. Everything else counts as done, also a
// failure: it is tried again (docs of the protocol, 1.7).
func (f *firstDial) settle(err error) {
	f.once.Do(func() {
		var refused *DialError
		if errors.As(err, &refused) {
			switch refused.Status {
			case http.StatusBadRequest, http.StatusNotFound, http.StatusConflict, http.StatusInternalServerError:
				f.err = refused
			}
		}
		close(f.done)
	})
}

// WaitFirst waits until the first dial is over. Its error is the control
// plane's refusal of that dial, if only the user or an administrator can mend
// it; the loop goes on regardless.
func (l *Loop) WaitFirst(ctx context.Context) error {
	l.init()
	select {
	case <-l.first.done:
		return l.first.err
	case <-ctx.Done():
		return ctx.Err()
	}
}
