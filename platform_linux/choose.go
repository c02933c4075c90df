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
	// ModeNetworkManager is split DNS by the dnsmasq of NetworkManager.
	ModeNetworkManager = "networkmanager"
	// ModeResolvConf has our server forward, listed first in resolv.conf.
	ModeResolvConf = "resolv.conf"
	// ModeDebianResolvconf is the same through Debian's resolvconf.
	ModeDebianResolvconf = "resolvconf"
	// ModeOpenResolv is the same through openresolv.
	ModeOpenResolv = "openresolv"
	// ModeHosts is a section of the hosts file with all known names.
	ModeHosts = "hosts"
)

var (
	// errAbsent: nobody has the name of the service on the bus, and nobody can
	// be started for it, or there is no bus at all.
	errAbsent = errors.New("it is not running")
	// errElsewhere: the service answers, but sees other links and files than we.
	errElsewhere = errors.New("it runs in another network namespace")
)

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
	// networkManager is what it says of its way with DNS, "" if it does not run.
	networkManager string

	// forward asks that the system itself asks our server, also where that
	// means touching the configuration of another program.
	forward bool
	// own are our name servers, which are not the host's.
	own func(netip.Addr) bool
	// resolvconf is the program of that name: "debian", "openresolv", or "".
	// resolvconfInUse tells that resolv.conf is written by it.
	resolvconf      string
	resolvconfInUse bool
	// fought tells that another program took our line out too often.
	fought bool
	// refused tells that resolvconf did not list our server as it should.
	refused bool
}

// chooseDNS decides how the host learns our names, and tells its reasons.
//
// systemd-resolved is used only where applications really ask it: a resolved
// that runs beside a plain resolv.conf, as on many servers and in containers,
// would take our settings and nobody would see them. Everything else gets the
// hosts file, which each libc and each language's resolver reads, and for which
// nothing has to be started anew. Only who asks for it gets the forwarder, or
// the dnsmasq of NetworkManager, if applications ask that one.
func chooseDNS(env dnsEnv) (mode string, trail []string) {
	servers := upstreams(env.resolvConf, env.own)
	stub, first := lookAtResolvConf(env, servers)
	trail = append(trail, first)
	nss, second := lookAtNSS(env)
	trail = append(trail, second)
	mode, third := lookAtResolved(env, stub || nss)
	trail = append(trail, third)
	if mode == "" && env.networkManager != "" {
		var reason string
		mode, reason = lookAtNetworkManager(env, servers)
		trail = append(trail, reason)
	}
	if mode == "" && env.forward {
		var reason string
		mode, reason = lookAtForwarding(env, servers)
		trail = append(trail, reason)
	}
	if mode == "" {
		mode = ModeHosts
	}
	return mode, append(trail, "mode="+mode)
}

func lookAtResolvConf(env dnsEnv, servers []netip.Addr) (stub bool, reason string) {
	switch {
	case env.resolvConfErr != nil:
		return false, "resolv.conf=unreadable"
	case len(servers) == 0:
		// libc then asks 127.0.0.1, which is not resolved's stub.
		return false, "resolv.conf=no-nameserver"
	case !slices.ContainsFunc(servers, func(a netip.Addr) bool { return !isStub(a) }):
		return true, "resolv.conf=stub"
	case isStub(servers[0]):
		// The first server answers as long as it is up; the others are a
		// fallback that knows nothing of us, as before us.
		return true, "resolv.conf=stub-first"
	}
	return false, "resolv.conf=" + servers[0].String()
}

func lookAtNSS(env dnsEnv) (used bool, reason string) {
	switch {
	case !usesNSSResolve(env.nsswitch):
		return false, "nss-resolve=unused"
	case !env.nssResolve:
		return false, "nss-resolve=not-installed"
	}
	return true, "nss-resolve=used"
}

func lookAtResolved(env dnsEnv, asked bool) (mode, reason string) {
	switch {
	case errors.Is(env.resolvedErr, errElsewhere):
		return "", "resolved=in-another-network-namespace"
	case env.resolvedErr != nil:
		return "", "resolved=absent"
	case asked:
		return ModeResolved, "resolved=in-use"
	}
	return "", "resolved=not-in-use"
}

// lookAtNetworkManager takes its dnsmasq, where applications ask it and it may be
// started anew, during which it answers nobody. What it hands to
// systemd-resolved was seen before; the rest splits nothing.
func lookAtNetworkManager(env dnsEnv, servers []netip.Addr) (mode, reason string) {
	switch {
	case env.networkManager != "dnsmasq":
		return "", "networkmanager=" + env.networkManager
	case len(servers) == 0 || !servers[0].IsLoopback() || isStub(servers[0]):
		return "", "networkmanager=dnsmasq-not-in-use"
	case !env.forward:
		return "", "networkmanager=dnsmasq-not-asked-for"
	}
	return ModeNetworkManager, "networkmanager=dnsmasq"
}

// lookAtForwarding refuses where nothing is left to forward to, and where a
// server of this machine is asked: that one may take its own servers from
// resolv.conf, and would ask us what we ask it.
func lookAtForwarding(env dnsEnv, servers []netip.Addr) (mode, reason string) {
	switch {
	case env.resolvConfErr != nil || len(servers) == 0:
		return "", "forward=no-upstream"
	case servers[0].IsLoopback():
		return "", "forward=local-server"
	case env.fought:
		return "", "forward=fought-over"
	case env.resolvconfInUse && env.refused:
		return "", "forward=refused-by-resolvconf"
	case env.resolvconfInUse && env.resolvconf == "debian":
		return ModeDebianResolvconf, "forward=resolvconf"
	case env.resolvconfInUse && env.resolvconf == "openresolv":
		return ModeOpenResolv, "forward=openresolv"
	}
	return ModeResolvConf, "forward=resolv.conf"
}

// leadsPast tells what leads applications past a mechanism that splits DNS, ""
// if nothing does.
func leadsPast(mode, resolvConf, nsswitch string) string {
	servers := upstreams(resolvConf, nil)
	switch {
	case len(servers) == 0:
		return ""
	case mode == ModeResolved && !isStub(servers[0]) && !usesNSSResolve(nsswitch):
		return "resolv.conf leads to " + servers[0].String() + ", past systemd-resolved, as of " + author(resolvConf)
	case mode == ModeNetworkManager && !servers[0].IsLoopback():
		return "resolv.conf leads to " + servers[0].String() + ", past the dnsmasq of NetworkManager, as of " + author(resolvConf)
	}
	return ""
}

// isStub knows both listeners of systemd-resolved; .54 is the one that does
// not read the hosts file.
func isStub(a netip.Addr) bool {
	return a == netip.AddrFrom4([4]byte{127, 0, 0, 53}) || a == netip.AddrFrom4([4]byte{127, 0, 0, 54})
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
