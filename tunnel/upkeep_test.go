package tunnel

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causewayhq/causeway/proto/tailnetv2"
	"github.com/causewayhq/causeway/tailnet"
)

// A question to the control plane that failed is asked again at once when the
// network changes, and not a minute later.
func TestKickAsksAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := barePlane()
		network := servePipes(t, p)
		r := newBubbleRig(t, p, network, t.TempDir()).start()
		r.waitState(Connected)
		p.set(func(p *plane) { p.status = http.StatusBadGateway }) // the websocket stays
		time.Sleep(refreshEvery + time.Second)
		synctest.Wait()
		p.set(func(p *plane) {
			p.status, p.connection = 0, strings.Replace(p.connection, `"coder"`, `"corp"`, 1)
		})
		r.Kick()
		synctest.Wait()
		if suffix := r.Status().Suffix; suffix != "corp" {
			t.Errorf("suffix %q", suffix)
		}
		if !resolves(t, r.Tunnel, "main.myws.me.corp", "main") {
			t.Error("the new name does not answer")
		}
	})
}

// Without a kick it is asked again after a minute, and never less often than
// every ten.
func TestAskedAgainByItself(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := barePlane()
		network := servePipes(t, p)
		r := newBubbleRig(t, p, network, t.TempDir()).start()
		r.waitState(Connected)
		for _, step := range []struct {
			status int
			suffix string
			after  time.Duration
		}{{http.StatusBadGateway, "coder", refreshEvery + time.Second}, {0, "corp", refreshRetry}, {0, "intern", refreshEvery}} {
			p.set(func(p *plane) {
				p.status, p.connection = step.status, strings.Replace(p.connection, r.Status().Suffix, step.suffix, 1)
			})
			time.Sleep(step.after)
			synctest.Wait()
			if suffix := r.Status().Suffix; suffix != step.suffix {
				t.Errorf("suffix %q, want %q", suffix, step.suffix)
			}
		}
	})
}

// What is known of pings goes with the agent.
func TestPingsOfAgentsThatAreGone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := barePlane()
		network := servePipes(t, p)
		r := newBubbleRig(t, p, network, t.TempDir()).start()
		r.waitState(Connected)
		r.engine().do(func() { r.engine().peers[idOf("main")] = tailnet.PeerStatus{} })
		if _, err := r.Ping(t.Context(), "main.myws"); err != nil {
			t.Fatal(err)
		}
		known := func() int { r.Tunnel.mu.Lock(); defer r.Tunnel.mu.Unlock(); return len(r.live.pings) }
		if known() != 1 {
			t.Fatalf("%d pings are known", known())
		}
		agent := idOf("main")
		p.updates <- &tailnetv2.WorkspaceUpdate{DeletedAgents: []*tailnetv2.Agent{{Id: agent[:]}}}
		r.wait("it is gone", func(s Status) bool { return len(s.Agents) == 0 })
		if known() != 0 {
			t.Error("its pings are kept")
		}
		r.pinged(r.live, agent, time.Now(), tailnet.PingResult{Latency: 1}, nil) // one that was under way
		if known() != 0 {
			t.Error("a late answer is kept")
		}
	})
}

// Why the control plane ended a connection shows until the next one has held
// for a while, also if that comes at once; the tunnel is none the worse for it.
func TestWhatTheControlPlaneSaid(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := barePlane()
		network := servePipes(t, p)
		r := newBubbleRig(t, p, network, t.TempDir()).start()
		r.waitState(Connected)
		synctest.Wait() // its handler of the first stream has begun
		p.set(func(p *plane) { p.lastWords = "peer ID overwritten by new connection" })
		p.drop()
		status := r.wait("its words", func(s Status) bool { return s.ControlConnected && len(s.Problems) > 0 })
		if first := status.Problems[0]; first.Code != CodeTold || !strings.Contains(first.Cause, "control plane says: peer ID overwritten by new connection") || first.Remedy == "" {
			t.Errorf("problems %+v", status.Problems)
		}
		if status.State != Connected {
			t.Errorf("state %s", status.State)
		}
		time.Sleep(toldFor - probeEvery)
		if len(r.Status().Problems) != 1 {
			t.Error("forgotten too soon")
		}
		time.Sleep(2 * probeEvery)
		if problems := r.Status().Problems; len(problems) != 0 {
			t.Errorf("it stays: %+v", problems)
		}
	})
}

// What the control plane said of a token is over with the next one.
func TestWhatTheControlPlaneSaidOfTheLastToken(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := barePlane()
		network := servePipes(t, p)
		r := newBubbleRig(t, p, network, t.TempDir()).start()
		r.waitState(Connected)
		synctest.Wait()
		p.set(func(p *plane) { p.lastWords = "token expired" })
		p.drop()
		r.wait("its words", func(s Status) bool { return s.ControlConnected && problemOf(s, CodeTold) != nil })
		changed := r.Changed()
		r.SetToken("next-token")
		if told := problemOf(r.Status(), CodeTold); told != nil {
			t.Errorf("it stays: %+v", told)
		}
		select {
		case <-changed:
		default:
			t.Error("nobody was told")
		}
	})
}

// Several causes of one problem stand in one line, apart.
func TestCausesInOneLine(t *testing.T) {
	r := newRig(t, newPlane(t), t.TempDir())
	r.host.fail = errors.Join(errors.New("set DNS: it is picked up by itself"), errors.New("add route: denied"))
	r.start()
	status := r.wait("problem", func(s Status) bool { return problemOf(s, CodeHost) != nil })
	if got := problemOf(status, CodeHost).Cause; got != "set DNS: it is picked up by itself; add route: denied" {
		t.Errorf("cause %q", got)
	}
	r.host.mu.Lock()
	r.host.fail = nil // so that it can end
	r.host.mu.Unlock()
}

// A token that is revoked while the tunnel runs: within seconds the user is
// told to sign in again, names go on, and a good token mends it.
func TestTokenRevoked(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := barePlane()
		network := servePipes(t, p)
		r := newBubbleRig(t, p, network, t.TempDir()).start()
		r.waitState(Connected)
		began := time.Now()
		p.refuse(http.StatusUnauthorized)
		status := r.wait("signed out", func(s Status) bool { return len(s.Problems) > 0 && s.Problems[0].Code == CodeSignedOut })
		if took := time.Since(began); took > time.Second {
			t.Errorf("told after %v", took)
		}
		if status.State != Degraded || status.Problems[0].Remedy != "sign in again: causeway login "+p.url.String() || len(status.Agents) != 1 {
			t.Errorf("status %+v", status)
		}
		time.Sleep(time.Hour)
		if status := r.Status(); status.State != Degraded || status.Problems[0].Code != CodeSignedOut || !resolves(t, r.Tunnel, "myws.coder", "main") {
			t.Errorf("an hour later %+v", status)
		}
		// The token is good again (the clock of the control plane was wrong, say):
		// nobody has to do anything.
		p.refuse(0)
		time.Sleep(signedOutWait + time.Second)
		r.waitState(Connected)
	})
}
