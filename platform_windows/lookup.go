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
	// lookupTimeout bounds a lookup whose context does not.
	lookupTimeout = 10 * time.Second
	// maxLookups is how many Windows may keep waiting: a call of DnsQuery cannot
	// be given up, and each holds a thread.
	maxLookups = 8
)

// errLookupsHang: the system's resolver has answered none of those before.
var errLookupsHang = errors.New("the system's resolver hangs: earlier lookups have not come back")

// The options of DnsQuery (windns.h).
const (
	dnsQueryStandard    = 0x0
	dnsQueryBypassCache = 0x8
	dnsQueryNoHostsFile = 0x40
)

// lookupOptions are how the canary asks: past the cache, which would answer for a
// resolver that has gone; and where rules lead to us, past the hosts file, which
// would answer for rules that have gone. Where the hosts file is the way, it is
// asked as any program asks.
func lookupOptions(mode string) uint32 {
	if mode == ModeNRPT {
		return dnsQueryBypassCache | dnsQueryNoHostsFile
	}
	return dnsQueryStandard
}

// The statuses of DnsQuery that mean "there is no such name" (winerror.h).
const (
	dnsErrorRcodeNameError = 9003
	dnsInfoNoRecords       = 9501
)

// resolve is one call that may hang; it is Windows' DnsQuery but in tests.
type resolve func(name string, options uint32) ([]netip.Addr, error)

// lookup asks in a goroutine of its own, and stops waiting when the time is up.
func (o *OS) lookup(ctx context.Context, name string, ask resolve) ([]netip.Addr, error) {
	if name == "" || strings.ContainsAny(name, "\x00 \t\r\n/\\") {
		return nil, fmt.Errorf("look up %q: not a host name", name)
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	select {
	case o.pending <- struct{}{}:
	default:
		return nil, &net.DNSError{Err: errLookupsHang.Error(), Name: name, IsTimeout: true, UnwrapErr: errLookupsHang}
	}
	type answer struct {
		list []netip.Addr
		err  error
	}
	answered := make(chan answer, 1)
	options := lookupOptions(o.DNSMode())
	go func() {
		defer func() { <-o.pending }()
		// The closing dot keeps Windows from trying search lists.
		list, err := ask(strings.TrimSuffix(name, ".")+".", options)
		answered <- answer{list, err}
	}()
	select {
	case a := <-answered:
		return a.list, a.err
	case <-ctx.Done():
		return nil, &net.DNSError{Err: "the system's resolver does not answer", Name: name, IsTimeout: true, UnwrapErr: ctx.Err()}
	}
}

// lookupError turns a status of DnsQuery into what Go's own resolver would say.
func lookupError(name string, status uint32, err error) error {
	name = strings.TrimSuffix(name, ".")
	switch status {
	case dnsErrorRcodeNameError, dnsInfoNoRecords:
		return &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
	return fmt.Errorf("look up %s: %w", name, err)
}
