package continuity

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/causewayhq/causeway/internal/rig"
)

// What the bounds are made of.
const (
	// detect: a silent control connection is noticed: ping every 5 s, 5 s for
	// the answer (control/dial.go).
	detect = 10 * time.Second
	// pause is the longest between two dials (control/backoff.go).
	pause = 10 * time.Second
	// dial is allowed for one: TCP, the upgrade, the first answer.
	dial = time.Second
	// eventPing: changes of the host are collected for a second, and a ping then
	// has 2 s (control/conn.go).
	eventPing = 3 * time.Second
	// trust: upstream trusts a path for 6.5 s after it last answered, and goes
	// over the relay then.
	trust = 6500 * time.Millisecond
	// relayPause is upstream's longest between two dials of a relay.
	relayPause = 5 * time.Second
	// reach is how exactly the rig sees: status and flows tell four times a second.
	reach = 500 * time.Millisecond
	// steady is the longest silence of a flow whose path nobody touched: this
	// machine itself stalls for some 0.4 s.
	steady = 2 * time.Second
)

// bound is computed before anything is measured.
type bound struct {
	limit   time.Duration
	formula string
}

func (b bound) String() string { return fmt.Sprintf("%.1f s = %s", b.limit.Seconds(), b.formula) }

// kept: nobody may notice anything.
func kept(time.Duration) bound { return bound{0, "nothing is lost"} }

// redial: what was away is back; at the latest the longest pause later it is
// dialled. A dial that is under way repeats its first packet sooner.
func redial(time.Duration) bound {
	return bound{pause + dial, "longest pause 10 + dial 1"}
}

// unnoticed: the far side has forgotten us and does not say so.
func unnoticed(time.Duration) bound {
	return bound{max(detect+dial, 2*(trust+dial)), "the later of: detect 10 + dial 1; path lost 6.5 + 1, and TCP repeats after as long again"}
}

// thawed: the path is back at once, but TCP, at the far side and in a kernel
// that was not frozen, has been repeating at growing intervals.
func thawed(outage time.Duration) bound {
	return bound{max(detect+dial, outage+2*dial), fmt.Sprintf("the later of: detect 10 + dial 1; path 1 + dial 1, and TCP repeats after as long again as it was silent, %.1f", outage.Seconds())}
}

// noticed: the host tells of a change.
func noticed(time.Duration) bound {
	return bound{max(eventPing+dial, 2*(trust+dial)), "the later of: event 1 + ping 2 + dial 1; path lost 6.5 + 1, and TCP repeats after as long again"}
}

// relayBack: the outage was the flows' too.
func relayBack(outage time.Duration) bound {
	silent := outage + relayPause + dial
	return bound{relayPause + dial + silent, fmt.Sprintf("pause 5 + dial 1, and TCP repeats after as long as it was silent, %.1f", silent.Seconds())}
}

func bothBack(outage time.Duration) bound {
	relay, control := relayBack(outage), redial(outage)
	return bound{max(relay.limit, control.limit), "the later of control: " + control.formula + "; relay: " + relay.formula}
}

// fault is one thing that is taken away and given back.
type fault struct {
	name    string
	short   bool // in the short form too
	direct  bool // with the direct path
	relayed bool // with the relay alone
	// path says when the flows have none; empty: always. In the direct form a
	// relay that is away leaves them theirs.
	path string
	// moves: the flows' path is another afterwards.
	moves bool
	// run does it all, and returns when everything was given back.
	run func(*testing.T, *house) time.Time
	// bound on the time from then to health, by what the outage lasted.
	bound func(outage time.Duration) bound
	// relayedBound is it for the relayed form; nil: the same.
	relayedBound func(outage time.Duration) bound
	// settle is how long after the end something may still come to light.
	settle time.Duration
	// after checks what is special.
	after func(t *testing.T, h *house, began, healed time.Time)
}

