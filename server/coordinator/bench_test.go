package coordinator

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"tailscale.com/types/key"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// crowd connects agents and clients with ten tunnels each, and one agent that a
// hundred clients watch.
func crowd(b *testing.B, peers int) (c *Coordinator, hub *Stream, node *tailnetv2.Node, watchers []*Stream) {
	const tunnels, watching = 10, 100
	c = New(slog.New(slog.DiscardHandler))
	b.Cleanup(func() { c.Close() })
	full := func(id uuid.UUID) *tailnetv2.Node {
		raw, _ := key.NewNode().Public().MarshalBinary()
		address := proto.AddrFromUUID(proto.ServicePrefix, id).String() + "/128"
		return &tailnetv2.Node{
			Id: proto.NodeIDFromUUID(id), Key: raw, Disco: key.NewDisco().Public().String(), PreferredDerp: 999,
			DerpLatency: map[string]float64{"999-v4": 0.01}, Addresses: []string{address}, AllowedIps: []string{address},
			Endpoints: []string{"192.0.2.1:41641", "[2001:db8::1]:41641", "10.0.0.7:41641", "198.51.100.3:1234"},
		}
	}
	var agents []uuid.UUID
	connect := func(auth func(id uuid.UUID) Auth) (*Stream, *tailnetv2.Node) {
		id := uuid.New()
		s, err := c.Connect(context.Background(), id, "bench", auth(id))
		if err != nil {
			b.Fatal(err)
		}
		own := full(id)
		if err := s.Send(updateSelf(own)); err != nil {
			b.Fatal(err)
		}
		return s, own
	}
	all := func(context.Context, uuid.UUID) error { return nil }
	hub, node = connect(AgentAuth)
	var streams []*Stream
	for range peers / 2 {
		s, _ := connect(AgentAuth)
		agents = append(agents, s.ID())
		streams = append(streams, s)
	}
	for i := range peers - peers/2 {
		s, _ := connect(func(uuid.UUID) Auth { return UserAuth(all) })
		for j := range tunnels {
			if err := s.Send(addTunnel(agents[(i+j*37)%len(agents)])); err != nil {
				b.Fatal(err)
			}
		}
		if i < watching {
			if err := s.Send(addTunnel(hub.ID())); err != nil {
				b.Fatal(err)
			}
			watchers = append(watchers, s)
		}
		streams = append(streams, s)
	}
	for _, s := range append(streams, hub) {
		for s.queued() > 0 {
			s.take(nil)
		}
	}
	return c, hub, node, watchers
}

// BenchmarkFanOut times one node update to 100 watchers until each has its
// response; the peers beside them only exist. It prints the 99th percentile and
// the cost of a delivery, and for 10,000 peers what it costs in proportion to 1,000.
func BenchmarkFanOut(b *testing.B) {
	costs := map[int]float64{}
	for _, peers := range []int{1000, 10000} {
		b.Run(fmt.Sprint(peers), func(b *testing.B) {
			before := heap()
			_, hub, node, watchers := crowd(b, peers)
			perPeer := float64(heap()-before) / float64(peers)
			b.ReportAllocs()
			times := fanOut(b, hub, node, watchers, func() {})
			cost := float64(b.Elapsed().Nanoseconds()) / float64(b.N) / float64(len(watchers))
			reportTimes(b, times)
			costs[peers] = float64(times[len(times)/2]) // of the median: others use the machine too
			b.ReportMetric(cost, "ns/delivery")
			b.ReportMetric(perPeer, "B/peer")
			if costs[1000] > 0 && peers == 10000 {
				b.ReportMetric(costs[peers]/costs[1000], "x-of-1000-peers")
			}
		})
	}
}

// BenchmarkFanOutStalled is the same for 99 watchers with one beside them that
// never reads, is removed for it, comes back, and stalls again. Compare its p99 with
// that of "none".
func BenchmarkFanOutStalled(b *testing.B) {
	for _, stalls := range []bool{false, true} {
		name := "none"
		if stalls {
			name = "one"
		}
		b.Run(name, func(b *testing.B) {
			c, hub, node, watchers := crowd(b, 10000)
			deaf, id := watchers[0], watchers[0].ID()
			between := func() {
				if !stalls {
					deaf.take(nil)
					return
				}
				select {
				case <-deaf.Done():
				default:
					return
				}
				var err error
				if deaf, err = c.Connect(context.Background(), id, "deaf", SingleTailnetAuth()); err != nil {
					b.Fatal(err)
				}
				if err := deaf.Send(addTunnel(hub.ID())); err != nil {
					b.Fatal(err)
				}
			}
			reportTimes(b, fanOut(b, hub, node, watchers[1:], between))
			b.ReportMetric(float64(c.Snapshot().TooSlow), "removals")
		})
	}
}

// fanOut times updates of the hub until every watcher has its response; between
// is called between two of them and not timed.
func fanOut(b *testing.B, hub *Stream, node *tailnetv2.Node, watchers []*Stream, between func()) []time.Duration {
	var buf []byte
	times := make([]time.Duration, 0, b.N)
	for b.Loop() {
		node.PreferredDerp++
		start := time.Now()
		if err := hub.Send(updateSelf(node)); err != nil {
			b.Fatal(err)
		}
		for _, watcher := range watchers {
			var err error
			if buf, err = watcher.RecvWire(context.Background(), buf[:0]); err != nil {
				b.Fatal(err)
			}
		}
		times = append(times, time.Since(start))
		between()
	}
	return times
}

func reportTimes(b *testing.B, times []time.Duration) {
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Nanoseconds())/1000, "p50-µs")
	b.ReportMetric(float64(times[len(times)*99/100].Nanoseconds())/1000, "p99-µs")
}

func heap() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

func BenchmarkMayRelay(b *testing.B) {
	c, hub, _, watchers := crowd(b, 10000)
	for b.Loop() {
		if !c.MayRelay(watchers[0].key, hub.key) {
			b.Fatal("denied")
		}
	}
}
