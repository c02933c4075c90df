package platform

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/causewayhq/causeway/netcfg"
)

// Names of systemd-resolved on the bus, from org.freedesktop.resolve1(5).
const (
	resolveName    = "org.freedesktop.resolve1"
	resolvePath    = dbus.ObjectPath("/org/freedesktop/resolve1")
	resolveManager = resolveName + ".Manager"
	resolveLink    = resolveName + ".Link"

	errNoSuchLink = resolveName + ".NoSuchLink"
	errTooBig     = "System.Error.E2BIG"
)

var resolveService = service{resolveName, "systemd-resolved"}

// resolved gives systemd-resolved what it has to know of our link.
type resolved struct {
	bus *bus

	mu   sync.Mutex
	must bool // the next set sends everything
	lost bool // our address or our route were away
	sent *sentDNS
}

// sentDNS is what resolved was last told.
type sentDNS struct {
	index   int
	dns     netcfg.DNS
	domains []linkDomain // that it took
	life    int          // of the bus
}

// linkServer and linkDomain are the D-Bus structures (iay) and (sb).
type linkServer struct {
	Family  int32
	Address []byte
}

type linkDomain struct {
	Domain      string
	RoutingOnly bool
}

// setting is a method of the manager and the property of the link that tells
// what it did.
type setting struct {
	method, property string
	value            any
}

// linkSettings keep all else away from our link.
var linkSettings = []setting{
	{"SetLinkDefaultRoute", "DefaultRoute", false},
	{"SetLinkLLMNR", "LLMNR", "no"},
	{"SetLinkMulticastDNS", "MulticastDNS", "no"},
	// Our answers are not signed, and the tunnel encrypts already. A
	// host with DNS-over-TLS for everything could not reach our server.
	{"SetLinkDNSSEC", "DNSSEC", "no"},
	{"SetLinkDNSOverTLS", "DNSOverTLS", "no"},
}

// ping asks whether a resolved answers that sees our links. With start, D-Bus
// may start it, as at boot when we are first; without, a resolved that somebody
// has stopped stays stopped.
func (r *resolved) ping(ctx context.Context, start bool) error {
	flags := dbus.FlagNoAutoStart
	if start {
		flags = 0
	}
	if err := r.bus.callWith(ctx, flags, resolveService, resolvePath, busPeer+".Ping").err; err != nil {
		return err
	}
	return r.bus.here(ctx, resolveService)
}

