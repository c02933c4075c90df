package tunnel

import (
	"context"
	"crypto/rand"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/causewayhq/causeway/control"
	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/tailnetv2"
	"github.com/causewayhq/causeway/tailnet"
)

// application is what events say that they are about.
const application = "causeway"

// farewell is how long the end of the tunnel waits for its last events to be
// sent.
const farewell = time.Second

// teller tells the control plane how agents are reached, if the user has
// switched that on: when one is first reachable, when the path to it changes
// between a relay and a direct one, what a ping took, and when it is over. Peers
// are looked at every 5 s, so that a switch is told that much later. Addresses
// and host names leave it as salted hashes only.
type teller struct {
	carrier *control.Telemetry
	hide    *control.Anonymizer
	self    uuid.UUID
	version string

	mu     sync.Mutex
	closed bool
	about  map[uuid.UUID]contact
}

// contact is an agent that was told to be connected.
type contact struct {
	since  time.Time
	setup  time.Duration
	direct time.Duration // from since to the first direct path; 0: none yet
	last   tailnet.PeerStatus
}

// newTeller makes one if telemetry is on, else nil, which does nothing.
func newTeller(on bool, log *slog.Logger, version string, self uuid.UUID) *teller {
	if !on {
		return nil
	}
	return &teller{
		carrier: control.NewTelemetry(log), hide: control.NewAnonymizer(), self: self, version: version,
		about: map[uuid.UUID]contact{},
	}
}

// on is the carrier for the control loop; nil if telemetry is off.
func (t *teller) on() *control.Telemetry {
	if t == nil {
		return nil
	}
	return t.carrier
}

// surroundings are the facts that are the same for all agents.
type surroundings struct {
	home   int
	relays proto.RelayMap
}

// tell shows the teller the peers that have a session. Without a control plane
// it has to wait: nobody would hear it.
func (s *session) tell(active []uuid.UUID) {
	if s.teller == nil || !s.tunnel.heard() {
		return
	}
	peers := make(map[uuid.UUID]tailnet.PeerStatus, len(active))
	for _, id := range active {
		if peer, found := s.engine.Peer(id); found {
			peers[id] = peer
		}
	}
	s.teller.look(peers, s.tunnel.surroundings())
}

// heard says whether the control plane is connected.
func (t *Tunnel) heard() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.facts.control.connected
}

func (t *Tunnel) surroundings() surroundings {
	t.mu.Lock()
	defer t.mu.Unlock()
	around := surroundings{relays: t.saved.Relays.RelayMap}
	if t.live != nil {
		around.home, _ = t.live.engine.Home()
	}
	return around
}

// look takes in what is known of the peers with a session; others have ended.
func (t *teller) look(peers map[uuid.UUID]tailnet.PeerStatus, around surroundings) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	now := time.Now()
	for id, peer := range peers {
		known, found := t.about[id]
		if !found {
			known = contact{since: now, setup: peer.Setup}
			if !peer.LastHandshake.IsZero() {
				known.since = peer.LastHandshake
			}
		}
		if peer.Direct && known.direct == 0 {
			known.direct = max(now.Sub(known.since), 1)
		}
		switched := found && peer.Direct != known.last.Direct
		known.last = peer
		t.about[id] = known
		if !found || switched {
			t.carrier.Send(t.event(id, known, tailnetv2.TelemetryEvent_CONNECTED, around))
		}
	}
	for id, known := range t.about {
		if _, still := peers[id]; !still {
			t.end(id, known, around)
		}
	}
}

// pinged tells what a user's ping measured.
func (t *teller) pinged(id uuid.UUID, result tailnet.PingResult, around func() surroundings) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	known, found := t.about[id]
	if !found {
		return // it is told to be connected first, at the next look
	}
	known.last.Direct, known.last.Endpoint, known.last.RelayRegion = result.Direct, result.Endpoint, result.RelayRegion
	event := t.event(id, known, tailnetv2.TelemetryEvent_CONNECTED, around())
	if result.Direct {
		event.P2PLatency = durationpb.New(result.Latency)
	} else {
		event.DerpLatency = durationpb.New(result.Latency)
	}
	t.carrier.Send(event)
}

// close ends everything, while there still is a connection to tell it on; it
// takes at most farewell.
func (t *teller) close(around func() surroundings) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	for id, known := range t.about {
		t.end(id, known, around())
	}
	ctx, cancel := context.WithTimeout(context.Background(), farewell)
	defer cancel()
	t.carrier.Flush(ctx)
}

// end tells that an agent is no longer connected; the caller holds mu.
func (t *teller) end(id uuid.UUID, known contact, around surroundings) {
	delete(t.about, id)
	t.carrier.Send(t.event(id, known, tailnetv2.TelemetryEvent_DISCONNECTED, around))
}

// event is what all events have; the caller holds mu.
func (t *teller) event(id uuid.UUID, known contact, status tailnetv2.TelemetryEvent_Status, around surroundings) *tailnetv2.TelemetryEvent {
	now := time.Now()
	number := make([]byte, 16)
	_, _ = rand.Read(number) // never fails
	event := &tailnetv2.TelemetryEvent{
		Id: number, Time: timestamppb.New(now), Application: application, Status: status,
		ClientType: tailnetv2.TelemetryEvent_CLI, ClientVersion: t.version,
		NodeIdSelf: uint64(proto.NodeIDFromUUID(t.self)), NodeIdRemote: uint64(proto.NodeIDFromUUID(id)),
		HomeDerp: int32(around.home), LatestNetcheck: &tailnetv2.Netcheck{PreferredDERP: int64(around.home)},
		ConnectionAge: durationpb.New(now.Sub(known.since)),
	}
	if around.relays.DERPMap != nil {
		event.DerpMap = t.hide.RelayMap(around.relays)
	}
	if known.setup > 0 {
		event.ConnectionSetup = durationpb.New(known.setup)
	}
	if known.direct > 0 {
		event.P2PSetup = durationpb.New(known.direct)
	}
	if known.last.Direct {
		event.P2PEndpoint = t.hide.Endpoint(known.last.Endpoint)
	}
	return event
}
