package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/google/uuid"
	"tailscale.com/types/key"

	cwproto "github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/tailnetv2"
	"github.com/causewayhq/causeway/server/coordinator"
	tailnetsvc "github.com/causewayhq/causeway/server/tailnet"
)

const (
	crowdTunnels  = 10  // of each client
	crowdWatchers = 100 // of the one agent whose node changes
	// crowdSmall and crowdLarge are the two sizes whose costs are compared.
	crowdSmall, crowdLarge = 1000, 10000
)

// crowd is a coordinator with many peers, half of them clients with tunnels.
type crowd struct {
	c        *coordinator.Coordinator
	hub      *coordinator.Stream
	node     *tailnetv2.Node
	watchers []*coordinator.Stream
}

func everybodyMay(context.Context, uuid.UUID) error { return nil }

func newCrowd(peers int) (*crowd, error) {
	w := &crowd{c: coordinator.New(slog.New(slog.DiscardHandler))}
	hub := uuid.New()
	w.node = fullNode(hub)
	var err error
	if w.hub, err = w.join(hub, coordinator.AgentAuth(hub)); err != nil {
		return nil, err
	}
	var agents []uuid.UUID
	var streams []*coordinator.Stream
	for range peers / 2 {
		id := uuid.New()
		s, err := w.join(id, coordinator.AgentAuth(id))
		if err != nil {
			return nil, err
		}
		agents, streams = append(agents, id), append(streams, s)
	}
	for i := range peers / 2 {
		s, err := w.join(uuid.New(), coordinator.UserAuth(everybodyMay))
		if err != nil {
			return nil, err
		}
		for j := range crowdTunnels {
			if err := s.Send(tunnelTo(agents[(i+j*37)%len(agents)])); err != nil {
				return nil, err
			}
		}
		if i < crowdWatchers {
			if err := s.Send(tunnelTo(hub)); err != nil {
				return nil, err
			}
			w.watchers = append(w.watchers, s)
		}
		streams = append(streams, s)
	}
	for _, s := range append(streams, w.hub) {
		drain(s)
	}
	return w, nil
}

// join connects a peer and announces its node.
func (w *crowd) join(id uuid.UUID, auth coordinator.Auth) (*coordinator.Stream, error) {
	s, err := w.c.Connect(context.Background(), id, "bench", auth)
	if err != nil {
		return nil, err
	}
	node := w.node
	if w.hub != nil {
		node = fullNode(id)
	}
	return s, s.Send(&tailnetv2.CoordinateRequest{UpdateSelf: &tailnetv2.CoordinateRequest_UpdateSelf{Node: node}})
}

func drain(s *coordinator.Stream) {
	over, cancel := context.WithCancel(context.Background())
	cancel()
	for {
		if _, err := s.RecvWire(over, nil); err != nil {
			return
		}
	}
}

func tunnelTo(id uuid.UUID) *tailnetv2.CoordinateRequest {
	return &tailnetv2.CoordinateRequest{AddTunnel: &tailnetv2.CoordinateRequest_Tunnel{Id: id[:]}}
}

// fullNode is a node with all that real ones have.
func fullNode(id uuid.UUID) *tailnetv2.Node {
	public, _ := key.NewNode().Public().MarshalBinary() // never fails
	address := cwproto.AddrFromUUID(cwproto.ServicePrefix, id).String() + "/128"
	return &tailnetv2.Node{
		Id: cwproto.NodeIDFromUUID(id), Key: public, Disco: key.NewDisco().Public().String(), PreferredDerp: 999,
		DerpLatency: map[string]float64{"999-v4": 0.01}, Addresses: []string{address}, AllowedIps: []string{address},
		Endpoints: []string{"192.0.2.1:41641", "[2001:db8::1]:41641", "10.0.0.7:41641", "198.51.100.3:1234"},
	}
}

// change announces a new node of the hub.
func (w *crowd) change() error {
	w.node.PreferredDerp = w.node.PreferredDerp%1000 + 1
	return w.hub.Send(&tailnetv2.CoordinateRequest{UpdateSelf: &tailnetv2.CoordinateRequest_UpdateSelf{Node: w.node}})
}

// fanOut times updates until every watcher has its response, and gives the CPU
// time of one delivery.
func (w *crowd) fanOut(updates int, watchers []*coordinator.Stream) (times []time.Duration, delivery float64, err error) {
	before := cpuTime()
	var buf []byte
	for range updates {
		began := time.Now()
		if err := w.change(); err != nil {
			return nil, 0, err
		}
		for _, watcher := range watchers {
			if buf, err = watcher.RecvWire(context.Background(), buf[:0]); err != nil {
				return nil, 0, err
			}
		}
		times = append(times, time.Since(began))
	}
	return times, micros(cpuTime()-before) / float64(updates*len(watchers)), nil
}

