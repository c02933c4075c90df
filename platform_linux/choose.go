package platform

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
)

// The ways to give the host our names, as DNSMode tells them.
const (
	// ModeResolved is split DNS by systemd-resolved, per link.
	ModeResolved = "resolved"
	// ModeHosts is a section of the hosts file with all known names.
	ModeHosts = "hosts"
)

// errResolvedElsewhere: systemd-resolved answers, but sees other links than we.
var errResolvedElsewhere = errors.New("systemd-resolved runs in another network namespace")

// dnsEnv is what was found on the host.
type dnsEnv struct {
	// resolvConf is the content of /etc/resolv.conf; resolvConfErr is set
	// if it could not be read.
	resolvConf    string
	resolvConfErr error
	// nsswitch is the content of /etc/nsswitch.conf, "" if there is none.
	nsswitch string
	// nssResolve tells that libnss_resolve.so.2 is installed: nsswitch.conf
	// may name a module that is not there, which libc skips in silence.
	nssResolve bool
	// resolvedErr is why systemd-resolved does not answer on D-Bus; nil if
	// it does.
	resolvedErr error
}

// chooseDNS decides how the host learns our names, and tells its reasons.
//
// systemd-resolved is used only where applications really ask it: a resolved
// that runs beside a plain resolv.conf, as on many servers and in containers,
// would take our settings and nobody would see them. Everything else gets the
// hosts file, which each libc and each language's resolver reads.
func chooseDNS(env dnsEnv) (mode string, trail []string) {
	say := func(reason string) { trail = append(trail, reason) }
	stub, nss := false, false
	switch servers := nameservers(env.resolvConf); {
	case env.resolvConfErr != nil:
		say("resolv.conf=unreadable")
	case len(servers) == 0:
		// libc then asks 127.0.0.1, which is not resolved's stub.
		say("resolv.conf=no-nameserver")
	case !slices.ContainsFunc(servers, func(a netip.Addr) bool { return !isStub(a) }):
		stub = true
		say("resolv.conf=stub")
	case isStub(servers[0]):
		// The first server answers as long as it is up; the others are a
		// fallback that knows nothing of us, as before us.
		stub = true
		say("resolv.conf=stub-first")
	default:
		say("resolv.conf=" + servers[0].String())
	}
	switch {
	case !usesNSSResolve(env.nsswitch):
		say("nss-resolve=unused")
	case !env.nssResolve:
		say("nss-resolve=not-installed")
	default:
		nss = true
		say("nss-resolve=used")
	}
	switch {
	case errors.Is(env.resolvedErr, errResolvedElsewhere):
		say("resolved=in-another-network-namespace")
	case env.resolvedErr != nil:
		say("resolved=absent")
	case stub || nss:
		say("resolved=in-use")
		mode = ModeResolved
	default:
		say("resolved=not-in-use")
	}
	if mode == "" {
		mode = ModeHosts
	}
	say("mode=" + mode)
	return mode, trail
}

// isStub knows both listeners of systemd-resolved; .54 is the one that does
// not read the hosts file.
func isStub(a netip.Addr) bool {
	return a == netip.AddrFrom4([4]byte{127, 0, 0, 53}) || a == netip.AddrFrom4([4]byte{127, 0, 0, 54})
}

// nameservers reads a resolv.conf as libc does, but also skips inline comments,
// which some programs write. Unreadable lines are ignored.
func nameservers(resolvConf string) []netip.Addr {
	var list []netip.Addr
	for line := range strings.Lines(resolvConf) {
		line, _, _ = strings.Cut(line, "#")
		line, _, _ = strings.Cut(line, ";")
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(fields[1]); err == nil {
			list = append(list, a)
		}
	}
	return list
}

// usesNSSResolve tells that the hosts database asks resolve before dns.
func usesNSSResolve(nsswitch string) bool {
	for line := range strings.Lines(nsswitch) {
		line, _, _ = strings.Cut(line, "#")
		database, sources, ok := strings.Cut(line, ":")
		if !ok || strings.TrimSpace(database) != "hosts" {
			continue
		}
		for _, source := range strings.Fields(sources) {
			switch source {
			case "resolve":
				return true
			case "dns":
				return false
			}
		}
	}
	return false
}
