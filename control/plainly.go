package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
)

// plainError says in plain words what a dial failed with; the original is
// wrapped.
type plainError struct {
	text  string
	cause error
}

func (e *plainError) Error() string { return e.text }
func (e *plainError) Unwrap() error { return e.cause }

// plainly puts the common failures of a dial into one wording for each kind:
// the network stack has several, depending on where the time ran out. A name
// that was not found says so by itself.
func plainly(err error) error {
	var lookup *net.DNSError
	var network net.Error
	switch {
	case errors.As(err, &lookup):
		return err
	case errors.Is(err, syscall.ECONNREFUSED):
		return &plainError{"connection refused", err}
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return &plainError{"no route to it", err}
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return &plainError{fmt.Sprintf("no answer within %d s", int(dialTimeout.Seconds())), err}
	}
	return err
}
