package tunnel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	// dialLimit bounds one dial: look-up, TCP and TLS. TCP repeats its first
	// packet after 1, 3 and 7 seconds.
	dialLimit = 10 * time.Second
	// headStart is what the resolver gets before remembered addresses are tried
	// beside it; plainStart is the same where no certificate proves the host.
	headStart  = 300 * time.Millisecond
	plainStart = 2 * time.Second
	// stagger is the pause between the addresses of one host (RFC 8305 has
	// 250 ms).
	stagger = 250 * time.Millisecond
	// attempts bounds the addresses that one dial tries.
	attempts = 8
	// hostsKept and addrsKept bound what is remembered. A deployment has one
	// control plane and a relay map of some regions.
	hostsKept = 64
	addrsKept = 4
	// hostLimit is the longest DNS name.
	hostLimit = 253
)

// place is where a host was reached, the best address first.
type place struct {
	Addrs []netip.Addr
	At    time.Time // when it was last reached
	// Proven says that we have connected there ourselves, and not only heard.
	Proven bool
}

func (p place) copied() place {
	p.Addrs = slices.Clone(p.Addrs)
	return p
}

// addressBook reaches hosts by their names, and remembers where it reached
// them, so that a resolver that does not answer, or answers wrongly, does not
// keep us from coming back. With TLS the certificate says whether a remembered
// address still is the host. Without it nothing does, so that addresses from
// before are used only while the resolver gives none.
type addressBook struct {
	lookup  func(ctx context.Context, host string) ([]netip.Addr, error)
	connect func(ctx context.Context, network, address string) (net.Conn, error)

	mu      sync.Mutex
	changed func() // hears of each change worth saving
	known   map[string]place
}

// secure makes a connection one that is known to end at the right host. It
// closes the connection if it fails.
type secure = func(context.Context, net.Conn) (net.Conn, error)

func newAddressBook() *addressBook {
	dialer := net.Dialer{KeepAlive: 15 * time.Second}
	return &addressBook{
		lookup: func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		},
		connect: dialer.DialContext, known: map[string]place{},
	}
}

// dial connects to a host and port; then is nil for a connection without TLS.
func (b *addressBook) dial(ctx context.Context, network, address string, then secure) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	host, port, err := net.SplitHostPort(address)
	if err != nil || isAddress(host) {
		return b.attempt(ctx, network, address, then)
	}
	r := &race{
		book: b, network: network, port: port, then: then, before: fitting(network, b.remembered(host)),
		results: make(chan outcome), answers: make(chan answer, 1),
	}
	go func() {
		addrs, err := b.lookup(ctx, host)
		r.answers <- answer{fitting(network, addrs), err}
	}()
	conn, addr, err := r.run(ctx, host)
	if err != nil {
		return nil, err
	}
	b.reached(host, addr, r.fresh)
	return conn, nil
}

// errInside is for hosts that claim to be inside the tunnel: what is sent there
// would come back to us, wrapped once more each time.
var errInside = errors.New("this address is inside the tunnel itself, where neither a control plane nor a relay can be; mend the URL, the relay map or the DNS answer that gave it")

// attempt tries one address. All connections of ours begin here.
func (b *addressBook) attempt(ctx context.Context, network, address string, then secure) (net.Conn, error) {
	if host, _, err := net.SplitHostPort(address); err == nil {
		if addr, err := netip.ParseAddr(host); err == nil && inTunnel(addr) {
			return nil, fmt.Errorf("connect to %s: %w", address, errInside)
		}
	}
	conn, err := b.connect(ctx, network, address)
	if err != nil || then == nil {
		return conn, err
	}
	return then(ctx, conn)
}

// Known are the addresses from before of a host that somebody else dials.
func (b *addressBook) Known(host string) []netip.Addr { return slices.Clone(b.remembered(host)) }

// Resolve asks the resolver for a host that somebody else dials. Whether the
// answer is right cannot be known: it is remembered where nothing better is.
func (b *addressBook) Resolve(ctx context.Context, host string) []netip.Addr {
	ctx, cancel := context.WithTimeout(ctx, plainStart)
	defer cancel()
	addrs, err := b.lookup(ctx, host)
	addrs = slices.DeleteFunc(fitting("", addrs), inTunnel)
	if err != nil || len(addrs) == 0 {
		return nil
	}
	b.note(host, addrs, false)
	return addrs
}

func (b *addressBook) remembered(host string) []netip.Addr {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.known[host].Addrs
}

// reached notes where a host is. If that is one of the resolver's answers, the
// others are taken to be good too.
func (b *addressBook) reached(host string, addr netip.Addr, answers []netip.Addr) {
	list := []netip.Addr{addr}
	if slices.Contains(answers, addr) {
		list = append(list, answers...)
	}
	b.note(host, list, true)
}

// note puts addresses in front of those that a host had, unless those are the
// better proven.
func (b *addressBook) note(host string, addrs []netip.Addr, proven bool) {
	b.mu.Lock()
	before, found := b.known[host]
	if before.Proven && !proven {
		b.mu.Unlock()
		return
	}
	list := merge(addrs, before.Addrs)
	list = list[:min(len(list), addrsKept)]
	if !found && len(b.known) >= hostsKept {
		b.forgetOldest()
	}
	b.known[host] = place{Addrs: list, At: time.Now(), Proven: proven}
	changed := b.changed
	b.mu.Unlock()
	if changed != nil && !slices.Equal(list, before.Addrs) {
		changed()
	}
}

// onChange sets who hears of changes, nil for nobody. It must not block.
func (b *addressBook) onChange(changed func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.changed = changed
}

