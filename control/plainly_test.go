package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
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

// A proxy that cannot be reached is named, without who one is to it; nobody
// looks for the fault at the control plane.
func TestProxyIsNamed(t *testing.T) {
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := nobody.Addr().String()
	nobody.Close()
	for _, scheme := range []string{"http", "https"} {
		target := &url.URL{Scheme: scheme, Host: "plane.test"}
		proxy := &url.URL{Scheme: "http", Host: address, User: url.UserPassword("alice", "secret")}
		transport := &http.Transport{Proxy: http.ProxyURL(proxy)}
		dialer := &Dialer{URL: target, Path: UserPath, Token: func() string { return "" }, HTTP: &http.Client{Transport: transport}}
		_, err := dialer.Dial(t.Context(), "")
		var failed *ProxyError
		want := "dial " + scheme + "://plane.test: connect to proxy http://" + address + ": connection refused"
		if err == nil || err.Error() != want || !errors.As(err, &failed) || !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("Dial() = %v, want %s", err, want)
		}
	}
}
