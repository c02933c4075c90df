package tailnet

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"tailscale.com/ipn/ipnstate"
	"tailscale.com/tailcfg"
)

const (
	dataSize = 200
	ackSize  = 112
)

var (
	directPath = netip.MustParseAddrPort("192.0.2.1:41641")
	relayPath  = netip.AddrPortFrom(tailcfg.DerpMagicIPAddr, 7)
)

// line is a simulated pair of paths to one peer, watched by a real failover.
type line struct {
	peer *member
	rtt  time.Duration
	// loss is the share of packets lost each way.
	loss float64
	// cut and relayDown take the paths away; held delays what the relay carries.
	cut, relayDown atomic.Bool
	// small says that the direct path carries no full packet any more, foreign
	// that the peer is not ours.
	small, foreign atomic.Bool
	held           time.Duration
	// moved says that upstream has left the direct path.
	moved    atomic.Bool
	failover *failover

	mu          sync.Mutex
	dice        *rand.Rand
	pings, asks int
	resets      int
	askedAt     time.Time
}

// newLine starts a failover that ends with the test.
func newLine(t *testing.T) *line {
	l := &line{
		peer: &member{id: uuid.New(), session: &session{}}, rtt: 20 * time.Millisecond,
		dice: rand.New(rand.NewPCG(1, 2)),
	}
	l.failover = newFailover(slog.New(slog.DiscardHandler), l.do)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { l.failover.run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return l
}

// roundTrip says whether a packet and its answer come through.
func (l *line) roundTrip() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	there, back := l.dice.Float64() >= l.loss, l.dice.Float64() >= l.loss
	return there && back && !l.cut.Load()
}

// do plays upstream and the peer.
func (l *line) do(w watch, next verdict) {
	contact := &w.session.contact
	l.mu.Lock()
	if next.probe {
		l.pings++
	}
	if next.withdraw {
		l.asks++
		if l.asks == 1 {
			l.askedAt = time.Now()
		}
		contact.asked.Store(time.Now().UnixNano())
	}
	l.mu.Unlock()
	if next.reset {
		l.mu.Lock()
		l.resets++
		l.mu.Unlock()
		l.moved.Store(true)
	}
	if next.probe && l.roundTrip() && !l.small.Load() {
		time.AfterFunc(l.rtt, func() {
			contact.pinged(&ipnstate.PingResult{Endpoint: directPath.String(), LatencySeconds: l.rtt.Seconds()})
		})
	}
	if l.relayDown.Load() || l.foreign.Load() {
		return
	}
	if next.echo {
		sent := time.Now().UnixNano()
		time.AfterFunc(30*time.Millisecond+l.held, func() { contact.echoed.Store(sent) })
	}
	if next.withdraw {
		time.AfterFunc(80*time.Millisecond, func() { l.moved.Store(true) })
		if !l.cut.Load() && !l.small.Load() { // a ping gets through
			time.AfterFunc(time.Second, func() { l.moved.Store(false) })
		}
	}
}

// send is one packet of ours.
func (l *line) send(path netip.AddrPort, bytes int) {
	l.peer.session.notePacket(time.Now().UnixNano(), path, bytes, false)
	if path != relayPath {
		l.failover.sent(l.peer)
	}
}

// hear is one packet of the peer.
func (l *line) hear(path netip.AddrPort, bytes int) {
	l.peer.session.notePacket(time.Now().UnixNano(), path, bytes, true)
}

// talk sends data and gets an answer for it, as TCP does: it repeats after
// 0.2 s, then twice as late each time.
func (l *line) talk(length time.Duration) {
	for began := time.Now(); time.Since(began) < length; time.Sleep(100 * time.Millisecond) {
		for wait := 200 * time.Millisecond; time.Since(began) < length; wait = min(2*wait, 10*time.Second) {
			path := l.path()
			l.send(path, dataSize)
			if path == relayPath || l.roundTrip() {
				time.Sleep(l.rtt)
				l.hear(path, dataSize)
				break
			}
			time.Sleep(wait)
		}
	}
}

func (l *line) counts() (pings, asks int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pings, l.asks
}

func TestDeadPathIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine(t)
		l.talk(10 * time.Second)
		if pings, asks := l.counts(); pings != 4 || asks != 0 {
			t.Fatalf("%d pings and %d requests in 10 s in which all was well, want one ping at once and then each 3 s", pings, asks)
		}
		l.cut.Store(true)
		began := time.Now()
		l.talk(3 * time.Second)
		_, asks := l.counts()
		if took := l.askedAt.Sub(began); asks != 1 || took > 1350*time.Millisecond {
			t.Errorf("given up after %v with %d requests, want one before TCP repeats at 1.4 s", took, asks)
		}
		time.Sleep(lookEvery)
		if l.peer.session.contact.condemned.Load() == 0 || l.peer.session.contact.watched.Load() {
			t.Error("the path is not condemned, or still watched")
		}
	})
}

