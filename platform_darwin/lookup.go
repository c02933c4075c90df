package platform

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"
)

const (
	// lookupTimeout bounds a lookup whose context does not: mDNSResponder
	// itself gives up after 30 s.
	lookupTimeout = 10 * time.Second
	// maxLookups bounds those that have not come back: the system's call
	// cannot be cancelled, and each holds a thread.
	maxLookups = 8
)

// Lookup resolves a name as applications on this Mac do: by getaddrinfo of the
// system's library, which asks mDNSResponder. Nothing tells that not to use its
// cache; the canary's name has a short life instead.
func (o *OS) Lookup(ctx context.Context, name string) ([]netip.Addr, error) {
	if name == "" || strings.HasPrefix(name, "-") || strings.ContainsAny(name, "\x00 \t\r\n/") {
		return nil, fmt.Errorf("look up %q: not a host name", name)
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	silent := func(err error) error {
		return &net.DNSError{Err: "the system's resolver does not answer", Name: name, IsTimeout: true, UnwrapErr: err}
	}
	select {
	case o.lookups <- struct{}{}:
	default:
		return nil, silent(errors.New("earlier lookups still wait"))
	}
	type answer struct {
		list []netip.Addr
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		defer func() { <-o.lookups }()
		list, err := o.system.Resolve(ctx, name)
		answers <- answer{list, err}
	}()
	select {
	case <-ctx.Done():
		return nil, silent(ctx.Err())
	case a := <-answers:
		if a.err != nil {
			return nil, fmt.Errorf("look up %s: %w", name, a.err)
		}
		for i := range a.list {
			a.list[i] = a.list[i].Unmap()
		}
		return a.list, nil
	}
}