// faults in the order in which they are applied. Each leaves the network as
// good as it was, if not the same.
func faults() []fault {
	return []fault{
		{name: "ControlBlackholed", short: true, direct: true, relayed: true, run: cutControl, bound: redial, settle: 3 * time.Second, after: noticedInTime},
		{name: "APIUnreachable", direct: true, run: cutAPI, bound: redial, settle: 3 * time.Second},
		{name: "ServerRestarted", direct: true, relayed: true, run: restartServer, bound: redial, settle: 3 * time.Second},
		{name: "ServerKilled", short: true, direct: true, run: killServer, bound: redial, settle: 3 * time.Second},
		{name: "RelayRestarted", short: true, direct: true, relayed: true, path: "none over a relay that is away", run: restartRelay, bound: kept, relayedBound: relayBack, settle: 3 * time.Second},
		{name: "BothRestarted", direct: true, relayed: true, path: "none over a relay that is away", run: restartBoth, bound: redial, relayedBound: bothBack, settle: 3 * time.Second},
		{name: "AddressChanged", short: true, direct: true, relayed: true, moves: true, run: roam((*site).changeAddress), bound: noticed, settle: detect + time.Second},
		{name: "NATRebound", direct: true, relayed: true, moves: true, run: roam((*site).rebind), bound: unnoticed, settle: detect + time.Second},
		{name: "RouteMoved", direct: true, relayed: true, moves: true, run: roam((*site).moveRoute), bound: noticed, settle: detect + time.Second},
		{name: "HostFrozen", direct: true, relayed: true, path: "none while the host is frozen", moves: true, run: freeze, bound: thawed, settle: detect + time.Second},
		{name: "AgentReplaced", direct: true, run: replaceAgent, bound: redial, settle: 3 * time.Second, after: replaced},
		{name: "Reconfigured", direct: true, run: reconfigure, bound: kept, settle: 3 * time.Second},
	}
}

// lengths of the faults, in the short form and in the long one.
type lengths struct {
	cut, down, frozen, churn time.Duration
}

var (
	long = lengths{cut: 45 * time.Second, down: 5 * time.Second, frozen: time.Minute, churn: 30 * time.Second}
	// brief is long enough for the loss to be noticed and one dial to time out.
	brief = lengths{cut: 22 * time.Second, down: time.Second}
)

func hold(t *testing.T, duration time.Duration) {
	t.Helper()
	select {
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	case <-time.After(duration):
	}
}

// cutControl swallows every packet between the client's site and the server.
func cutControl(t *testing.T, h *house) time.Time {
	must(t, h.Net.Server.Cut(t.Context(), everywhere...))
	t.Cleanup(func() { h.healed(t) })
	h.isCut = true
	hold(t, h.lengths.cut)
	attempts, err := h.Net.Server.Attempts(t.Context())
	must(t, err)
	h.healed(t)
	figure(t, "%d packets that open a connection were swallowed", attempts)
	return time.Now()
}

// healed ends a cut, if there is one.
func (h *house) healed(t *testing.T) {
	t.Helper()
	if h.isCut {
		h.isCut = false
		must(t, h.Net.Server.Heal(context.WithoutCancel(t.Context())))
	}
}

// noticedInTime holds the control connection to its own liveness.
func noticedInTime(t *testing.T, h *house, began, _ time.Time) {
	lost, found := h.load.First(began, func(e rig.Event) bool { return e.Kind == "control" && !e.Connected })
	if !found {
		t.Error("nobody noticed that the control plane was away")
		return
	}
	after := lost.Time().Sub(began)
	figure(t, "noticed after %.1f s, bound %.0f s", after.Seconds(), detect.Seconds())
	if after > detect+reach {
		t.Errorf("noticed after %v, the bound is %v", after, detect)
	}
}

// holePort is where requests to the REST API go to be swallowed.
const holePort = "7081"

