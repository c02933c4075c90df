package tunnel

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/tailnet"
)

const (
	// probeEvery is how often the peers in use are looked at.
	probeEvery = 5 * time.Second
	// pingEvery is how often each of them is pinged.
	pingEvery   = 15 * time.Second
	pingTimeout = 3 * time.Second
	// pingAgain is the wait before a ping that was not answered is repeated: two
	// in a row are believed.
	pingAgain = 2 * time.Second
	// pingsAtOnce bounds the pings of one look.
	pingsAtOnce = 8
	// sessionLife is how long WireGuard uses a session: a peer with an older
	// handshake is not in use, and pinging it would only keep it awake.
	sessionLife = 180 * time.Second
	// recent is how old a sign of life may be for an agent to count as
	// reachable: one session's life.
	recent = sessionLife
)

// pong is the last answer to a ping of one agent.
type pong struct {
	probing  bool      // the probe is at it
	tried    time.Time // when the last began
	failed   time.Time // when the one before began, if both got no answer, or else the last
	missed   int       // got no answer, in a row
	answered time.Time
	latency  time.Duration
	direct   bool
	endpoint netip.AddrPort
	region   int
}

// refutes says that a sign of life is outdated by pings without an answer.
func (p pong) refutes(alive time.Time) bool {
	return p.failed.After(alive) && (p.missed > 1 || p.missed == 1 && p.answered.IsZero())
}

// look is what of a peer shows in the status.
type look struct {
	direct, active, lost bool
	endpoint             netip.AddrPort
	region               int
}

// traffic is what WireGuard has counted of a peer.
type traffic struct{ rx, tx uint64 }

// probe looks at the peers in use: it pings them now and then, keeps the list
// of them for the next process, and tells watchers when a path changed.
func (s *session) probe(ctx context.Context) {
	ticker := time.NewTicker(probeEvery)
	defer ticker.Stop()
	looks, moved := map[uuid.UUID]look{}, map[uuid.UUID]traffic{}
	var group sync.WaitGroup
	defer group.Wait()
	for {
		doubt := false
		select {
		case <-ctx.Done():
			return
		case <-s.began:
			s.tell(s.collect()) // the state file must know it before anything can happen to us
			s.signal(s.urgent)
			continue
		case <-s.doubt:
			doubt = true
		case <-ticker.C:
		}
		s.tunnel.note(func(f *facts) { f.control.settled(time.Now()) })
		active := s.collect()
		s.judgeAgents(active)
		next := make(map[uuid.UUID]look, len(active))
		changed := len(active) != len(looks)
		var due []uuid.UUID
		for _, id := range active {
			peer, found := s.engine.Peer(id)
			if !found {
				continue
			}
			next[id] = look{peer.Direct, peer.Active, peer.Lost, peer.Endpoint, peer.RelayRegion}
			changed = changed || looks[id] != next[id]
			now := traffic{peer.RxBytes, peer.TxBytes}
			// What it does not answer is a reason to ask it before its time.
			unanswered := now.tx > moved[id].tx && now.rx == moved[id].rx && !doubt
			moved[id] = now
			if peer.Active && time.Since(peer.LastHandshake) < sessionLife && s.due(id, doubt || unanswered) {
				due = append(due, id)
			}
		}
		maps.DeleteFunc(moved, func(id uuid.UUID, _ traffic) bool { _, still := next[id]; return !still })
		looks = next
		s.tell(active)
		if changed {
			s.tunnel.mu.Lock()
			s.tunnel.notify()
			s.tunnel.mu.Unlock()
		}
		for _, id := range due {
			group.Go(func() {
				s.probePeer(ctx, id)
				s.judgeAgents(s.engine.ActivePeers())
			})
		}
	}
}

// collect keeps the list of active peers for the next process.
func (s *session) collect() []uuid.UUID {
	active := s.engine.ActivePeers()
	slices.SortFunc(active, func(a, b uuid.UUID) int { return slices.Compare(a[:], b[:]) })
	nodes := s.engine.NodeWires(active)
	s.tunnel.mu.Lock()
	same := slices.Equal(active, s.tunnel.saved.Active) && maps.EqualFunc(nodes, s.tunnel.saved.Nodes, bytes.Equal)
	s.tunnel.mu.Unlock()
	if !same {
		s.keep(func(k *saved) { k.Active, k.Nodes = active, nodes })
	}
	return active
}

// due says whether to ping a peer now, and then takes it that this is done.
func (s *session) due(id uuid.UUID, hurry bool) bool {
	s.tunnel.mu.Lock()
	defer s.tunnel.mu.Unlock()
	last := s.tunnel.live.pings[id]
	pause := pingEvery
	if hurry {
		pause = probeEvery
	}
	if last.probing || time.Since(last.tried) < pause {
		return false
	}
	last.probing = true
	s.tunnel.live.pings[id] = last
	return true
}

// probePeer pings a peer, and once more if there is no answer.
func (s *session) probePeer(ctx context.Context, id uuid.UUID) {
	t := s.tunnel
	t.mu.Lock()
	running := t.live
	t.mu.Unlock()
	if !s.pingOnce(ctx, running, id) && pause(ctx, pingAgain) {
		s.pingOnce(ctx, running, id)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if last, known := running.pings[id]; known {
		last.probing = false
		running.pings[id] = last
	}
}

func (s *session) pingOnce(ctx context.Context, running *live, id uuid.UUID) (answered bool) {
	select {
	case s.places <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	defer func() { <-s.places }()
	limited, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	began := time.Now()
	result, err := s.engine.Ping(limited, proto.AddrFromUUID(proto.ServicePrefix, id))
	if ctx.Err() != nil {
		return false
	}
	if err != nil {
		s.tunnel.log.Debug("agent did not answer a ping", slog.String("agent", id.String()), slog.String("error", err.Error()))
	}
	s.tunnel.pinged(running, id, began, result, err)
	return err == nil
}

// pinged notes the outcome of a ping. One that the user cut short says nothing.
func (t *Tunnel) pinged(running *live, id uuid.UUID, began time.Time, result tailnet.PingResult, err error) {
	now := time.Now()
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) && now.Sub(began) < pingTimeout {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	last := running.pings[id]
	if err == nil {
		last.answered, last.latency, last.missed = now, result.Latency, 0
		last.direct, last.endpoint, last.region = result.Direct, result.Endpoint, result.RelayRegion
	} else {
		last.failed = began
		if last.missed > 0 {
			last.failed = last.tried
		}
		last.missed++
	}
	last.tried = began
	if _, _, exists := t.state().Agent(id); exists {
		running.pings[id] = last
	}
	t.notify()
}

// forgetPings drops what is known of agents that are gone; t.mu is held.
func (t *Tunnel) forgetPings() {
	if t.live == nil {
		return
	}
	state := t.state()
	maps.DeleteFunc(t.live.pings, func(id uuid.UUID, _ pong) bool {
		_, _, exists := state.Agent(id)
		return !exists
	})
}
