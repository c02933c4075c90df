package tunnel

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/tailnet"
)

// problemOf is a status's problem of one code.
func problemOf(status Status, code string) *Problem {
	for _, problem := range status.Problems {
		if problem.Code == code {
			return &problem
		}
	}
	return nil
}

// A control plane that is back within the grace shows nothing; one that is not
// is a problem right after it, with the facts of the outage; and its return is
// said once.
func TestContactLost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var logged bytes.Buffer
		p := barePlane()
		network := servePipes(t, p)
		r := newBubbleRig(t, p, network, t.TempDir())
		r.log = slog.New(slog.NewTextHandler(&logged, nil))
		r.start()
		r.waitState(Connected)
		synctest.Wait()
		network.set(func(n *pipes) { n.black = true })
		p.drop()
		time.Sleep(contactGrace - 100*time.Millisecond)
		synctest.Wait()
		if status := r.Status(); status.State != Connected || status.ControlConnected || len(status.Problems) != 0 {
			t.Errorf("within the grace: %+v", status)
		}
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		status := r.Status()
		problem := problemOf(status, CodeUnreachable)
		if status.State != Degraded || problem == nil || !strings.HasPrefix(problem.Cause, "connection lost 2 s ago, trying") {
			t.Fatalf("after the grace: %+v", status)
		}
		time.Sleep(20 * time.Second)
		synctest.Wait()
		status = r.Status()
		if problem = problemOf(status, CodeUnreachable); !strings.Contains(problem.Cause, "no answer within 10 s") {
			t.Errorf("cause %q", problem.Cause)
		}
		if age := time.Since(status.Outage.Since); age < 22*time.Second || age > 23*time.Second || status.Outage.Attempts < 1 {
			t.Errorf("outage %+v", status.Outage)
		}
		network.set(func(n *pipes) { n.black, n.down = false, true })
		refused := r.wait("the next try is known", func(s Status) bool { return s.Outage != nil && s.Outage.NextRetry.After(time.Now()) })
		if wait := time.Until(refused.Outage.NextRetry); wait > 10*time.Second {
			t.Errorf("next try in %v", wait)
		}
		network.set(func(n *pipes) { n.down = false })
		r.Kick()
		if status := r.waitState(Connected); status.Outage != nil {
			t.Errorf("outage %+v", status.Outage)
		}
		_ = r.stop() // nobody writes any more
		if text := logged.String(); strings.Count(text, "control plane is back") != 1 || !strings.Contains(text, "away=2") && !strings.Contains(text, "away=3") {
			t.Errorf("log: %s", text)
		}
	})
}

// Names from the cache without a control plane that answers: a problem after
// the grace, and not only when the first dial has failed.
func TestNeverReached(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := barePlane()
		network := servePipes(t, p)
		dir := lived(t, p, network)
		network.set(func(n *pipes) { n.black = true })
		r := newBubbleRig(t, p, network, dir).start()
		time.Sleep(contactGrace + 100*time.Millisecond)
		synctest.Wait()
		status := r.Status()
		problem := problemOf(status, CodeUnreachable)
		if status.State != Degraded || problem == nil || !strings.HasPrefix(problem.Cause, "not reached yet, trying for 2 s") {
			t.Errorf("status %+v", status)
		}
	})
}

// used is a rig with one agent in use, which has answered.
func used(t *testing.T) *rig {
	t.Helper()
	p := barePlane()
	network := servePipes(t, p)
	r := newBubbleRig(t, p, network, t.TempDir()).start()
	r.waitState(Connected)
	r.use(time.Now())
	time.Sleep(probeEvery)
	synctest.Wait()
	if agent := r.Status().Agents[0]; !agent.Reachable || agent.Latency == 0 {
		t.Fatalf("agent %+v", agent)
	}
	return r
}

func (r *rig) use(handshake time.Time) {
	r.engine().do(func() {
		r.engine().peers = map[uuid.UUID]tailnet.PeerStatus{idOf("main"): {Active: true, LastHandshake: handshake, RelayRegion: 999}}
	})
}

