package tunnel

import (
	"bytes"
	"context"
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
	tried    time.Time
	answered time.Time
	latency  time.Duration
	direct   bool
	endpoint netip.AddrPort
	region   int
}

// look is what of a peer shows in the status.
type look struct {
	direct, active, lost bool
	endpoint             netip.AddrPort
	region               int
}

// probe looks at the peers in use: it pings them now and then, keeps the list
// of them for the next process, and tells watchers when a path changed.
func (s *session) probe(ctx context.Context) {
	ticker := time.NewTicker(probeEvery)
	defer ticker.Stop()
	looks := map[uuid.UUID]look{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.began:
			s.tell(s.collect()) // the state file must know it before anything can happen to us
			s.signal(s.urgent)
			continue
		case <-ticker.C:
		}
		s.tunnel.note(func(f *facts) { f.settled(time.Now()) })
		active := s.collect()
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
			if peer.Active && time.Since(peer.LastHandshake) < sessionLife && s.due(id) {
				due = append(due, id)
			}
		}
		looks = next
		s.tell(active)
		if changed {
			s.tunnel.mu.Lock()
			s.tunnel.notify()
			s.tunnel.mu.Unlock()
		}
		s.pingAll(ctx, due)
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

func (s *session) due(id uuid.UUID) bool {
	s.tunnel.mu.Lock()
	defer s.tunnel.mu.Unlock()
	return time.Since(s.tunnel.live.pings[id].tried) >= pingEvery
}

func (s *session) pingAll(ctx context.Context, ids []uuid.UUID) {
	var group sync.WaitGroup
	places := make(chan struct{}, pingsAtOnce)
	for _, id := range ids {
		places <- struct{}{}
		group.Go(func() {
			defer func() { <-places }()
			pingCtx, cancel := context.WithTimeout(ctx, pingTimeout)
			defer cancel()
			result, err := s.engine.Ping(pingCtx, proto.AddrFromUUID(proto.ServicePrefix, id))
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				s.tunnel.log.Debug("agent did not answer a ping", slog.String("agent", id.String()), slog.String("error", err.Error()))
			}
			s.tunnel.mu.Lock()
			running := s.tunnel.live
			s.tunnel.mu.Unlock()
			s.tunnel.pinged(running, id, result, err)
		})
	}
	group.Wait()
}

// pinged notes the outcome of a ping.
func (t *Tunnel) pinged(running *live, id uuid.UUID, result tailnet.PingResult, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	last := running.pings[id]
	last.tried = time.Now()
	if err == nil {
		last.answered, last.latency = last.tried, result.Latency
		last.direct, last.endpoint, last.region = result.Direct, result.Endpoint, result.RelayRegion
	}
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
