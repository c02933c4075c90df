package limit

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// forwardedLimit bounds how many entries of X-Forwarded-For are looked at.
const forwardedLimit = 32

// Behind lets requests that come through proxies of ours have the address of who
// has asked those: the last entry of X-Forwarded-For that is not a proxy of ours.
// From everybody else the header is a claim, and is not looked at.
func Behind(proxies []netip.Prefix, next http.Handler) http.Handler {
	if len(proxies) == 0 {
		return next
	}
	ours := func(addr netip.Addr) bool {
		return slices.ContainsFunc(proxies, func(proxy netip.Prefix) bool { return proxy.Contains(addr) })
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil || !ours(from.Addr().Unmap().WithZone("")) {
			next.ServeHTTP(w, r)
			return
		}
		if client, found := forwarded(r.Header.Values("X-Forwarded-For"), ours); found {
			copied := *r // the header is shared, and is not written
			copied.RemoteAddr = netip.AddrPortFrom(client, 0).String()
			r = &copied
		}
		next.ServeHTTP(w, r)
	})
}

// forwarded reads the header from its end, where the proxies that we know have
// written. What cannot be read ends it: the entries before it are claims.
func forwarded(values []string, ours func(netip.Addr) bool) (client netip.Addr, found bool) {
	entries := strings.Split(strings.Join(values, ","), ",")
	slices.Reverse(entries)
	for _, entry := range entries[:min(len(entries), forwardedLimit)] {
		addr, good := parseEntry(strings.TrimSpace(entry))
		if !good {
			break
		}
		client, found = addr.Unmap().WithZone(""), true
		if !ours(client) {
			break
		}
	}
	return client, found
}

// parseEntry reads an address; some proxies add the port, or write IPv6 in
// brackets.
func parseEntry(entry string) (netip.Addr, bool) {
	if with, err := netip.ParseAddrPort(entry); err == nil {
		return with.Addr(), true
	}
	if inner, bracketed := strings.CutPrefix(entry, "["); bracketed && strings.HasSuffix(inner, "]") {
		entry = strings.TrimSuffix(inner, "]")
	}
	addr, err := netip.ParseAddr(entry)
	return addr, err == nil
}
