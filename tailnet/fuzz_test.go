package tailnet

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/uuid"
	protobuf "google.golang.org/protobuf/proto"
	"tailscale.com/types/key"

	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// FuzzRoster feeds the bytes of responses to a roster, with what else happens
// to it between them: one response for each byte of between.
func FuzzRoster(f *testing.F) {
	a, b := uuid.UUID{1, 15: 1}, uuid.UUID{2, 15: 2}
	twin := a
	twin[0]++
	node := func(id uuid.UUID) *tailnetv2.Node {
		made := testNode(id)
		made.AsOf = nil
		return made
	}
	moved := node(b)
	moved.Key = node(a).GetKey()
	seed := func(between []byte, updates ...*tailnetv2.CoordinateResponse_PeerUpdate) {
		data, err := protobuf.Marshal(&tailnetv2.CoordinateResponse{PeerUpdates: updates})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, between)
	}
	lost := func(id uuid.UUID) *tailnetv2.CoordinateResponse_PeerUpdate {
		return &tailnetv2.CoordinateResponse_PeerUpdate{Id: id[:], Kind: kindLost}
	}
	seed([]byte{0, 1, 2, 3}, nodeUpdate(a, node(a)), readyUpdate(a), nodeUpdate(b, node(b)), readyUpdate(uuid.UUID{3}))
	seed([]byte{4, 5, 6, 7}, nodeUpdate(a, node(a)), nodeUpdate(twin, node(a)), lost(a), nodeUpdate(b, moved))
	seed([]byte{8, 9, 255}, &tailnetv2.CoordinateResponse_PeerUpdate{Id: a[:], Kind: kindDisconnected}, lost(b), nodeUpdate(a, nil))
	f.Add([]byte{}, []byte{})
	f.Fuzz(func(t *testing.T, data, between []byte) {
		response := &tailnetv2.CoordinateResponse{}
		if protobuf.Unmarshal(data, response) != nil {
			return
		}
		now := time.Unix(1_000_000, 0)
		mine := testSelf()
		mine.lazy = len(data)%2 == 0
		mine.agents = len(data)%3 == 0
		r := newRoster(mine, func(public key.NodePublic) time.Time {
			raw := public.AppendTo(nil)
			return now.Add(-time.Duration(raw[0]) * 10 * time.Second)
		})
		m := newModel(t, r)
		r.setDestination(a)
		updates := response.GetPeerUpdates()
		for i, update := range updates {
			if i < len(between) {
				now = now.Add(carryOn(r, now, between[i], a, b, m.carry))
			}
			changes, _ := r.update(now, update)
			m.carry(changes)
			r.check(t)
		}
		m.compare()
	})
}

// carryOn lets something happen to a roster, and says how long it took.
func carryOn(r *roster, now time.Time, what byte, a, b uuid.UUID, carry func([]change)) time.Duration {
	switch what % 8 {
	case 1:
		r.allLost(now)
	case 2:
		carry(r.want(a))
	case 3:
		carry(r.want(b))
	case 4:
		carry(r.expire(now, 2))
	case 5:
		r.setDestination(b)
	case 6:
		r.clearDestination(a)
	case 7:
		for _, peer := range r.peers {
			if peer.record != nil {
				carry(r.knock(peer.record.key))
				break
			}
		}
	}
	return time.Duration(what) * 10 * time.Second
}

// model is a data plane that does what it is told and nothing else.
type model struct {
	t     *testing.T
	r     *roster
	plane map[uuid.UUID]*record
	keys  map[key.NodePublic]uuid.UUID
}

func newModel(t *testing.T, r *roster) *model {
	return &model{t: t, r: r, plane: map[uuid.UUID]*record{}, keys: map[key.NodePublic]uuid.UUID{}}
}

func (m *model) carry(changes []change) {
	for _, made := range changes {
		if former := m.plane[made.id]; former != nil {
			delete(m.keys, former.key)
		}
		if made.record == nil {
			delete(m.plane, made.id)
			continue
		}
		if owner, taken := m.keys[made.record.key]; taken {
			m.t.Fatalf("the key of %s was given to %s too", owner, made.id)
		}
		m.plane[made.id], m.keys[made.record.key] = made.record, made.id
	}
}

// compare says whether the data plane has what the roster thinks.
func (m *model) compare() {
	m.t.Helper()
	for id, peer := range m.r.peers {
		if peer.given != m.plane[id] {
			m.t.Errorf("peer %s: the data plane has another node", id)
		}
	}
	for id := range m.plane {
		if m.r.peers[id] == nil {
			m.t.Errorf("peer %s was not taken out", id)
		}
	}
}

// TestRosterAtRandom: whatever happens in whatever order, the tables fit each
// other and the data plane, and nobody has what is another's.
func TestRosterAtRandom(t *testing.T) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 1))
		mine := testSelf()
		mine.lazy, mine.agents = seed%2 == 0, seed%3 == 0
		now := time.Unix(1_000_000, 0)
		r := newRoster(mine, func(public key.NodePublic) time.Time {
			raw := public.AppendTo(nil)
			return now.Add(-time.Duration(raw[0]) * 5 * time.Second)
		})
		m := newModel(t, r)
		var ids []uuid.UUID
		var nodes []*tailnetv2.Node
		for range 6 {
			id := uuid.New()
			twin := id
			twin[0]++
			ids = append(ids, id, twin)
			nodes = append(nodes, testNode(id), testNode(twin))
		}
		pick := func() int { return random.IntN(len(ids)) }
		for range 3000 {
			i := pick()
			switch random.IntN(6) {
			case 0, 1:
				node := protobuf.CloneOf(nodes[i])
				switch other := nodes[pick()]; random.IntN(8) {
				case 0:
					node.Key = other.GetKey()
				case 1:
					node.Id = other.GetId()
				case 2:
					node.Addresses, node.AllowedIps = other.GetAddresses(), other.GetAllowedIps()
				case 3:
					node = other
				case 4:
					node.Key = testNode(ids[i]).GetKey()
				}
				changes, _ := r.update(now, nodeUpdate(ids[i], node))
				m.carry(changes)
			case 2:
				kinds := []kind{kindLost, kindDisconnected, kindReady, kindReady}
				changes, _ := r.update(now, &tailnetv2.CoordinateResponse_PeerUpdate{Id: ids[i][:], Kind: kinds[random.IntN(len(kinds))]})
				m.carry(changes)
			default:
				now = now.Add(carryOn(r, now, byte(random.IntN(256)), ids[i], ids[pick()], m.carry))
			}
			r.check(t)
			m.compare()
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		}
	}
}
