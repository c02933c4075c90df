package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// stub is where systemd-resolved listens.
const stub = "127.0.0.53:53"

// Order is what a load consists of, one line of JSON.
type Order struct {
	// Names are asked for in turn, Rate times a second. A name with an empty
	// address may have any of ours; each change of it is told.
	Names map[string]string `json:"names"`
	Rate  int               `json:"rate"`
	// Every so-many-th lookup goes through nsswitch.conf; 0: none.
	NSSEvery int `json:"nss_every"`
	// Resolver is asked otherwise; empty: that of systemd-resolved.
	Resolver string `json:"resolver"`
	// Public are names of the internet with their IPv4 addresses: looked up as
	// often, to compare with.
	Public map[string]string `json:"public"`
	// Canary are names of ours that no hosts file has, and their addresses:
	// looked up as often, for only they show how names are split.
	Canary map[string]string `json:"canary"`
	// Flows TCP connections to Echo give records back.
	Flows int    `json:"flows"`
	Echo  string `json:"echo"`
	// Session is a command that prints 1, 2, 3 and so on; none: empty.
	Session []string `json:"session"`
	// Status is the command that prints a JSON status at each change.
	Status []string `json:"status"`
}

// Event is what a load tells, one line of JSON each. At is in nanoseconds of
// the wall clock; what took a while has Seconds, and began that much earlier.
type Event struct {
	At int64 `json:"at"`
	// Kind is tick, slow, failed, wrong, stall, broken, open, control, address,
	// frozen or trouble; of a public name public-slow and so on, of a canary
	// canary-slow.
	Kind string `json:"kind"`
	// Of is the name, the flow or the state.
	Of      string  `json:"of,omitempty"`
	Seconds float64 `json:"seconds,omitempty"`
	Detail  string  `json:"detail,omitempty"`
	// Connected is for control.
	Connected bool `json:"connected,omitempty"`

	// For tick, four a second: the lookups that were right, in microseconds,
	// answers that were SERVFAIL and the like, how many flows (and the session)
	// are open, and the longest silence among them in milliseconds.
	Micros  []int64 `json:"us,omitempty"`
	Refused int     `json:"refused,omitempty"`
	Open    int     `json:"open,omitempty"`
	Silence int64   `json:"silence,omitempty"`
	// The longest times without a right answer, in milliseconds: of our names,
	// of the public ones, and of the canaries.
	Gap       int64 `json:"gap,omitempty"`
	PublicGap int64 `json:"public_gap,omitempty"`
	CanaryGap int64 `json:"canary_gap,omitempty"`
}

// gap is the longest time without a right answer; under the load's mutex.
type gap struct{ last, longest time.Duration }

func (g *gap) answered(now time.Duration) {
	g.longest, g.last = max(g.longest, now-g.last), now
}

// take gives the longest so far, with the one that lasts.
func (g *gap) take(now time.Duration) int64 {
	longest := max(g.longest, now-g.last)
	g.longest = 0
	return longest.Milliseconds()
}

const (
	tickEvery = 250 * time.Millisecond
	// slowLimit is when a lookup is slow; stallLimit is the silence of a flow
	// that is told of.
	slowLimit  = time.Second
	stallLimit = 500 * time.Millisecond
)

// loading is a load under way.
type loading struct {
	order Order
	clock *clock
	stop  chan struct{}
	tasks sync.WaitGroup

	mu      sync.Mutex
	out     *json.Encoder
	micros  []int64
	refused int
	streams []*stream
	known   map[way]string // address of the names that may change
	ours    gap
	public  gap
	canary  gap
}

// load runs until its input ends.
func load(ctx context.Context, in io.Reader, out io.Writer) error {
	reader := bufio.NewReader(in)
	line, err := reader.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("read order: %w", err)
	}
	l := &loading{stop: make(chan struct{}), out: json.NewEncoder(out), known: map[way]string{}}
	if err := json.Unmarshal(line, &l.order); err != nil {
		return fmt.Errorf("read order: %w", err)
	}
	l.clock = newClock(func(gap time.Duration) { l.tell(Event{Kind: "frozen", Seconds: gap.Seconds()}) })
	l.start(ctx)
	_, _ = io.Copy(io.Discard, reader) // any end is the end
	close(l.stop)
	l.tasks.Wait()
	return nil
}

func (l *loading) start(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	l.tasks.Go(func() { <-l.stop; cancel() })
	l.tasks.Go(func() { l.clock.run(l.stop) })
	l.tasks.Go(l.tick)
	for number := range l.order.Flows {
		l.stream(fmt.Sprintf("tcp%d", number+1), func(s *stream) error { return l.flow(ctx, s, uint64(number)) })
	}
	if len(l.order.Session) > 0 {
		l.stream("ssh", func(s *stream) error { return l.session(ctx, s) })
	}
	if len(l.order.Status) > 0 {
		l.tasks.Go(func() { l.watch(ctx) })
	}
	if l.order.Resolver == "" {
		l.order.Resolver = stub
	}
	now := l.clock.now()
	l.ours.last, l.public.last, l.canary.last = now, now, now
	if l.order.Rate > 0 {
		l.tasks.Go(func() { l.lookups(l.order.Names, l.lookup) })
	}
	if l.order.Rate > 0 && len(l.order.Public) > 0 {
		l.tasks.Go(func() {
			l.lookups(l.order.Public, func(name string, nss bool) {
				l.control(name, nss, control{"public-", dnsmessage.TypeA, l.order.Public, &l.public})
			})
		})
	}
	if l.order.Rate > 0 && len(l.order.Canary) > 0 {
		l.tasks.Go(func() {
			l.lookups(l.order.Canary, func(name string, nss bool) {
				l.control(name, nss, control{"canary-", dnsmessage.TypeAAAA, l.order.Canary, &l.canary})
			})
		})
	}
}

