package coordinator

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// rower is one peer of TestStormSettles. Its own goroutine alone acts for it, so
// it knows what it has done, if not what the others do meanwhile.
type rower struct {
	id     uuid.UUID
	random *rand.Rand
	s      *Stream
	crash  context.CancelFunc // ends the context of the stream
	opened map[uuid.UUID]bool

	reading sync.WaitGroup
	mu      sync.Mutex
	known   map[uuid.UUID]int32
}

// TestStormSettles lets peers connect, crash, take themselves over, open and
// remove tunnels, announce nodes, leave, and stop reading, all at once and in
// random order. Then all of them come to rest, and each must believe just what
// the tunnels that are left demand.
func TestStormSettles(t *testing.T) {
	var slow, overwrites uint64
	for seed := *seedFlag; seed < *seedFlag+8; seed++ {
		c := New(slog.New(slog.DiscardHandler))
		peers := make([]*rower, 10)
		ids := make([]uuid.UUID, len(peers))
		for i := range peers {
			ids[i] = uuid.New()
			peers[i] = &rower{id: ids[i], random: rand.New(rand.NewPCG(seed, uint64(i)))}
		}
		var storming sync.WaitGroup
		for _, peer := range peers {
			storming.Go(func() {
				for range 800 {
					peer.act(c, ids)
				}
			})
		}
		storming.Wait()
		for i, peer := range peers {
			peer.rest(t, c, int32(1e6+i))
		}
		for i, peer := range peers {
			want := map[uuid.UUID]int32{}
			for j, other := range peers {
				if i != j && (peer.opened[other.id] || other.opened[peer.id]) {
					want[other.id] = int32(1e6 + j)
				}
			}
			peer.expect(t, seed, want)
		}
		checkLinks(t, c)
		slow, overwrites = slow+c.tooSlow, overwrites+c.overwrites
		c.Close()
		for _, peer := range peers {
			peer.reading.Wait()
		}
		if len(c.peers) != 0 || len(c.agents) != 0 || len(c.clients) != 0 || len(c.doomed) != 0 {
			t.Errorf("left: %d peers, %d agents, %d clients, %d doomed", len(c.peers), len(c.agents), len(c.clients), len(c.doomed))
		}
	}
	t.Logf("%d peers were too slow, %d took over", slow, overwrites)
	if slow == 0 || overwrites == 0 {
		t.Error("the storm was too weak to show anything")
	}
}

// act does one random thing.
func (r *rower) act(c *Coordinator, ids []uuid.UUID) {
	other := ids[r.random.IntN(len(ids))]
	if r.s == nil {
		r.connect(c, r.random.IntN(4) > 0)
	}
	var err error
	switch chance := r.random.IntN(100); {
	case chance < 50:
		err = r.s.Send(updateSelf(&tailnetv2.Node{PreferredDerp: r.random.Int32N(1000)}))
	case chance < 65 && other != r.id:
		if err = r.s.Send(addTunnel(other)); err == nil {
			r.opened[other] = true
		}
	case chance < 75:
		if err = r.s.Send(removeTunnel(other)); err == nil {
			delete(r.opened, other)
		}
	case chance < 90:
		err = r.s.Send(ready(other))
	case chance < 91:
		_ = r.s.Send(disconnect())
		err = ErrEnded
	case chance < 92:
		if r.random.IntN(2) == 0 {
			r.s.Close()
		} else {
			r.crash()
			<-r.s.Done()
		}
		err = ErrEnded
	case chance < 93:
		// A takeover: the tunnels stay, unless the old connection was removed first.
		old := r.s
		r.connect(c, true)
		<-old.Done()
		if ended := old.Err(); ended == nil || ended.Error() != "peer ID overwritten by new connection" {
			r.opened = map[uuid.UUID]bool{}
		}
	}
	if err != nil {
		r.s, r.opened = nil, map[uuid.UUID]bool{}
	}
}

// connect makes a stream; a deaf one is never read and so removed in the end.
func (r *rower) connect(c *Coordinator, reads bool) {
	kept := r.opened
	if r.s == nil {
		kept = map[uuid.UUID]bool{}
	}
	ctx, crash := context.WithCancel(context.Background())
	s, err := c.Connect(ctx, r.id, "rower", SingleTailnetAuth())
	if err != nil {
		panic(err)
	}
	known := map[uuid.UUID]int32{}
	r.mu.Lock()
	r.s, r.crash, r.opened, r.known = s, crash, kept, known
	r.mu.Unlock()
	if !reads {
		return
	}
	r.reading.Go(func() {
		for {
			message, err := s.Recv(context.Background())
			if err != nil {
				if !errors.Is(err, io.EOF) {
					panic(err)
				}
				return
			}
			r.mu.Lock()
			for _, update := range message.GetPeerUpdates() {
				switch update.GetKind() {
				case kindNode:
					known[uuid.UUID(update.GetId())] = update.GetNode().GetPreferredDerp()
				case kindReady:
				default:
					delete(known, uuid.UUID(update.GetId()))
				}
			}
			r.mu.Unlock()
		}
	})
}

// rest makes the peer connected, heard by its partners and reading: it takes
// itself over, for its last stream may be one that nobody reads.
func (r *rower) rest(t *testing.T, c *Coordinator, version int32) {
	if r.s != nil {
		old := r.s
		r.connect(c, true)
		<-old.Done()
		if ended := old.Err(); ended == nil || ended.Error() != "peer ID overwritten by new connection" {
			r.opened = map[uuid.UUID]bool{}
		}
	} else {
		r.connect(c, true)
	}
	if err := r.s.Send(updateSelf(&tailnetv2.Node{PreferredDerp: version})); err != nil {
		t.Fatalf("rest: %v", err)
	}
}

func (r *rower) expect(t *testing.T, seed uint64, want map[uuid.UUID]int32) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		r.mu.Lock()
		equal := len(r.known) == len(want)
		for id, version := range want {
			equal = equal && r.known[id] == version
		}
		got := len(r.known)
		r.mu.Unlock()
		if equal && r.s.queued() == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("seed %d: a peer believes %d nodes, want %d: %v, %v", seed, got, len(want), r.known, want)
		}
	}
}
