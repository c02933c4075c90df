package platform

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

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

	busName = "org.freedesktop.DBus"
	busPath = dbus.ObjectPath("/org/freedesktop/DBus")

	errNoSuchLink    = resolveName + ".NoSuchLink"
	errTooBig        = "System.Error.E2BIG"
	errUnknownMethod = "org.freedesktop.DBus.Error.UnknownMethod"
)

// busTimeout bounds one D-Bus call. A healthy resolved answers within
// milliseconds; one that D-Bus has to start first needs a second or two.
const busTimeout = 5 * time.Second

// errResolvedAbsent: nobody has the name of systemd-resolved, and nobody can
// be started for it, or there is no bus at all.
var errResolvedAbsent = errors.New("systemd-resolved is not running")

// resolved speaks to systemd-resolved. It connects when first needed, and again
// when the connection is lost.
type resolved struct {
	address string        // of the bus, "" for the system's
	timeout time.Duration // of one call

	mu   sync.Mutex
	conn *dbus.Conn
	sent *sentDNS
}

// sentDNS is what the running resolved was last told.
type sentDNS struct {
	index int
	dns   netcfg.DNS
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

// ping asks whether a resolved answers that sees our links. With start, D-Bus
// may start it, as at boot when we are first; without, a resolved that somebody
// has stopped stays stopped.
func (r *resolved) ping(ctx context.Context, start bool) error {
	flags := dbus.FlagNoAutoStart
	if start {
		flags = 0
	}
	if err := r.callWith(ctx, flags, resolveName, resolvePath, "org.freedesktop.DBus.Peer.Ping").err; err != nil {
		return err
	}
	owner := r.callWith(ctx, dbus.FlagNoAutoStart, busName, busPath, busName+".GetConnectionUnixProcessID", resolveName)
	var pid uint32
	if owner.err != nil || dbus.Store(owner.body, &pid) != nil {
		return owner.err
	}
	if inOtherNetwork("/proc", pid) {
		return errResolvedElsewhere
	}
	return nil
}

// inOtherNetwork tells that a process is known to live in another network
// namespace than we. The bus is reached through a file, so a daemon in a
// namespace or a container may well speak to the resolved of the host, to whom
// our interface's index means another interface.
func inOtherNetwork(proc string, pid uint32) bool {
	own, err := os.Readlink(filepath.Join(proc, "self/ns/net"))
	if err != nil {
		return false
	}
	its, err := os.Readlink(filepath.Join(proc, strconv.Itoa(int(pid)), "ns/net"))
	if errors.Is(err, fs.ErrNotExist) {
		// Another process namespace, unless this /proc hides all others
		// (ProtectProc=invisible): then nothing is known.
		_, hidden := os.Stat(filepath.Join(proc, "1"))
		return hidden == nil
	}
	return err == nil && its != own
}

// set gives the link our servers for our suffixes and nothing else. It sends
// only if resolved is not known to have the same already; sent tells which.
func (r *resolved) set(ctx context.Context, index int, dns netcfg.DNS) (sent bool, err error) {
	if r.has(index, dns) && r.matches(ctx, index, dns) {
		return false, nil
	}
	if err := r.send(ctx, int32(index), dns); err != nil {
		r.forget()
		return true, err
	}
	r.mu.Lock()
	r.sent = &sentDNS{index: index, dns: dns}
	r.mu.Unlock()
	return true, nil
}

// send is in an order that never makes our servers the host's: a link that has
// servers and no domains would be a default route for names.
func (r *resolved) send(ctx context.Context, index int32, dns netcfg.DNS) error {
	settings := []struct {
		method string
		value  any
	}{
		{"SetLinkDefaultRoute", false},
		{"SetLinkLLMNR", "no"},
		{"SetLinkMulticastDNS", "no"},
		// Our answers are not signed, and the tunnel encrypts already. A
		// host with DNS-over-TLS for everything could not reach our server.
		{"SetLinkDNSSEC", "no"},
		{"SetLinkDNSOverTLS", "no"},
	}
	for _, s := range settings {
		err := r.call(ctx, resolvePath, resolveManager+"."+s.method, index, s.value).err
		if err != nil && !isDBusError(err, errUnknownMethod) {
			return err // versions before 240 lack some of them
		}
	}
	domains := linkDomains(dns.Suffixes)
	err := r.call(ctx, resolvePath, resolveManager+".SetLinkDomains", index, domains).err
	if isDBusError(err, errTooBig) {
		// Old versions limit the list; reverse names are what one can miss.
		domains = slices.DeleteFunc(domains, func(d linkDomain) bool { return strings.HasSuffix(d.Domain, ".arpa") })
		err = r.call(ctx, resolvePath, resolveManager+".SetLinkDomains", index, domains).err
	}
	if err != nil {
		return err
	}
	if err := r.call(ctx, resolvePath, resolveManager+".SetLinkDNS", index, linkServers(dns.Nameservers)).err; err != nil {
		return err
	}
	return r.flush(ctx)
}

// flush makes resolved forget answers from before the change, above all that
// a name does not exist. Without it they go by themselves, only later.
func (r *resolved) flush(ctx context.Context) error {
	err := r.call(ctx, resolvePath, resolveManager+".FlushCaches").err
	if isDBusError(err, errUnknownMethod) {
		return nil
	}
	return err
}

// revert takes back all that was set on the link. Its error is
// errResolvedAbsent or errResolvedElsewhere where no resolved can hold any.
func (r *resolved) revert(ctx context.Context, index int) error {
	r.forget()
	if err := r.ping(ctx, false); err != nil {
		return err
	}
	err := r.call(ctx, resolvePath, resolveManager+".RevertLink", int32(index)).err
	if err != nil && !isDBusError(err, errNoSuchLink) {
		return err
	}
	return r.flush(ctx)
}

// matches compares what resolved says the link has. A resolved that cannot
// tell is believed.
func (r *resolved) matches(ctx context.Context, index int, dns netcfg.DNS) bool {
	var path dbus.ObjectPath
	answer := r.call(ctx, resolvePath, resolveManager+".GetLink", int32(index))
	if answer.err != nil {
		return isDBusError(answer.err, errUnknownMethod)
	}
	if dbus.Store(answer.body, &path) != nil {
		return false
	}
	var servers []linkServer
	var domains []linkDomain
	return r.property(ctx, path, "DNS", &servers) == nil && r.property(ctx, path, "Domains", &domains) == nil &&
		slices.EqualFunc(servers, linkServers(dns.Nameservers), func(a, b linkServer) bool {
			return a.Family == b.Family && slices.Equal(a.Address, b.Address)
		}) &&
		slices.Equal(sortedDomains(domains), linkDomains(dns.Suffixes))
}

func (r *resolved) property(ctx context.Context, path dbus.ObjectPath, name string, into any) error {
	answer := r.call(ctx, path, "org.freedesktop.DBus.Properties.Get", resolveLink, name)
	if answer.err != nil {
		return answer.err
	}
	var value dbus.Variant
	if err := dbus.Store(answer.body, &value); err != nil {
		return err
	}
	return dbus.Store([]any{value.Value()}, into)
}

func (r *resolved) has(index int, dns netcfg.DNS) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sent != nil && r.sent.index == index && r.sent.dns.SplitEqual(dns)
}