// openHole ends the client's connections to the server; of new ones only the
// Tailnet API is let through.
func (h *house) openHole(t *testing.T) *rig.Program {
	t.Helper()
	hole, err := h.Start("api-hole", h.Net.Server.Command(context.WithoutCancel(t.Context()), h.Path("probe"), "api-hole", ":"+holePort, "127.0.0.1:"+h.Port()))
	must(t, err)
	t.Cleanup(hole.Kill)
	must(t, hole.WaitFor(within(t, 10*time.Second), "ready"))
	must(t, h.Net.Server.ResetAndRedirect(t.Context(), h.Port(), holePort, everywhere...))
	h.holed = true
	t.Cleanup(func() { h.closeHole(t) })
	return hole
}

// closeHole lets new connections through again, if they were not.
func (h *house) closeHole(t *testing.T) {
	t.Helper()
	if h.holed {
		h.holed = false
		must(t, h.Net.Server.Unredirect(context.WithoutCancel(t.Context())))
	}
}

// cutAPI ends the websocket; from then on requests get no answer, only the
// Tailnet API is let through. It must come back under these conditions.
func cutAPI(t *testing.T, h *house) time.Time {
	began := time.Now()
	hole := h.openHole(t)
	var lost rig.Event
	must(t, rig.Eventually(within(t, detect+reach), func() error {
		var found bool
		if lost, found = h.load.First(began, func(e rig.Event) bool { return e.Kind == "control" && !e.Connected }); !found {
			return fmt.Errorf("the control connection is not lost")
		}
		return nil
	}))
	at, err := h.load.Healthy(within(t, pause+dial+10*time.Second), lost.Time(), time.Second)
	must(t, err)
	back := at.Sub(lost.Time())
	figure(t, "connected again without the API %.2f s after the websocket was reset, bound %.0f s", back.Seconds(), dial.Seconds())
	if back > dial+reach {
		t.Errorf("connected again after %v, the bound is %v", back, dial)
	}
	// Somebody asks the API itself meanwhile: it hangs, and harms nobody.
	if _, err := h.Client(within(t, 5*time.Second), h.Path("probe"), "wait-http", h.URL+"/api/v2/buildinfo", "3s"); err == nil {
		t.Error("the API is reachable")
	}
	hold(t, max(0, h.lengths.cut-time.Since(began)))
	h.closeHole(t)
	figure(t, "%d requests to the API were swallowed, %d connections to the Tailnet API let through", strings.Count(hole.Log(), "swallowed"), strings.Count(hole.Log(), "forwarded"))
	healed := time.Now()
	hole.Kill() // with it goes the connection that it carries
	return healed
}

func restartServer(t *testing.T, h *house) time.Time {
	must(t, h.Server.Stop())
	hold(t, h.lengths.down)
	must(t, h.StartServer(within(t, 30*time.Second)))
	return time.Now()
}

func killServer(t *testing.T, h *house) time.Time {
	h.Server.Kill()
	hold(t, h.lengths.down)
	must(t, h.StartServer(within(t, 30*time.Second)))
	return time.Now()
}

func restartRelay(t *testing.T, h *house) time.Time {
	must(t, h.Relay.Stop())
	hold(t, h.lengths.down)
	must(t, h.StartRelay(within(t, 30*time.Second), h.relay))
	return time.Now()
}

func restartBoth(t *testing.T, h *house) time.Time {
	must(t, h.Server.Stop())
	must(t, h.Relay.Stop())
	hold(t, h.lengths.down)
	must(t, h.StartRelay(within(t, 30*time.Second), h.relay))
	must(t, h.StartServer(within(t, 30*time.Second)))
	return time.Now()
}

// roam is a change that is done at once.
func roam(change func(*site, context.Context) error) func(*testing.T, *house) time.Time {
	return func(t *testing.T, h *house) time.Time {
		must(t, change(h.away, t.Context()))
		return time.Now()
	}
}

// freeze stops every process of the client, the resolver and the load too.
func freeze(t *testing.T, h *house) time.Time {
	must(t, h.system.Freeze(t.Context()))
	hold(t, h.lengths.frozen)
	healed := time.Now()
	must(t, h.system.Thaw(t.Context()))
	return healed
}
