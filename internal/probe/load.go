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
	At   int64  `json:"at"`
	Kind string `json:"kind"` // tick, slow, failed, wrong, stall, broken, open, control, address, frozen, trouble
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
	known   map[string]string // address of the names that may change
}

// load runs until its input ends.
func load(ctx context.Context, in io.Reader, out io.Writer) error {
	reader := bufio.NewReader(in)
	line, err := reader.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("read order: %w", err)
	}
	l := &loading{stop: make(chan struct{}), out: json.NewEncoder(out), known: map[string]string{}}
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
	if l.order.Rate > 0 {
		l.tasks.Go(l.lookups)
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
func (l *loading) lookups() {
	names := make([]string, 0, len(l.order.Names))
	for name := range l.order.Names {
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
		l.tasks.Go(func() { l.lookup(name, nss) })
	}
}

func (l *loading) lookup(name string, nss bool) {
	began := l.clock.now()
	var addrs []netip.Addr
	var refused int
	var err error
	if nss {
		addrs, err = askSystem(name)
	} else {
		addrs, refused, err = ask(l.clock, stub, name)
	}
	took := l.clock.now() - began
	if l.ended() {
		return
	}
	if err == nil {
		err = l.right(name, addrs)
	}
	if err == nil && took > lookupLimit {
		err = fmt.Errorf("no answer within %v", lookupLimit)
	}
	event := Event{Of: name, Seconds: took.Seconds()}
	switch {
	case errors.Is(err, errWrong):
		event.Kind, event.Detail = "wrong", err.Error()
	case err != nil:
		event.Kind, event.Detail = "failed", err.Error()
	case took > slowLimit:
		event.Kind = "slow"
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused += refused
	if err == nil {
		l.micros = append(l.micros, took.Microseconds())
	}
	if event.Kind != "" {
		l.tellLocked(event)
	}
}

// right checks an answer.
func (l *loading) right(name string, addrs []netip.Addr) error {
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
	if got := addrs[0].String(); l.known[name] != got {
		l.known[name] = got
		l.tellLocked(Event{Kind: "address", Of: name, Detail: got})
	}
	return nil
}