// forget makes the next set send everything.
func (r *resolved) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sent = nil
}

// answer of a call: its body or the error.
type answer struct {
	body []any
	err  error
}

// call calls a resolved that runs.
func (r *resolved) call(ctx context.Context, path dbus.ObjectPath, method string, args ...any) answer {
	return r.callWith(ctx, dbus.FlagNoAutoStart, resolveName, path, method, args...)
}

func (r *resolved) callWith(ctx context.Context, flags dbus.Flags, dest string, path dbus.ObjectPath, method string, args ...any) answer {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	short := method[strings.LastIndexByte(method, '.')+1:]
	conn, err := r.connection(ctx)
	if err == nil {
		reply := conn.Object(dest, path).CallWithContext(ctx, method, flags, args...)
		if reply.Err == nil {
			return answer{body: reply.Body}
		}
		err = reply.Err
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		err = fmt.Errorf("no answer within %v: %w", r.timeout, err)
	case isDBusError(err, "org.freedesktop.DBus.Error.ServiceUnknown"),
		isDBusError(err, "org.freedesktop.DBus.Error.NameHasNoOwner"):
		err = fmt.Errorf("%w: %w", errResolvedAbsent, err)
	}
	return answer{err: fmt.Errorf("call %s of systemd-resolved: %w", short, err)}
}

// connection returns the one connection, made if needed.
func (r *resolved) connection(ctx context.Context) (*dbus.Conn, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conn != nil && r.conn.Connected() {
		return r.conn, nil
	}
	r.sent = nil
	conn, err := dialBus(ctx, r.address)
	if err != nil {
		return nil, err
	}
	r.conn = conn
	return conn, nil
}

func (r *resolved) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conn == nil {
		return nil
	}
	err := r.conn.Close()
	r.conn, r.sent = nil, nil
	return err
}

// dialBus connects within the context's time; the connection outlives it.
func dialBus(ctx context.Context, address string) (*dbus.Conn, error) {
	life, cancel := context.WithCancel(context.Background())
	// Ending the life closes the socket, which is the only way to interrupt
	// the greeting of a bus that does not answer.
	stop := context.AfterFunc(ctx, cancel)
	connect := func() (*dbus.Conn, error) { return dbus.Connect(address, dbus.WithContext(life)) }
	if address == "" {
		connect = func() (*dbus.Conn, error) { return dbus.ConnectSystemBus(dbus.WithContext(life)) }
	}
	conn, err := connect()
	late := !stop()
	if err == nil && !late {
		return conn, nil // its Close ends the life
	}
	cancel()
	if conn != nil {
		_ = conn.Close()
	}
	if late {
		return nil, fmt.Errorf("connect to the system bus: %w", ctx.Err())
	}
	return nil, fmt.Errorf("%w: connect to the system bus: %w", errResolvedAbsent, err)
}

func isDBusError(err error, name string) bool {
	var e dbus.Error
	return errors.As(err, &e) && e.Name == name
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