func TestPathThatCameBackNeedsMoreProof(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine(t)
		l.peer.session.contact.condemned.Store(time.Now().UnixNano())
		l.talk(time.Second)
		l.cut.Store(true)
		l.talk(3 * time.Second)
		if pings, asks := l.counts(); pings < 2*probesNeeded || asks == 0 {
			t.Errorf("%d requests after %d pings, want one after %d", asks, pings, 2*probesNeeded)
		}
	})
}

func TestOneWayStreamKeepsItsPath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine(t)
		for range 600 {
			l.send(directPath, dataSize)
			time.Sleep(100 * time.Millisecond)
		}
		if pings, asks := l.counts(); asks != 0 || pings < 15 || pings > 30 {
			t.Errorf("%d requests and %d pings in a minute, want none and about one each 3 s", asks, pings)
		}
	})
}

func TestIdleTunnelIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine(t)
		l.talk(time.Second)
		before, _ := l.counts()
		for range 4 { // keepalives, which nobody answers
			time.Sleep(25 * time.Second)
			l.send(directPath, ackSize)
		}
		time.Sleep(2 * forgetAfter)
		if pings, asks := l.counts(); pings != before || asks != 0 {
			t.Errorf("%d pings and %d requests on an idle tunnel", pings-before, asks)
		}
		if l.peer.session.contact.watched.Load() {
			t.Error("an idle peer is still watched")
		}
	})
}

func TestLossyPathIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine(t)
		l.loss = 0.3
		l.talk(20 * time.Minute)
		pings, asks := l.counts()
		t.Logf("%d pings, %d requests in 20 minutes of 30 %% loss each way", pings, asks)
		if pings < 100 || asks > 3 {
			t.Errorf("%d requests after %d pings, want at most three", asks, pings)
		}
	})
}

func TestSlowPathIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine(t)
		l.rtt = 800 * time.Millisecond
		l.talk(2 * time.Minute)
		if pings, asks := l.counts(); asks != 0 || pings > 2*probesNeeded+40 {
			t.Errorf("%d requests and %d pings on a path of 800 ms, want the pings that show how slow it is, and one each 3 s", asks, pings)
		}
	})
}

func TestWithoutRelayTheDirectPathIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine(t)
		l.relayDown.Store(true)
		l.talk(time.Second)
		l.cut.Store(true)
		done := make(chan struct{})
		go func() { defer close(done); l.stream(8 * time.Second) }()
		time.Sleep(5 * time.Second)
		if pings, asks := l.counts(); asks != 0 || pings > 40 {
			t.Errorf("%d requests and %d pings while the relay was down too", asks, pings)
		}
		l.relayDown.Store(false)
		time.Sleep(time.Second)
		if _, asks := l.counts(); asks == 0 {
			t.Error("the direct path is kept although the relay is back")
		}
		<-done
	})
}

func (l *line) path() netip.AddrPort {
	if l.moved.Load() {
		return relayPath
	}
	return directPath
}

// stream sends data that nobody answers.
func (l *line) stream(length time.Duration) {
	for began := time.Now(); time.Since(began) < length; time.Sleep(100 * time.Millisecond) {
		l.send(directPath, dataSize)
	}
}

func TestEchoThatWasHeldUpProvesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine(t)
		l.held = 1500 * time.Millisecond
		l.talk(time.Second)
		l.cut.Store(true)
		l.stream(5 * time.Second)
		if _, asks := l.counts(); asks != 0 {
			t.Errorf("%d requests on the word of echoes 1.5 s old", asks)
		}
	})
}

// A side that only acknowledges learns from what comes through the relay.
func TestPacketsThroughTheRelayRaiseADoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine(t)
		receive := func(path netip.AddrPort, length time.Duration) {
			for began := time.Now(); time.Since(began) < length; time.Sleep(100 * time.Millisecond) {
				l.hear(path, dataSize)
				l.send(directPath, ackSize)
			}
		}
		receive(directPath, 3*time.Second)
		receive(relayPath, 10*time.Second)
		if pings, asks := l.counts(); asks != 0 || pings == 0 || pings > 10 {
			t.Fatalf("%d requests and %d pings while ours were answered, want a few pings", asks, pings)
		}
		l.cut.Store(true)
		receive(relayPath, 3*time.Second)
		if _, asks := l.counts(); asks == 0 {
			t.Error("the dead path is kept")
		}
	})
}