func (l *loading) ended() bool {
	select {
	case <-l.stop:
		return true
	default:
		return false
	}
}

// tell prints an event.
func (l *loading) tell(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tellLocked(e)
}

func (l *loading) tellLocked(e Event) {
	e.At = time.Now().UnixNano()
	_ = l.out.Encode(e) // nobody reads any more: the end comes with the input's
}

// tick tells how things are, and keeps telling when all is well: silence is
// not a sign of health.
func (l *loading) tick() {
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-ticker.C:
		}
		now := l.clock.now()
		l.mu.Lock()
		e := Event{Kind: "tick", Micros: l.micros, Refused: l.refused}
		l.micros, l.refused = nil, 0
		e.Gap = l.ours.take(now)
		if len(l.order.Public) > 0 {
			e.PublicGap = l.public.take(now)
		}
		if len(l.order.Canary) > 0 {
			e.CanaryGap = l.canary.take(now)
		}
		for _, s := range l.streams {
			if s.open {
				e.Open++
				e.Silence = max(e.Silence, (now - s.last).Milliseconds())
			}
		}
		l.tellLocked(e)
		l.mu.Unlock()
	}
}

// lookups begins one at each beat, whether the earlier ones have ended or not.
func (l *loading) lookups(of map[string]string, lookup func(name string, nss bool)) {
	names := make([]string, 0, len(of))
	for name := range of {
		names = append(names, name)
	}
	slices.Sort(names)
	ticker := time.NewTicker(time.Second / time.Duration(l.order.Rate))
	defer ticker.Stop()
	for number := 1; ; number++ {
		select {
		case <-l.stop:
			return
		case <-ticker.C:
		}
		name := names[number%len(names)]
		nss := l.order.NSSEvery > 0 && number%l.order.NSSEvery == 0
		l.tasks.Go(func() { lookup(name, nss) })
	}
}

func (l *loading) lookup(name string, nss bool) {
	began := l.clock.now()
	addrs, refused, err := l.resolve(name, nss, dnsmessage.TypeAAAA)
	took := l.clock.now() - began
	if l.ended() {
		return
	}
	if err == nil {
		err = l.right(way{name, nss}, addrs)
	}
	kind, err := verdict(took, err)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused += refused
	if err == nil {
		l.micros = append(l.micros, took.Microseconds())
		l.ours.answered(began + took)
	}
	l.judged(kind, name, took, err)
}

// control is a class of names that are looked up beside those of the user: the
// public ones, which need nothing of ours, and the canaries.
type control struct {
	kind string
	of   dnsmessage.Type
	want map[string]string
	gap  *gap // under the load's mutex
}

func (l *loading) control(name string, nss bool, class control) {
	began := l.clock.now()
	addrs, _, err := l.resolve(name, nss, class.of)
	took := l.clock.now() - began
	if l.ended() {
		return
	}
	if want := class.want[name]; err == nil && (len(addrs) != 1 || addrs[0].String() != want) {
		err = fmt.Errorf("%w: %v, want %s", errWrong, addrs, want)
	}
	kind, err := verdict(took, err)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		class.gap.answered(began + took)
	}
	if kind != "" {
		kind = class.kind + kind
	}
	l.judged(kind, name, took, err)
}

func (l *loading) resolve(name string, nss bool, of dnsmessage.Type) (addrs []netip.Addr, refused int, err error) {
	if nss {
		addrs, err = askSystem(name, of)
		return addrs, 0, err
	}
	return ask(l.clock, l.order.Resolver, name, of)
}

// verdict is the kind of event that a lookup is, empty for one as it should
// be. One that took too long has failed, whatever the answer.
func verdict(took time.Duration, err error) (string, error) {
	if err == nil && took > lookupLimit {
		err = fmt.Errorf("no answer within %v", lookupLimit)
	}
	switch {
	case errors.Is(err, errWrong):
		return "wrong", err
	case err != nil:
		return "failed", err
	case took > slowLimit:
		return "slow", nil
	}
	return "", nil
}

// judged tells of a lookup that was not as it should be; l.mu is held.
func (l *loading) judged(kind, name string, took time.Duration, err error) {
	if kind == "" {
		return
	}
	event := Event{Kind: kind, Of: name, Seconds: took.Seconds()}
	if err != nil {
		event.Detail = err.Error()
	}
	l.tellLocked(event)
}

// way is how a name is asked for. The system's way may go by the hosts file, which
// is a moment ahead of the resolver, or behind it: each has its own news.
type way struct {
	name string
	nss  bool
}

// right checks an answer.
func (l *loading) right(by way, addrs []netip.Addr) error {
	name := by.name
	want := l.order.Names[name]
	if want != "" {
		if len(addrs) != 1 || addrs[0].String() != want {
			return fmt.Errorf("%w: %v, want %s", errWrong, addrs, want)
		}
		return nil
	}
	if len(addrs) != 1 || !strings.HasPrefix(addrs[0].String(), "fd60:627a:a42b:") {
		return fmt.Errorf("%w: %v, want one of ours", errWrong, addrs)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if got := addrs[0].String(); l.known[by] != got {
		l.known[by] = got
		l.tellLocked(Event{Kind: "address", Of: name, Detail: got})
	}
	return nil
}
