package control

import (
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// TestSendersShareOneStream lets nodes, tunnels and acknowledgements come from
// many goroutines at once: nothing is lost and nothing is garbled.
func TestSendersShareOneStream(t *testing.T) {
	const senders, each = 8, 50
	said, engine := &transcript{}, &data{}
	peers := make(chan *tailnetv2.CoordinateResponse)
	p := &plane{coordinate: func(dial int, stream tailnetv2.DRPCTailnet_CoordinateStream) error {
		var sending sync.WaitGroup
		defer sending.Wait()
		sending.Go(func() {
			for response := range peers {
				if err := stream.Send(response); err != nil {
					t.Error(err)
				}
			}
		})
		return said.coordinate(dial, stream)
	}}
	set := NewDestinations()
	stop := run(t, &Loop{Dialer: serve(t, p, nil), Coordinatee: engine, Destinations: set, Acks: true})
	eventually(t, "the engine is asked for its node", func() (asked bool) {
		engine.read(func(d *data) { asked = d.callback != nil })
		return asked
	})
	var callback func(*tailnetv2.Node)
	engine.read(func(d *data) { callback = d.callback })
	var working sync.WaitGroup
	for sender := range senders {
		working.Go(func() {
			for i := range each {
				id := uuid.UUID{1, byte(sender), byte(i)}
				set.Add(id)
				callback(&tailnetv2.Node{Id: int64(1 + i)})
				id[0] = 2
				peers <- &tailnetv2.CoordinateResponse{PeerUpdates: []*tailnetv2.CoordinateResponse_PeerUpdate{{
					Id: id[:], Kind: tailnetv2.CoordinateResponse_PeerUpdate_NODE, Node: &tailnetv2.Node{},
				}}}
			}
		})
	}
	working.Wait()
	close(peers)
	added, acknowledged := map[uuid.UUID]int{}, map[uuid.UUID]int{}
	eventually(t, "everything said", func() bool {
		clear(added)
		clear(acknowledged)
		said.count(func(r *tailnetv2.CoordinateRequest) bool {
			if id := r.GetAddTunnel().GetId(); len(id) == 16 {
				added[uuid.UUID(id)]++
			}
			for _, ready := range r.GetReadyForHandshake() {
				acknowledged[uuid.UUID(ready.GetId())]++
			}
			return false
		})
		return len(added) == senders*each && len(acknowledged) == senders*each
	})
	stop()
	for _, said := range []map[uuid.UUID]int{added, acknowledged} {
		for id, times := range said {
			if times != 1 {
				t.Errorf("%s was said %d times", id, times)
			}
		}
	}
}

// TestNumbers holds what users and control planes rely on: the other tests use
// the same names as the code, and would follow a change of it.
func TestNumbers(t *testing.T) {
	for name, number := range map[string]struct{ got, want time.Duration }{
		"shortest wait":                  {backoffFloor, 50 * time.Millisecond},
		"longest wait":                   {backoffCeiling, 10 * time.Second},
		"graceful end":                   {graceful, time.Second},
		"silence until it is noticed":    {pingInterval + pingTimeout, 10 * time.Second},
		"refresh without a time":         {resumeFallback, 30 * time.Minute},
		"longest wait that is asked for": {hintCeiling, 10 * time.Second},
	} {
		if number.got != number.want {
			t.Errorf("%s is %v, want %v", name, number.got, number.want)
		}
	}
}
