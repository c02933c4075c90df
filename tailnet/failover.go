package tailnet

import (
	"context"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"tailscale.com/ipn/ipnstate"
	"tailscale.com/tailcfg"
)

// Upstream believes in a direct path for 6.5 s after the last answer to its
// own ping. Failing over sooner takes three things: a doubt, proof, and a lever.
// The doubt is silence after we sent data, or packets that come through the
// relay while ours go directly. The proof is that many disco pings in a row get
// no answer while the peer does answer through the relay; silence alone proves
// nothing, one-way streams are legal. The lever is in withdraw.go.
const (
	// quietAfter is how long data may go unanswered on the direct path before
	// we ask. TCP repeats after 0.2, 0.6 and 1.4 s: what is decided before 1.4 s
	// costs the session 1.4 s, what is decided later costs it 3.
	quietAfter = 350 * time.Millisecond
	// maxQuiet bounds it on paths with long round trips.
	maxQuiet = 2 * time.Second
	// lookEvery and probeEvery are the pauses of the watch: while all is well,
	// and while any path is in doubt.
	lookEvery  = 250 * time.Millisecond
	probeEvery = 40 * time.Millisecond
	// probesNeeded unanswered pings condemn a path. One that loses 30 % of the
	// packets each way loses 51 % of the pings, and ten in a row once in 800
	// doubts. A path that was condemned within condemnedFor and came back has to
	// fail twice as many.
	probesNeeded = 10
	condemnedFor = time.Minute
	// probePatience is how long the last ping may take, at least.
	probePatience = 200 * time.Millisecond
	// slowProbe is the pause between further pings while the relay is silent too.
	slowProbe = 250 * time.Millisecond
	// answerHolds is how long an answered ping settles a doubt. If the same data
	// is still unanswered then, the stream goes one way only, or the path loses
	// much: silenceHolds is above upstream's 6.5 s, so that our pings do not
	// prolong its belief in a path which its own pings may find too bad.
	answerHolds  = 1500 * time.Millisecond
	silenceHolds = 7 * time.Second
	// echoHolds is how old an echo may be, from when it was sent. An older one was
	// held up, perhaps by an outage that took both paths and is over.
	echoHolds = time.Second
	// sentLately is how fresh our last packet has to be for a doubt to matter.
	sentLately = 2 * time.Second
	// forgetAfter ends the watch of a peer to which nothing is sent.
	forgetAfter = 5 * time.Second
	// askAgain is the pause between requests to withdraw one endpoint.
	askAgain = 500 * time.Millisecond
	// maxAsks bounds those requests in one doubt.
	maxAsks = 3
	// checkEvery is how often a path that carries data is pinged without any
	// doubt: a path that has become too small for our packets goes on carrying
	// the small ones, which are most of the packets of a session. After a pause
	// the first data has the path pinged at once.
	checkEvery = 3 * time.Second
	// firstPatience is how long a ping may take while nothing is known of the path.
	firstPatience = time.Second
	// maxWatched bounds the peers that wait to be watched.
	maxWatched = 256
)

// contact is what the data path notes of a direct path. All are times in Unix
// nanoseconds, 0 for none.
type contact struct {
	// unanswered is when we first sent data directly after which nothing came
	// directly.
	unanswered atomic.Int64
	// relayed is when the last packet came through a relay, if none came
	// directly since.
	relayed atomic.Int64
	// ponged is the last answered ping of ours, rtt what it took.
	ponged, rtt atomic.Int64
	// echoed is when we sent the newest message that came back from the peer
	// through the relay.
	echoed atomic.Int64
	// direct is when the last packet came directly.
	direct atomic.Int64
	// asked is when we last asked the peer to withdraw its endpoint; served is
	// when we last did something that the peer asked for.
	asked, served atomic.Int64
	// wanted is when somebody last wanted an answer over the direct path and
	// sent a ping of his own.
	wanted atomic.Int64
	// condemned is when the path was last given up.
	condemned atomic.Int64
	watched   atomic.Bool
}

// heard notes a received packet.
func (c *contact) heard(now int64, path netip.AddrPort) {
	if path.Addr() == tailcfg.DerpMagicIPAddr {
		c.relayed.Store(now)
		return
	}
	c.direct.Store(now)
	c.settle()
}

// settle ends a doubt.
func (c *contact) settle() {
	if c.unanswered.Load() != 0 {
		c.unanswered.Store(0)
	}
	if c.relayed.Load() != 0 {
		c.relayed.Store(0)
	}
}