// forgetOldest makes room; the caller holds mu.
func (b *addressBook) forgetOldest() {
	var oldest string
	for host, known := range b.known {
		if oldest == "" || known.At.Before(b.known[oldest].At) {
			oldest = host
		}
	}
	delete(b.known, oldest)
}

// places is a copy for the disk.
func (b *addressBook) places() map[string]place {
	b.mu.Lock()
	defer b.mu.Unlock()
	copied := make(map[string]place, len(b.known))
	for host, known := range b.known {
		copied[host] = known.copied()
	}
	return copied
}

// restore takes what an earlier process knew, in place of everything.
func (b *addressBook) restore(places map[string]place) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.known = make(map[string]place, len(places))
	for host, kept := range places {
		b.known[host] = kept.copied()
	}
}

// checkPlaces refuses what this program would not have written.
func checkPlaces(places map[string]place) error {
	if len(places) > hostsKept {
		return fmt.Errorf("addresses of %d hosts, want at most %d", len(places), hostsKept)
	}
	for host, kept := range places {
		if host == "" || len(host) > hostLimit || len(kept.Addrs) == 0 || len(kept.Addrs) > addrsKept {
			return errors.New("addresses of a host are out of bounds")
		}
		for _, addr := range kept.Addrs {
			if !dialable(addr) {
				return errors.New("address of a host is none that can be dialled")
			}
		}
	}
	return nil
}

func isAddress(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

// dialable leaves out what some resolvers answer for hosts that they block:
// 0.0.0.0 and :: would be this host itself.
func dialable(addr netip.Addr) bool {
	return addr.IsValid() && !addr.IsUnspecified() && !addr.IsMulticast()
}

// fitting are the addresses that a network like tcp4 can use.
func fitting(network string, addrs []netip.Addr) []netip.Addr {
	var list []netip.Addr
	for _, addr := range addrs {
		addr = addr.Unmap()
		if !dialable(addr) || addr.Is4() && network == "tcp6" || addr.Is6() && network == "tcp4" {
			continue
		}
		list = append(list, addr)
	}
	return list
}

// merge appends what is not there yet.
func merge(first, second []netip.Addr) []netip.Addr {
	var list []netip.Addr
	for _, addr := range slices.Concat(first, second) {
		if !slices.Contains(list, addr) {
			list = append(list, addr)
		}
	}
	return list
}

type answer struct {
	addrs []netip.Addr
	err   error
}

type outcome struct {
	conn net.Conn
	addr netip.Addr
	err  error
}

// race is one dial: the resolver, the addresses that it gives, and those from
// before. The first connection counts.
type race struct {
	book          *addressBook
	network, port string
	then          secure
	before, fresh []netip.Addr
	answers       chan answer
	results       chan outcome

	waiting []netip.Addr // to be tried, in order
	tried   []netip.Addr
	running int
	asked   bool  // the resolver has said what it has to say
	lookup  error // what it failed with
	failure error // of the first address that failed
}

func (r *race) run(ctx context.Context, host string) (net.Conn, netip.Addr, error) {
	wait := headStart
	if r.then == nil {
		wait = plainStart
	}
	resolver := time.NewTimer(wait)
	defer resolver.Stop()
	next := time.NewTicker(stagger)
	defer next.Stop()
	for {
		select {
		case got := <-r.answers:
			resolver.Stop()
			r.answered(got)
			r.start(ctx)
			next.Reset(stagger)
		case <-resolver.C:
			r.waiting = merge(r.waiting, r.before)
			r.start(ctx)
			next.Reset(stagger)
		case <-next.C:
			r.start(ctx)
		case got := <-r.results:
			if got.err == nil {
				return got.conn, got.addr, nil
			}
			r.running--
			r.failure = cmp.Or(r.failure, got.err)
			r.start(ctx)
		case <-ctx.Done():
			return nil, netip.Addr{}, r.failed(host, ctx.Err())
		}
		if r.asked && r.running == 0 && len(r.waiting) == 0 {
			return nil, netip.Addr{}, r.failed(host, nil)
		}
	}
}

// answered takes what the resolver says.
func (r *race) answered(got answer) {
	r.asked, r.lookup, r.fresh = true, got.err, got.addrs
	switch {
	case len(got.addrs) == 0:
		r.waiting = merge(r.waiting, r.before)
	case r.then == nil:
		r.waiting = got.addrs
	default:
		r.waiting = merge(got.addrs, r.before)
	}
}

// start tries the next address, if there is one.
func (r *race) start(ctx context.Context) {
	for len(r.waiting) > 0 && len(r.tried) < attempts {
		addr := r.waiting[0]
		r.waiting = r.waiting[1:]
		if slices.Contains(r.tried, addr) {
			continue
		}
		r.tried = append(r.tried, addr)
		r.running++
		go func() {
			conn, err := r.book.attempt(ctx, r.network, net.JoinHostPort(addr.String(), r.port), r.then)
			select {
			case r.results <- outcome{conn, addr, err}:
			case <-ctx.Done(): // the race is over
				if err == nil {
					conn.Close()
				}
			}
		}()
		return
	}
	r.waiting = nil
}

// failed puts the most telling reason first: what the resolver's own addresses
// failed with, else the resolver's failure.
func (r *race) failed(host string, ended error) error {
	err := cmp.Or(r.failure, ended)
	switch {
	case r.asked && r.lookup == nil && len(r.fresh) > 0:
		return err
	case r.asked && r.lookup == nil:
		return &net.DNSError{Err: "no address", Name: host, IsNotFound: true}
	case r.asked && len(r.tried) == 0:
		return r.lookup
	case r.asked:
		return fmt.Errorf("%w; at the addresses known from before: %w", r.lookup, err)
	}
	return fmt.Errorf("look up %s: no answer: %w", host, err)
}
