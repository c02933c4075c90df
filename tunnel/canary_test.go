package tunnel

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causewayhq/causeway/netcfg"
)

func (h *host) set(change func(*host)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change(h)
}

func (h *host) applies() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.applied)
}

func newWell(t *testing.T) *rig {
	p := barePlane()
	r := newBubbleRig(t, p, servePipes(t, p), t.TempDir()).start()
	r.waitState(Connected)
	time.Sleep(canaryEvery / 2) // all signals of the start are over
	synctest.Wait()
	return r
}

// Names that no longer resolve, without any event: shown within one round of
// the canary, naming the way that fails, and the host is configured again at
// once. With an event it takes the two look-ups only.
func TestCanaryShowsAndMends(t *testing.T) {
	for name, test := range map[string]struct {
		event  bool
		slow   time.Duration
		within time.Duration
	}{
		"no event":                         {false, 0, canaryEvery + canaryAgain},
		"no event, the resolver is silent": {false, time.Minute, canaryEvery + canaryAgain + 2*canaryTimeout},
		"event":                            {true, 0, canaryAgain},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newWell(t)
				before := r.host.applies()
				r.host.set(func(h *host) { h.deaf, h.slow = true, test.slow })
				began := time.Now()
				if test.event {
					r.host.changed(netcfg.NetworkChanged)
				}
				status := r.waitState(Degraded)
				if took := time.Since(began); took > test.within {
					t.Errorf("shown after %v", took)
				}
				if first := status.Problems[0]; first.Code != CodeNames || test.slow == 0 && !strings.Contains(first.Cause, "resolved: no such host") || first.Remedy == "" {
					t.Errorf("problems %+v", status.Problems)
				}
				r.host.set(func(h *host) { h.mends = true })
				synctest.Wait()
				if r.host.applies() == before {
					t.Error("the host is not configured again")
				}
				// Whatever broke it a moment later is mended by a later try.
				r.waitState(Connected)
				if took := time.Since(began); took > test.within+2*mendFloor {
					t.Errorf("mended after %v", took)
				}
			})
		})
	}
}

// A host that cannot be mended is tried again for ever, at a limited rate.
func TestCanaryDoesNotGiveUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newWell(t)
		r.host.set(func(h *host) { h.deaf = true })
		r.waitState(Degraded)
		before := r.host.applies()
		time.Sleep(10 * time.Minute)
		if tries := r.host.applies() - before; tries < 9 || tries > 15 {
			t.Errorf("configured %d times in 10 minutes", tries)
		}
		r.host.set(func(h *host) { h.deaf = false })
		began := time.Now()
		r.waitState(Connected)
		if took := time.Since(began); took > canaryFailing {
			t.Errorf("well again after %v", took)
		}
		r.host.set(func(h *host) { h.deaf = true })
		before = r.host.applies()
		time.Sleep(canaryEvery)
		r.waitState(Degraded)
		synctest.Wait()
		if r.host.applies() == before {
			t.Error("the next failure waits for the pause of the last")
		}
	})
}

// An agent in use that does not answer is a problem, and if none answers the
// tunnel does not work.
func TestSilentAgentShows(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := used(t)
		r.engine().do(func() { r.engine().silent = true })
		began := time.Now()
		time.Sleep(pingEvery - probeEvery)
		status := r.waitState(Degraded)
		if took := time.Since(began); took > pingEvery+2*pingTimeout+pingAgain+probeEvery {
			t.Errorf("shown after %v", took)
		}
		if problem := problemOf(status, CodeSilent); problem == nil || !strings.Contains(problem.Cause, "main.myws") {
			t.Errorf("problems %+v", status.Problems)
		}
		r.engine().do(func() { r.engine().silent = false })
		time.Sleep(pingEvery)
		r.waitState(Connected)
	})
}

// A path that is too small shows with the agent's name, and only while the
// relay stands in for it.
func TestSmallPathShows(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := used(t)
		set := func(mtu int, direct bool) {
			r.engine().do(func() {
				peer := r.engine().peers[idOf("main")]
				peer.PathMTU, peer.Direct, peer.LastHandshake = mtu, direct, time.Now()
				r.engine().peers[idOf("main")] = peer
			})
		}
		set(1300, false)
		status := r.wait("the problem", func(s Status) bool { return problemOf(s, CodePathMTU) != nil })
		if cause := problemOf(status, CodePathMTU).Cause; !strings.Contains(cause, "main.myws") || !strings.Contains(cause, "1300") || !strings.Contains(cause, "1360") {
			t.Error(cause)
		}
		if status.State != Connected {
			t.Errorf("state %s", status.State)
		}
		set(0, true)
		r.wait("no problem", func(s Status) bool { return len(s.Problems) == 0 })
	})
}