// said notes a packet sent directly.
func (c *contact) said(now int64, data bool) {
	if data && c.unanswered.Load() == 0 {
		c.unanswered.Store(now)
	}
}

// sight is what is known of a path at one moment.
type sight struct {
	now int64
	// direct says that the last packet went directly.
	direct                           bool
	sent, unanswered, relayed        int64
	ponged, echoed, asked, condemned int64
	// wanted is when somebody last sent a ping of his own.
	wanted int64
	// used is when data last went either way, heard when anything last came directly.
	used, heard int64
	rtt         time.Duration
}

func (s *session) sight(now time.Time) sight {
	path, c := s.path.Load(), &s.contact
	return sight{
		now: now.UnixNano(), direct: path != nil && path.Addr() != tailcfg.DerpMagicIPAddr,
		sent: max(s.sent.Load(), c.wanted.Load()), unanswered: c.unanswered.Load(), relayed: c.relayed.Load(), wanted: c.wanted.Load(),
		ponged: c.ponged.Load(), echoed: c.echoed.Load(), asked: c.asked.Load(), condemned: c.condemned.Load(),
		used: s.used.Load(), heard: c.direct.Load(), rtt: time.Duration(c.rtt.Load()),
	}
}

func (s sight) since(at int64) time.Duration { return time.Duration(s.now - at) }

// doubtful says whether there is a reason to ask if the path still works, other
// than one that was settled lately.
func (s sight) doubtful(settled int64) bool {
	if s.since(s.sent) > sentLately || s.since(settled) < answerHolds {
		return false
	}
	return s.unanswered != 0 && s.since(s.unanswered) >= s.quiet() || s.relayed != 0 && s.since(s.relayed) < sentLately
}

// quiet is how long data may go unanswered on this path.
func (s sight) quiet() time.Duration { return min(max(quietAfter, 3*s.rtt), maxQuiet) }

// needed is how many unanswered pings condemn the path.
func (s sight) needed() int {
	if s.condemned != 0 && s.since(s.condemned) < condemnedFor {
		return 2 * probesNeeded
	}
	return probesNeeded
}

// watch is one watched path. It belongs to the goroutine of the failover.
type watch struct {
	id      uuid.UUID
	session *session
	// doubted is when the doubt began, 0 if there is none.
	doubted int64
	// answered is the unanswered data of the last doubt that a ping settled, and
	// settled when it did.
	answered, settled int64
	probes            int
	// probed is the last ping, exhausted the last of those that are needed.
	probed, exhausted int64
	asks              int
	// checked is the last ping without a doubt.
	checked int64
	// given says that all paths were given up for this one.
	given bool
}

// verdict is what to do about a path.
type verdict struct {
	// probe pings the peer directly, echo asks it through the relay, withdraw
	// asks it to withdraw the endpoint that we send to, reset gives up all direct
	// paths, forget ends the watch.
	probe, echo, withdraw, reset, forget bool
}

// plan decides, given what is seen. It touches nothing but the watch itself.
func (w *watch) plan(seen sight) verdict {
	switch {
	case !seen.direct || seen.since(seen.sent) > forgetAfter:
		return verdict{forget: true}
	case w.doubted != 0 && seen.ponged >= w.doubted:
		w.doubted, w.answered, w.settled = 0, seen.unanswered, seen.ponged
		return verdict{}
	case w.unproven(seen):
	case !seen.doubtful(w.settled) || w.answered != 0 && w.answered == seen.unanswered && seen.since(w.settled) < silenceHolds:
		w.doubted = 0
		return w.check(seen)
	}
	if w.doubted == 0 {
		w.doubted, w.probes, w.asks, w.given = seen.now, 0, 0, false
	}
	if w.probes < seen.needed() {
		return w.probe(seen)
	}
	switch {
	case seen.since(w.exhausted) < max(probePatience, 2*seen.rtt):
		return verdict{}
	case seen.echoed >= w.doubted && seen.since(seen.echoed) < echoHolds:
		if w.asks == maxAsks || seen.since(seen.asked) < askAgain {
			return verdict{}
		}
		w.asks++
		return verdict{withdraw: true}
	case seen.heard >= w.doubted && !w.given:
		// The peer is there, but does not speak our language.
		w.given = true
		return verdict{reset: true}
	case seen.since(w.probed) < slowProbe:
		return verdict{}
	}
	return w.probe(seen)
}

