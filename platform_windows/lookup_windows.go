package platform

import (
	"context"
	"errors"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"
)

// Lookup resolves a name as applications on this host do, by the DNS client's own
// call, with caches bypassed; see lookupOptions.
func (o *OS) Lookup(ctx context.Context, name string) ([]netip.Addr, error) {
	return o.lookup(ctx, name, dnsQuery)
}

// dnsQuery asks for the IPv6 addresses of a name: we have no others.
func dnsQuery(name string, options uint32) ([]netip.Addr, error) {
	var records *windows.DNSRecord
	if err := windows.DnsQuery(name, windows.DNS_TYPE_AAAA, options, nil, &records, nil); err != nil {
		var code syscall.Errno
		_ = errors.As(err, &code)
		return nil, lookupError(name, uint32(code), err)
	}
	const freeRecordList = 1 // DnsFreeRecordList (windns.h)
	defer windows.DnsRecordListFree(records, freeRecordList)
	var list []netip.Addr
	for r := records; r != nil; r = r.Next {
		// A chain of names comes with the addresses at its end.
		if r.Type == windows.DNS_TYPE_AAAA && r.Length >= 16 {
			list = append(list, netip.AddrFrom16(*(*[16]byte)(unsafe.Pointer(&r.Data))))
		}
	}
	if len(list) == 0 {
		return nil, lookupError(name, dnsInfoNoRecords, nil)
	}
	return list, nil
}
