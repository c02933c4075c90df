package tailnet

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// The budget of a peer that is known and idle: bytes, and the time to add ten
// thousand. RSS grows by up to twice the live heap, so the heap gets half of
// the 2.5 KB.
const (
	idleBudget = 1280
	addBudget  = 100 * time.Millisecond
	idlePeers  = 10_000
)

// crowd is a snapshot of agents as a real coordinator sends it.
func crowd(count int) (ids []uuid.UUID, updates []*tailnetv2.CoordinateResponse_PeerUpdate) {
	for i := range count {
		id := uuid.New()
		node := testNode(id)
		node.Endpoints = append(node.Endpoints,
			fmt.Sprintf("10.%d.%d.2:41641", i/256%256, i%256), "172.17.0.1:41641", "[2001:db8::77]:41641")
		node.DerpLatency = map[string]float64{"1-v4": 0.01, "2-v4": 0.02, "999-v4": 0.003}
		ids, updates = append(ids, id), append(updates, nodeUpdate(id, node), readyUpdate(id))
	}
	return ids, updates
}

func liveHeap() int64 {
	for range 3 {
		runtime.GC()
	}
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// TestIdlePeersAreRecords measures what known peers cost that nobody talks to.
func TestIdlePeersAreRecords(t *testing.T) {
	for name, idle := range map[string]bool{"records": true, "programmed": false} {
		t.Run(name, func(t *testing.T) {
			count := idlePeers
			if !idle {
				count = 2000 // for comparison
			}
			e := newDeviceEngine(t, nil)
			ids, updates := crowd(count)
			goroutines, before := runtime.NumGoroutine(), liveHeap()
			if idle {
				for _, id := range ids {
					e.SetTunnelDestination(id)
				}
			}
			start := time.Now()
			e.tell(t, updates...)
			took := time.Since(start)
			each, more := (liveHeap()-before)/int64(count), runtime.NumGoroutine()-goroutines
			t.Logf("%d peers: %d bytes of heap each, %d goroutines more, added in %s", count, each, more, took)
			runtime.KeepAlive(updates)
			if got := len(e.directory.all()); idle && got != 0 || !idle && got != count {
				t.Errorf("%d peers are programmed", got)
			}
			if !idle {
				return
			}
			if each > idleBudget {
				t.Errorf("an idle peer takes %d bytes, want at most %d", each, idleBudget)
			}
			if more > 5 {
				t.Errorf("%d goroutines more for %d peers", more, count)
			}
			for _, id := range []uuid.UUID{ids[0], ids[count-1]} {
				if status, found := e.Peer(id); !found || status.RelayRegion != 1 || status.Active {
					t.Errorf("peer %s: %+v, %v", id, status, found)
				}
			}
		})
	}
}

// BenchmarkAddPeers adds ten thousand peers to an engine, of which each one
// costs the same.
func BenchmarkAddPeers(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		e := newDeviceEngine(b, nil)
		ids, updates := crowd(idlePeers)
		for _, id := range ids {
			e.SetTunnelDestination(id)
		}
		runtime.GC()
		b.StartTimer()
		e.tell(b, updates...)
		b.StopTimer()
		_ = e.Close()
		b.StartTimer()
	}
	b.ReportMetric(float64(addBudget.Milliseconds()), "target-ms/10k")
}

// BenchmarkOneUpdate changes one peer among many: a record, and a programmed one.
func BenchmarkOneUpdate(b *testing.B) {
	for _, known := range []int{100, idlePeers} {
		for _, programmed := range []bool{false, true} {
			b.Run(fmt.Sprintf("known=%d/programmed=%v", known, programmed), func(b *testing.B) {
				e := newDeviceEngine(b, nil)
				ids, updates := crowd(known)
				for _, id := range ids {
					e.SetTunnelDestination(id)
				}
				e.tell(b, updates...)
				if programmed {
					e.Handshake(ids[:1])
				}
				change := updates[0]
				other := change.GetNode().GetEndpoints()[1:]
				b.ReportAllocs()
				for b.Loop() {
					change.Node.Endpoints, other = other, change.Node.Endpoints
					e.tell(b, change)
				}
			})
		}
	}
}

// BenchmarkRoute is what every packet to a programmed peer pays.
func BenchmarkRoute(b *testing.B) {
	e := newDeviceEngine(b, nil)
	ids, updates := crowd(1000)
	for _, id := range ids {
		e.SetTunnelDestination(id)
	}
	e.tell(b, updates...)
	e.Handshake(ids[:1])
	addr := e.directory.peer(ids[0]).node.Addresses[0].Addr()
	b.ReportAllocs()
	for b.Loop() {
		if _, found := e.route(addr); !found {
			b.Fatal("no route")
		}
	}
}
