package vpnproto

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/proto/vpnv1"
	"github.com/causewayhq/causeway/tunnel"
)

// short says what an update holds: numbers of workspaces and agents, with names
// for those that have them.
func short(update *vpnv1.PeerUpdate) string {
	list := func(agents []*vpnv1.Agent) string {
		var parts []string
		for _, agent := range agents {
			text := fmt.Sprintf("%x", agent.Id[0])
			if len(agent.Fqdn) > 0 {
				text += ":" + agent.Fqdn[0]
			}
			if agent.LastHandshake != nil {
				text += " h"
			}
			if agent.LastPing != nil {
				text += " " + agent.LastPing.Latency.AsDuration().String()
			}
			parts = append(parts, text)
		}
		return strings.Join(parts, ", ")
	}
	spaces := func(workspaces []*vpnv1.Workspace) string {
		var parts []string
		for _, workspace := range workspaces {
			parts = append(parts, workspace.Name)
		}
		return strings.Join(parts, ", ")
	}
	return fmt.Sprintf("w[%s] a[%s] dw[%s] da[%s]", spaces(update.UpsertedWorkspaces), list(update.UpsertedAgents),
		spaces(update.DeletedWorkspaces), list(update.DeletedAgents))
}

// TestUpdates: differences are sent as such, snapshots whole, and completed with
// what they lack.
func TestUpdates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := up()
		m := begin(t, Version{1, 3}, silent, c)
		c.has(true, agent(1), agent(2))
		m.start()
		expect := func(when, want string) {
			t.Helper()
			if got := short(m.update()); got != want {
				t.Errorf("%s:\n got %s\nwant %s", when, got, want)
			}
		}
		expect("first", "w[ws1, ws2] a[1:ws1.coder. h, 2:ws2.coder. h] dw[] da[]")
		c.has(false, agent(1), agent(2), agent(3))
		expect("one more", "w[ws3] a[3:ws3.coder. h] dw[] da[]")
		renamed := agent(2)
		renamed.Names = renamed.Names[1:]
		c.has(false, agent(1), renamed, agent(3))
		expect("a name lost, so that it is told though the agent stayed as it was", "w[] a[2:main.ws2.me.coder. h] dw[] da[]")
		c.has(false, agent(1), renamed)
		expect("one less, with its names", "w[] a[] dw[ws3] da[3:ws3.coder.]")
		c.has(true, agent(1), agent(4))
		expect("a snapshot: all of it, and who is missing without names", "w[ws1, ws4] a[1:ws1.coder. h, 4:ws4.coder. h] dw[ws2] da[2]")
		c.has(true, agent(1), agent(4))
		expect("the same snapshot is sent again", "w[ws1, ws4] a[1:ws1.coder. h, 4:ws4.coder. h] dw[] da[]")
		c.has(true)
		expect("an empty one", "w[] a[] dw[ws1, ws4] da[1, 4]")
		began := time.Now()
		c.set(func() {}) // something that is not told
		time.Sleep(11 * time.Second)
		c.has(false, agent(5))
		expect("without agents there are no rounds", "w[ws5] a[5:ws5.coder. h] dw[] da[]")
		if took := time.Since(began); took != 11*time.Second {
			t.Errorf("%v", took)
		}
		m.stop()
		<-m.ended
	})
}

// TestAgentMessage is what is told of one agent.
func TestAgentMessage(t *testing.T) {
	p := newPeers(up(), Version{1, 1}, slog.New(slog.DiscardHandler), nil)
	one := agent(1)
	one.Names = []string{"ws1.coder", "main.ws1.me.coder", "main.ws1.admin.coder"}
	p.pings[one.ID] = &vpnv1.LastPing{DidP2P: true}
	got := p.measured(one, agentMessage(one))
	if !reflect.DeepEqual(got.Fqdn, []string{"ws1.coder.", "main.ws1.me.coder.", "main.ws1.admin.coder."}) {
		t.Errorf("names %v", got.Fqdn)
	}
	if !reflect.DeepEqual(got.IpAddrs, []string{"fd60:627a:a42b:101:101:101:101:101"}) {
		t.Errorf("addresses %v", got.IpAddrs)
	}
	if !got.LastHandshake.AsTime().Equal(time.Time{}) || !got.LastHandshake.IsValid() {
		t.Errorf("handshake %v, want the zero time", got.LastHandshake)
	}
	if got.LastPing != nil {
		t.Error("a ping below 1.2")
	}
	p.version = Version{1, 2}
	if p.measured(one, agentMessage(one)).LastPing == nil {
		t.Error("no ping in 1.2")
	}
}

