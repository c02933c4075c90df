package tunnel

import (
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
		r.pinged(r.live, agent, tailnet.PingResult{Latency: 1}, nil) // one that was under way
		if known() != 0 {
			t.Error("a late answer is kept")
		}
	})
}