// cpuTime is what this process has used.
func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// measureFanOut is bar 11.
func measureFanOut(ctx context.Context, flags *flag.FlagSet, args []string) error {
	updates := flags.Int("updates", 1000, "in one measurement")
	pairs := flags.Int("pairs", 5, "measurements of each side")
	if err := flags.Parse(args); err != nil {
		return err
	}
	small, err := newCrowd(crowdSmall)
	if err != nil {
		return err
	}
	defer small.c.Close()
	large, err := newCrowd(crowdLarge)
	if err != nil {
		return err
	}
	defer large.c.Close()
	result := figures{}
	for range *pairs {
		for name, w := range map[string]*crowd{"small": small, "large": large} {
			times, delivery, err := w.fanOut(*updates, w.watchers)
			if err != nil {
				return err
			}
			result.add(name+" p99", millis(percentile(times, 99)))
			result.add(name+" delivery", delivery)
		}
	}
	if err := large.stalled(result, *updates, *pairs); err != nil {
		return err
	}
	if err := large.remote(ctx, result, *updates, *pairs); err != nil {
		return err
	}
	return result.print()
}

// stalled compares the updates of all others with and without a watcher that
// never reads. Its queue holds 512: with more updates than that its removal is
// among what is timed. It comes back for the next measurement.
func (w *crowd) stalled(result figures, updates, pairs int) error {
	id := uuid.New()
	for range pairs {
		times, _, err := w.fanOut(updates, w.watchers)
		if err != nil {
			return err
		}
		result.add("without stalled p99", millis(percentile(times, 99)))
		deaf, err := w.c.Connect(context.Background(), id, "deaf", coordinator.SingleTailnetAuth())
		if err != nil {
			return err
		}
		if err := deaf.Send(tunnelTo(w.hub.ID())); err != nil {
			return err
		}
		if times, _, err = w.fanOut(updates, w.watchers); err != nil {
			return err
		}
		result.add("with stalled p99", millis(percentile(times, 99)))
		deaf.Close()
	}
	return nil
}

// remote is the same with watchers behind the product's framing: a time ends
// when the last of them has decoded the update.
func (w *crowd) remote(ctx context.Context, result figures, updates, pairs int) error {
	for _, watcher := range w.watchers {
		watcher.Close()
	}
	service := &tailnetsvc.Service{Coordinator: w.c, RelayMap: func() cwproto.RelayMap { return cwproto.RelayMap{} }, Logger: slog.New(slog.DiscardHandler)}
	dialer, stop, err := serveFramed(ctx, func(conn net.Conn) {
		_ = service.ServeUser(ctx, ctx, conn, tailnetsvc.UserStream{PeerID: uuid.New(), Auth: coordinator.UserAuth(everybodyMay)})
	})
	if err != nil {
		return err
	}
	defer stop()
	arrived := make(chan int32, 4*crowdWatchers)
	var reading sync.WaitGroup
	defer reading.Wait()
	for range crowdWatchers {
		conn, err := dialer.Dial(ctx, "")
		if err != nil {
			return err
		}
		defer conn.Close()
		stream, err := tailnetv2.NewDRPCTailnetClient(conn).Coordinate(ctx)
		if err != nil {
			return err
		}
		if err := stream.Send(tunnelTo(w.hub.ID())); err != nil {
			return err
		}
		reading.Go(func() {
			for {
				response, err := stream.Recv()
				if err != nil {
					return
				}
				for _, update := range response.GetPeerUpdates() {
					arrived <- update.GetNode().GetPreferredDerp()
				}
			}
		})
	}
	for range crowdWatchers { // the node as it is, by the new tunnels
		<-arrived
	}
	for range pairs {
		times, delivery, err := w.updatesTo(arrived, updates)
		if err != nil {
			return err
		}
		result.add("remote p99", millis(percentile(times, 99)))
		result.add("remote delivery", delivery)
	}
	return nil
}

func (w *crowd) updatesTo(arrived <-chan int32, updates int) (times []time.Duration, delivery float64, err error) {
	before := cpuTime()
	for range updates {
		began := time.Now()
		if err := w.change(); err != nil {
			return nil, 0, err
		}
		for range crowdWatchers {
			select {
			case <-arrived:
			case <-time.After(10 * time.Second):
				return nil, 0, fmt.Errorf("wait for an update: %w", context.DeadlineExceeded)
			}
		}
		times = append(times, time.Since(began))
	}
	return times, micros(cpuTime()-before) / float64(updates*crowdWatchers), nil
}