// check pings a path that carries data now and then, and one that somebody
// else's ping got no answer from.
func (w *watch) check(seen sight) verdict {
	last := max(seen.ponged, w.checked)
	due := seen.since(seen.used) <= sentLately && seen.since(last) >= checkEvery
	if !due && seen.wanted <= last {
		return verdict{}
	}
	w.checked = seen.now
	return verdict{probe: true}
}

// unproven says that such a ping got no answer, whatever else comes.
func (w *watch) unproven(seen sight) bool {
	patience := max(probePatience, 2*seen.rtt)
	if seen.rtt == 0 {
		patience = firstPatience
	}
	return w.checked != 0 && seen.ponged < w.checked && seen.since(w.checked) >= patience && seen.since(seen.sent) <= sentLately
}

// probe asks for one more ping, and for an echo with some of them.
func (w *watch) probe(seen sight) verdict {
	w.probes++
	w.probed = seen.now
	if w.probes <= seen.needed() {
		w.exhausted = seen.now
		return verdict{probe: true, echo: w.probes%4 == 1}
	}
	return verdict{probe: true, echo: true}
}

// failover watches the direct paths in use.
type failover struct {
	// wake takes peers to watch.
	wake   chan watch
	logger *slog.Logger
	// do carries out all of a verdict but its forget.
	do func(watch, verdict)
}

func newFailover(logger *slog.Logger, do func(watch, verdict)) *failover {
	return &failover{wake: make(chan watch, maxWatched), logger: logger, do: do}
}

// sent is told of each packet that was sent directly. It never blocks.
func (f *failover) sent(peer *member) {
	c := &peer.session.contact
	if c.watched.Load() || !c.watched.CompareAndSwap(false, true) {
		return
	}
	select {
	case f.wake <- watch{id: peer.id, session: peer.session}:
	default:
		c.watched.Store(false)
	}
}

// run watches until ctx ends. It sleeps while no path is in use.
func (f *failover) run(ctx context.Context) {
	watched := map[*session]*watch{}
	timer := time.NewTimer(lookEvery)
	defer timer.Stop()
	for {
		var tick <-chan time.Time
		if len(watched) > 0 {
			tick = timer.C
		}
		select {
		case <-ctx.Done():
			return
		case added := <-f.wake:
			if len(watched) == 0 {
				timer.Reset(lookEvery)
			}
			watched[added.session] = &added
		case <-tick:
			timer.Reset(f.look(watched))
		}
	}
}

// look goes once through the watched paths and returns the pause until the next time.
func (f *failover) look(watched map[*session]*watch) time.Duration {
	pause := lookEvery
	for session, w := range watched {
		seen := session.sight(time.Now())
		next := w.plan(seen)
		switch {
		case next.forget:
			if (w.asks > 0 || w.given) && !seen.direct {
				session.contact.condemned.Store(seen.now)
				f.logger.LogAttrs(context.Background(), slog.LevelInfo, "direct path is dead, the relay is used",
					slog.String("peer", w.id.String()), slog.Int("pings", w.probes), slog.Duration("after", seen.since(w.doubted)))
			}
			session.contact.settle()
			delete(watched, session)
			session.contact.watched.Store(false)
		case next != verdict{}:
			f.do(*w, next)
		}
		switch {
		case w.doubted != 0:
			pause = probeEvery
		case seen.unanswered != 0 && !next.forget:
			pause = min(pause, max(seen.quiet()-seen.since(seen.unanswered), probeEvery))
		}
	}
	return pause
}

// carryOut does what the watch of a path decided.
func (e *Engine) carryOut(w watch, next verdict) {
	peer, path := e.directory.peer(w.id), w.session.path.Load()
	if peer == nil || peer.session != w.session || path == nil {
		return
	}
	if next.probe {
		e.upstream.Ping(peer.node.Addresses[0].Addr(), tailcfg.PingDisco, e.pingSize(), w.session.contact.pinged)
	}
	if next.echo {
		e.sendEcho(peer)
	}
	if next.withdraw {
		e.askToWithdraw(peer, *path)
	}
	if next.reset {
		e.resetPaths()
	}
}

// pinged takes the answer to one of our pings.
func (c *contact) pinged(answer *ipnstate.PingResult) {
	if answer.Err == "" && answer.Endpoint != "" {
		c.rtt.Store(int64(answer.LatencySeconds * float64(time.Second)))
		c.ponged.Store(time.Now().UnixNano())
	}
}
