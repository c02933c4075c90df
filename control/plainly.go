package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
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

// ProxyError is a failure to reach the proxy that stands between us and the
// control plane.
type ProxyError struct {
	Proxy string // its address, with no user or password
	Err   error
}

func (e *ProxyError) Error() string { return "connect to proxy " + e.Proxy + ": " + e.Err.Error() }
func (e *ProxyError) Unwrap() error { return e.Err }

// proxyFailed gives a failure to reach a proxy the proxy's name; any other is
// given back as it is. net/http marks it (proxyconnect), but tells at most where
// it dialled.
func proxyFailed(client *http.Client, target *url.URL, err error) error {
	var marked *net.OpError
	if !errors.As(err, &marked) || marked.Op != "proxyconnect" {
		return err
	}
	failed := &ProxyError{Proxy: "of this system", Err: plainly(marked.Err)}
	next := client.Transport
	if next == nil {
		next = http.DefaultTransport
	}
	transport, ok := next.(*http.Transport)
	if !ok || transport.Proxy == nil {
		return failed
	}
	if proxy, proxyErr := transport.Proxy(&http.Request{URL: target}); proxyErr == nil && proxy != nil {
		failed.Proxy = proxy.Scheme + "://" + proxy.Host
	}
	return failed
}

// plainly puts the common failures of a dial into one wording for each kind:
// the network stack has several, depending on where the time ran out. A name
// that was not found says so by itself.
func plainly(err error) error {
	var lookup *net.DNSError
	var network net.Error
	var proxy *ProxyError
	switch {
	case errors.As(err, &proxy):
		return err // said already
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