// Two pings in a row without an answer end what was said of an agent, although
// its handshake is young; the second does not wait for its turn. One that
// answers again is reachable again.
func TestUnansweredPings(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := used(t)
		answered := time.Now()
		r.engine().do(func() { r.engine().silent, r.engine().asked = true, nil })
		time.Sleep(pingEvery - probeEvery)
		status := r.wait("not reachable", func(s Status) bool { return !s.Agents[0].Reachable })
		if took := time.Since(answered); took > pingEvery+2*pingTimeout+pingAgain {
			t.Errorf("took %v", took)
		}
		agent := status.Agents[0]
		if agent.Measured || agent.Relay != nil || agent.LastAnswer.After(answered) || agent.LastAnswer.IsZero() {
			t.Errorf("agent %+v", agent)
		}
		var asked []time.Time
		r.engine().do(func() { asked = r.engine().asked })
		if len(asked) != 2 || asked[1].Sub(asked[0]) != pingTimeout+pingAgain {
			t.Errorf("pings at %v", asked)
		}
		r.engine().do(func() { r.engine().silent = false })
		r.wait("reachable again", func(s Status) bool { return s.Agents[0].Reachable })
	})
}

// A handshake alone is no proof once a first ping got no answer, but a newer
// one is.
func TestHandshakeIsNoAnswer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := barePlane()
		network := servePipes(t, p)
		r := newBubbleRig(t, p, network, t.TempDir()).start()
		r.waitState(Connected)
		r.engine().do(func() { r.engine().silent = true })
		r.use(time.Now())
		time.Sleep(probeEvery)
		synctest.Wait()
		if !r.Status().Agents[0].Reachable {
			t.Error("not reachable before a ping failed")
		}
		time.Sleep(pingTimeout)
		synctest.Wait()
		if r.Status().Agents[0].Reachable {
			t.Error("reachable by an old handshake")
		}
		r.use(time.Now())
		if !r.Status().Agents[0].Reachable {
			t.Error("not reachable after a new handshake")
		}
	})
}

// A peer that does not answer what is sent to it is asked before its time.
func TestUnansweredTraffic(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := used(t)
		began := time.Now()
		r.engine().do(func() {
			peer := r.engine().peers[idOf("main")]
			peer.TxBytes = 1000
			r.engine().peers[idOf("main")], r.engine().silent = peer, true
		})
		r.wait("not reachable", func(s Status) bool { return !s.Agents[0].Reachable })
		if took := time.Since(began); took > probeEvery+2*pingTimeout+pingAgain {
			t.Errorf("took %v", took)
		}
	})
}

// A home relay that is away is a problem after its grace, without a latency,
// and the remedy of a lost control plane promises less then.
func TestHomeRelayAway(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := barePlane()
		network := servePipes(t, p)
		r := newBubbleRig(t, p, network, t.TempDir()).start()
		r.waitState(Connected)
		time.Sleep(relayEvery)
		synctest.Wait()
		if home := r.Status().HomeRelay; home == nil || home.Latency == 0 {
			t.Fatalf("home %+v", home)
		}
		quiet := 0
		r.engine().do(func() { quiet = r.engine().looks })
		time.Sleep(10 * time.Minute)
		r.engine().do(func() { quiet -= r.engine().looks })
		if quiet != 0 {
			t.Errorf("the home relay is looked at %d times while nothing happens", -quiet)
		}
		began := time.Now()
		r.engine().do(func() { r.engine().homeless = errors.New("connection refused") })
		r.engine().homed()
		status := r.waitState(Degraded)
		problem := problemOf(status, CodeRelay)
		if took := time.Since(began); took < relayGrace-relayEvery || took > relayGrace+2*relayEvery {
			t.Errorf("took %v", took)
		}
		if problem == nil || !strings.Contains(problem.Cause, "connection refused") || problem.Remedy == "" || status.HomeRelay.Latency != 0 {
			t.Errorf("status %+v", status)
		}
		network.set(func(n *pipes) { n.down = true })
		p.drop()
		status = r.wait("control plane away too", func(s Status) bool { return problemOf(s, CodeUnreachable) != nil })
		if remedy := problemOf(status, CodeUnreachable).Remedy; !strings.Contains(remedy, "there is a direct path") {
			t.Errorf("remedy %q", remedy)
		}
		r.engine().do(func() { r.engine().homeless = nil })
		status = r.wait("relay back", func(s Status) bool { return problemOf(s, CodeRelay) == nil })
		if remedy := problemOf(status, CodeUnreachable).Remedy; strings.Contains(remedy, "there is a direct path") {
			t.Errorf("remedy %q", remedy)
		}
	})
}
