package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
)

// Each kind of failure has one wording, whichever layer noticed it, and is
// still what it was.
func TestPlainWords(t *testing.T) {
	dial := func(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }
	tests := []struct {
		err  error
		want string
	}{
		{context.DeadlineExceeded, "no answer within 10 s"},
		{fmt.Errorf("connect: %w", context.DeadlineExceeded), "no answer within 10 s"},
		{dial(os.ErrDeadlineExceeded), "no answer within 10 s"},
		{dial(os.NewSyscallError("connect", syscall.ETIMEDOUT)), "no answer within 10 s"},
		{dial(os.NewSyscallError("connect", syscall.ECONNREFUSED)), "connection refused"},
		{errors.Join(dial(os.ErrDeadlineExceeded), dial(os.NewSyscallError("connect", syscall.ECONNREFUSED))), "connection refused"},
		{dial(os.NewSyscallError("connect", syscall.ENETUNREACH)), "no route to it"},
		{dial(os.NewSyscallError("connect", syscall.EHOSTUNREACH)), "no route to it"},
		{&net.DNSError{Err: "i/o timeout", Name: "plane.test", IsTimeout: true}, "lookup plane.test: i/o timeout"},
		{io.ErrUnexpectedEOF, "unexpected EOF"},
	}
	for _, test := range tests {
		got := plainly(test.err)
		if got.Error() != test.want || !errors.Is(got, test.err) {
			t.Errorf("%v: got %v, want %s", test.err, got, test.want)
		}
	}
}
