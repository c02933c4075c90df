// Package forward asks the host's own name servers what is none of our business,
// on hosts that can only send us every query. It is a pipe with a deadline: it
// keeps nothing, decides nothing, and takes no answer that does not belong to
// its question.
package forward

import (
	"context"
	"encoding/binary"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/causewayhq/causeway/dns"
)

const (
	// deadline bounds one query. The C library asks its next server after 5 s,
	// others after 2.
	deadline = 1800 * time.Millisecond
	// patience is how long one server may take before the next is asked as well.
	// The first one is asked again if it is the only one: packets get lost.
	patience = 600 * time.Millisecond
	// maxServers is how many servers are asked, the C library's own limit.
	maxServers = 3
	// maxQueries at a time; one more is answered SERVFAIL at once.
	maxQueries = 256
	// sulk is how long a server that did not answer is asked after the others.
	sulk = 10 * time.Second
	// port of DNS.
	port = 53
)

// Config says whom to ask.
type Config struct {
	Logger *slog.Logger
	// Upstreams are the servers of the present, in order. It is called for each
	// query and returns at once.
	Upstreams func() []netip.Addr
	// Usable refuses servers, our own address above all.
	Usable func(netip.Addr) bool
	// Port of the servers, 0 for 53.
	Port uint16
}

// Forwarder has all its goroutines end in Close. All methods are safe for
// concurrent use.
type Forwarder struct {
	config  Config
	slots   chan struct{}
	ctx     context.Context
	stop    context.CancelFunc
	running sync.WaitGroup

	mu     sync.Mutex
	closed bool
	// sulking are servers that did not answer lately, and until when they are
	// asked last.
	sulking map[netip.Addr]time.Time
}

// New makes a forwarder; Close ends it.
func New(config Config) *Forwarder {
	if config.Port == 0 {
		config.Port = port
	}
	f := &Forwarder{config: config, slots: make(chan struct{}, maxQueries), sulking: map[netip.Addr]time.Time{}}
	f.ctx, f.stop = context.WithCancel(context.Background())
	return f
}

// Ready says whether there is anybody to ask.
func (f *Forwarder) Ready() bool { return len(f.servers(time.Now())) > 0 }

// Go asks in the background and hands over the answer, which fits the limit (as
// for dns.Resolver.Answer) and is SERVFAIL if there is none. It never blocks,
// and keeps a copy of the query only. Done is called once, with nil if Close
// comes first, and must not block.
func (f *Forwarder) Go(query []byte, limit int, done func(answer []byte)) {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		done(nil)
		return
	}
	select {
	case f.slots <- struct{}{}:
	default:
		f.mu.Unlock()
		done(dns.Failure(query))
		return
	}
	f.running.Add(1)
	f.mu.Unlock()
	message := append([]byte(nil), query...)
	go func() {
		defer func() { <-f.slots; f.running.Done() }()
		ctx, cancel := context.WithTimeout(f.ctx, deadline)
		defer cancel()
		answer := f.ask(ctx, message, limit <= 0)
		if f.ctx.Err() != nil {
			done(nil)
			return
		}
		done(dns.Fit(answer, message, limit))
	}()
}

// Close ends what is under way and waits for it. Nil is closed.
func (f *Forwarder) Close() {
	if f == nil {
		return
	}
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.stop()
	f.running.Wait()
}

// servers are those to ask now, best first.
func (f *Forwarder) servers(now time.Time) []netip.AddrPort {
	f.mu.Lock()
	defer f.mu.Unlock()
	var first, last []netip.AddrPort
	for _, addr := range f.config.Upstreams() {
		addr = addr.Unmap()
		if !addr.IsValid() || addr.IsUnspecified() || addr.IsMulticast() || !f.config.Usable(addr) {
			continue
		}
		if server := netip.AddrPortFrom(addr, f.config.Port); f.sulking[addr].After(now) {
			last = append(last, server)
		} else {
			first = append(first, server)
		}
	}
	servers := append(first, last...)
	return servers[:min(len(servers), maxServers)]
}

// note takes down whether a server answers.
func (f *Forwarder) note(server netip.AddrPort, answered bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if answered {
		delete(f.sulking, server.Addr())
		return
	}
	if len(f.sulking) > 4*maxServers { // of networks that the host has left
		clear(f.sulking)
	}
	f.sulking[server.Addr()] = time.Now().Add(sulk)
}

// reply is what one server said.
type reply struct {
	server  netip.AddrPort
	message []byte
	err     error
}

// ask asks one server after the other, the next as soon as one fails or takes
// too long, and takes the first good answer; then the best of the bad ones.
func (f *Forwarder) ask(ctx context.Context, query []byte, stream bool) []byte {
	ctx, cancel := context.WithCancel(ctx)
	servers := f.servers(time.Now())
	if len(servers) == 1 {
		servers = append(servers, servers[0])
	}
	replies := make(chan reply, len(servers))
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel() // before the wait
	next, open := 0, 0
	more := func() {
		if next == len(servers) {
			return
		}
		server := servers[next]
		next, open = next+1, open+1
		asking.Go(func() {
			message, err := exchange(ctx, server, query, stream)
			replies <- reply{server, message, err}
		})
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	best := dns.Failure(query)
	for more(); open > 0; {
		select {
		case <-timer.C:
			f.note(servers[next-1], false)
			more()
			timer.Reset(patience)
		case got := <-replies:
			open--
			f.judge(got)
			if got.err != nil {
				more()
				continue
			}
			if best = got.message; useful(best) {
				return best
			}
			more()
		case <-ctx.Done():
			return best
		}
	}
	return best
}

// judge notes what a server's reply says of the server.
func (f *Forwarder) judge(got reply) {
	f.note(got.server, got.err == nil)
	if got.err != nil {
		f.config.Logger.LogAttrs(f.ctx, slog.LevelDebug, "name server did not answer",
			slog.String("server", got.server.String()), slog.String("error", got.err.Error()))
	}
}

// useful says that there is no point in asking anybody else.
func useful(message []byte) bool {
	const servFail, refused, notImplemented = 2, 5, 4
	switch binary.BigEndian.Uint16(message[2:]) & 15 {
	case servFail, refused, notImplemented:
		return false
	}
	return true
}