// set gives the link our servers for our suffixes and nothing else. It sends
// only what resolved does not show already, also if an earlier process of ours
// was the one that told it; sent tells which.
func (r *resolved) set(ctx context.Context, index int, dns netcfg.DNS) (sent bool, err error) {
	r.mu.Lock()
	must, lost, told := r.must, r.lost, r.sent
	r.mu.Unlock()
	if told != nil && (told.index != index || !told.dns.SplitEqual(dns) || told.life != r.bus.lives()) {
		told = nil
	}
	shown := !must && r.shows(ctx, index, dns, told)
	if shown && !lost {
		return false, nil
	}
	var domains []linkDomain
	if shown {
		domains, err = taken(dns, told), r.startOver(ctx, int32(index), dns)
	} else {
		domains, err = r.send(ctx, int32(index), dns)
	}
	if err != nil {
		r.forget()
		return true, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.must, r.lost, r.sent = false, false, &sentDNS{index: index, dns: dns, domains: domains, life: r.bus.lives()}
	return true, nil
}

// send is in an order that never makes our servers the host's: a link that has
// servers and no domains would be a default route for names. It returns the
// domains that were taken.
func (r *resolved) send(ctx context.Context, index int32, dns netcfg.DNS) ([]linkDomain, error) {
	for _, s := range linkSettings {
		err := r.call(ctx, s.method, index, s.value).err
		if err != nil && !isDBusError(err, errUnknownMethod) {
			return nil, err // versions before 240 lack some of them
		}
	}
	domains := linkDomains(dns.Suffixes)
	err := r.call(ctx, "SetLinkDomains", index, domains).err
	if isDBusError(err, errTooBig) {
		// Old versions limit the list; reverse names are what one can miss.
		domains = slices.DeleteFunc(domains, func(d linkDomain) bool { return strings.HasSuffix(d.Domain, ".arpa") })
		err = r.call(ctx, "SetLinkDomains", index, domains).err
	}
	if err != nil {
		return nil, err
	}
	if err := r.call(ctx, "SetLinkDNS", index, linkServers(dns.Nameservers)).err; err != nil {
		return nil, err
	}
	return domains, r.flush(ctx)
}

// startOver has resolved give up what it waits for on the link; see cutOff.
func (r *resolved) startOver(ctx context.Context, index int32, dns netcfg.DNS) error {
	for _, servers := range [][]linkServer{{}, linkServers(dns.Nameservers)} {
		if err := r.call(ctx, "SetLinkDNS", index, servers).err; err != nil {
			return err
		}
	}
	return r.flush(ctx)
}

// flush makes resolved forget answers from before the change, above all that
// a name does not exist. Without it they go by themselves, only later.
func (r *resolved) flush(ctx context.Context) error {
	err := r.call(ctx, "FlushCaches").err
	if isDBusError(err, errUnknownMethod) {
		return nil
	}
	return err
}

// revert takes back all that was set on the link. Its error is errAbsent or
// errElsewhere where no resolved can hold any.
func (r *resolved) revert(ctx context.Context, index int) error {
	r.forget()
	if err := r.ping(ctx, false); err != nil {
		return err
	}
	err := r.call(ctx, "RevertLink", int32(index)).err
	if err != nil && !isDBusError(err, errNoSuchLink) {
		return err
	}
	return r.flush(ctx)
}

// shows compares what resolved says the link has. A resolved that cannot tell
// is believed in what it was told.
func (r *resolved) shows(ctx context.Context, index int, dns netcfg.DNS, told *sentDNS) bool {
	var path dbus.ObjectPath
	link := r.call(ctx, "GetLink", int32(index))
	if link.err != nil {
		return told != nil && isDBusError(link.err, errUnknownMethod)
	}
	if dbus.Store(link.body, &path) != nil {
		return false
	}
	all := r.bus.call(ctx, resolveService, path, busProperties+".GetAll", resolveLink)
	var properties map[string]dbus.Variant
	if all.err != nil || dbus.Store(all.body, &properties) != nil {
		return false
	}
	for _, s := range linkSettings {
		if have, ok := properties[s.property]; ok && have.Value() != s.value {
			return false
		}
	}
	var servers []linkServer
	var routes []linkDomain
	return dbus.Store([]any{properties["DNS"].Value()}, &servers) == nil &&
		dbus.Store([]any{properties["Domains"].Value()}, &routes) == nil &&
		slices.EqualFunc(servers, linkServers(dns.Nameservers), func(a, b linkServer) bool {
			return a.Family == b.Family && slices.Equal(a.Address, b.Address)
		}) &&
		slices.Equal(sortedDomains(routes), taken(dns, told))
}

// taken are the domains that resolved took, as far as we know.
func taken(dns netcfg.DNS, told *sentDNS) []linkDomain {
	if told != nil {
		return told.domains
	}
	return linkDomains(dns.Suffixes)
}

// cutOff says that our address or our route were away and are back. A query that
// resolved sent meanwhile has a socket with the address of another interface, on
// which it repeats itself for two minutes, and each lookup of that name waits
// for it. It is given up when the link has no server any more, so the next set
// takes ours away for a moment.
func (r *resolved) cutOff() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lost = true
}

// forget makes the next set send everything.
func (r *resolved) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.must, r.sent = true, nil
}

// call calls a method of the manager of a resolved that runs.
func (r *resolved) call(ctx context.Context, method string, args ...any) answer {
	return r.bus.call(ctx, resolveService, resolvePath, resolveManager+"."+method, args...)
}

func linkServers(list []netip.Addr) []linkServer {
	servers := make([]linkServer, 0, len(list))
	for _, a := range list {
		family := int32(unix.AF_INET6)
		if a.Is4() {
			family = unix.AF_INET
		}
		servers = append(servers, linkServer{Family: family, Address: a.AsSlice()})
	}
	return servers
}

// linkDomains are routing-only: resolved must not append them to short names.
func linkDomains(suffixes []string) []linkDomain {
	domains := make([]linkDomain, 0, len(suffixes))
	for _, s := range suffixes {
		domains = append(domains, linkDomain{Domain: s, RoutingOnly: true})
	}
	return sortedDomains(domains)
}

func sortedDomains(list []linkDomain) []linkDomain {
	slices.SortFunc(list, func(a, b linkDomain) int { return strings.Compare(a.Domain, b.Domain) })
	return slices.Compact(list)
}