// TestPingMessage is the table of the region that is named.
func TestPingMessage(t *testing.T) {
	home := &tunnel.Relay{RegionID: 1, Name: "Home", Latency: time.Millisecond}
	far := &tunnel.Relay{RegionID: 2, Name: "Far", Latency: time.Second}
	for name, test := range map[string]struct {
		direct        bool
		through, home *tunnel.Relay
		region        string
		latency       time.Duration
	}{
		"direct: own home":         {true, nil, home, "Home", time.Millisecond},
		"relayed: of the ping":     {false, far, home, "Far", time.Second},
		"relayed, nameless":        {false, &tunnel.Relay{RegionID: 7}, home, "Unnamed 7", 0},
		"direct, no home yet":      {true, nil, nil, "", 0},
		"relayed, latency unknown": {false, &tunnel.Relay{RegionID: 2, Name: "Far"}, home, "Far", 0},
	} {
		got := pingMessage(tunnel.PingReply{Latency: 5 * time.Millisecond, Direct: test.direct, Relay: test.through}, test.home)
		if got.DidP2P != test.direct || got.PreferredDerp != test.region || got.PreferredDerpLatency.AsDuration() != test.latency ||
			(got.PreferredDerpLatency == nil) != (test.latency == 0) || got.Latency.AsDuration() != 5*time.Millisecond {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestRounds: every five seconds all agents, at once; a ping shows one round
// later, and a slow or failed one keeps what was known.
func TestRounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := up()
		answers := map[byte]func(context.Context) (tunnel.PingReply, error){}
		c.ping = func(ctx context.Context, id uuid.UUID) (tunnel.PingReply, error) {
			c.mu.Lock()
			answer := answers[id[0]]
			c.mu.Unlock()
			return answer(ctx)
		}
		answer := func(latency time.Duration) func(context.Context) (tunnel.PingReply, error) {
			return func(context.Context) (tunnel.PingReply, error) { return tunnel.PingReply{Latency: latency}, nil }
		}
		slow := func(ctx context.Context) (tunnel.PingReply, error) {
			if limit, limited := ctx.Deadline(); !limited || time.Until(limit) != pingLimit {
				t.Errorf("a ping may take until %v", limit)
			}
			<-ctx.Done()
			return tunnel.PingReply{}, ctx.Err()
		}
		answers[1], answers[2] = answer(time.Millisecond), slow
		c.has(true, agent(1), agent(2))
		m := begin(t, Version{1, 3}, slog.LevelWarn, c)
		m.start()
		m.update()
		began := time.Now()
		round := func(want string) {
			t.Helper()
			for {
				got := m.read()
				if warning := got.GetLog(); warning != nil {
					if warning.GetMessage() != "agent did not answer a ping" {
						t.Errorf("%v", warning)
					}
					continue
				}
				if at := time.Since(began) % statusEvery; at != 0 {
					t.Errorf("%v after a round", at)
				}
				if text := short(got.GetPeerUpdate()); text != want {
					t.Errorf("at %v:\n got %s\nwant %s", time.Since(began), text, want)
				}
				return
			}
		}
		const both = "w[] a[1:ws1.coder. h%s, 2:ws2.coder. h%s] dw[] da[]"
		round(fmt.Sprintf(both, "", ""))
		round(fmt.Sprintf(both, " 1ms", ""))
		synctest.Wait() // this round's pings have begun
		c.set(func() { answers[1], answers[2] = slow, answer(2*time.Millisecond) })
		round(fmt.Sprintf(both, " 1ms", ""))
		synctest.Wait()
		round(fmt.Sprintf(both, " 1ms", " 2ms"))
		// It survives an upsert, and not a delete.
		renamed := agent(1)
		renamed.Name = "renamed"
		c.has(false, renamed, agent(2))
		if got, want := short(m.update()), "w[] a[1:ws1.coder. h 1ms] dw[] da[]"; got != want {
			t.Errorf("upserted: %s, want %s", got, want)
		}
		c.has(false, agent(2))
		if got, want := short(m.update()), "w[] a[] dw[ws1] da[1:ws1.coder.]"; got != want {
			t.Errorf("deleted: %s, want %s", got, want)
		}
		c.has(false, agent(1), agent(2))
		if got, want := short(m.update()), "w[ws1] a[1:ws1.coder. h] dw[] da[]"; got != want {
			t.Errorf("back again: %s, want %s", got, want)
		}
		m.stop() // at once, though pings hang
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("stopped after %v", took)
		}
		<-m.ended
	})
}

// TestLateResult: an answer for an agent that has gone meanwhile is dropped; one
// that is announced nowhere is no warning.
func TestLateResult(t *testing.T) {
	log := &lines{}
	p := newPeers(up(), Version{1, 3}, slog.New(slog.NewTextHandler(log, nil)), func(context.Context, *vpnv1.PeerUpdate) error { return nil })
	one := agent(1)
	p.tell(t.Context(), tunnel.Inventory{Revision: 1, Known: true, Agents: []tunnel.AgentStatus{one}})
	p.pinged(uuid.UUID(repeated(9)), tunnel.PingReply{}, nil)
	if len(p.pings) != 0 {
		t.Error("a result of nobody is kept")
	}
	p.pinged(one.ID, tunnel.PingReply{}, fmt.Errorf("ping: %w", tunnel.ErrOffline))
	if log.count != 0 {
		t.Error("a warning of an agent that is not announced")
	}
	for range 3 {
		p.pinged(one.ID, tunnel.PingReply{}, errors.New("no answer"))
	}
	p.pinged(one.ID, tunnel.PingReply{Latency: 1}, nil)
	p.pinged(one.ID, tunnel.PingReply{}, errors.New("no answer"))
	if log.count != 2 || p.pings[one.ID] == nil {
		t.Errorf("%d warnings, want one for each time it fell silent; kept: %v", log.count, p.pings)
	}
}

type lines struct{ count int }

func (l *lines) Write(text []byte) (int, error) { l.count++; return len(text), nil }
