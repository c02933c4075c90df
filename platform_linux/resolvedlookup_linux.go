package platform

import (
	"context"
	"net"
	"net/netip"
	"slices"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// resolvedNoCache is SD_RESOLVED_NO_CACHE of org.freedesktop.resolve1(5), since
// version 248.
const resolvedNoCache = uint64(1) << 12

// Errors that mean that a name has no such address.
var resolvedNotFound = []string{
	resolveName + ".DnsError.NXDOMAIN",
	resolveName + ".NoSuchRR",
}

// resolvedAddress is the D-Bus structure (iiay) of ResolveHostname.
type resolvedAddress struct {
	Interface, Family int32
	Address           []byte
}

// lookup asks resolved for the IPv6 addresses of a name, and resolved asks our
// server: what it remembers is of no interest.
func (r *resolved) lookup(ctx context.Context, name string) ([]netip.Addr, error) {
	const anyInterface = int32(0)
	found := r.call(ctx, "ResolveHostname", anyInterface, name, int32(unix.AF_INET6), resolvedNoCache)
	if isDBusError(found.err, errInvalidArgs) {
		found = r.call(ctx, "ResolveHostname", anyInterface, name, int32(unix.AF_INET6), uint64(0))
	}
	for _, missing := range resolvedNotFound {
		if isDBusError(found.err, missing) {
			return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
		}
	}
	if found.err != nil {
		return nil, found.err
	}
	var addresses []resolvedAddress
	if len(found.body) == 0 || dbus.Store(found.body[:1], &addresses) != nil {
		return nil, &net.DNSError{Err: "an answer that cannot be read", Name: name}
	}
	var list []netip.Addr
	for _, a := range addresses {
		if address, ok := netip.AddrFromSlice(a.Address); ok && !slices.Contains(list, address) {
			list = append(list, address)
		}
	}
	return list, nil
}
