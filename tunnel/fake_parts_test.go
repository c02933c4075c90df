package tunnel

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	wgtun "github.com/tailscale/wireguard-go/tun"
	protobuf "google.golang.org/protobuf/proto"

	"github.com/causewayhq/causeway/netcfg"
	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/tailnetv2"
	"github.com/causewayhq/causeway/tailnet"
	"github.com/causewayhq/causeway/tun"
)

// engine is a data plane that remembers what it was told.
type engine struct {
	mu        sync.Mutex
	kept      saved
	began     func()
	homed     func()
	device    tun.Device
	relays    []proto.RelayMap
	connected []bool
	updates   []*tailnetv2.CoordinateResponse_PeerUpdate
	handshake []uuid.UUID
	peers     map[uuid.UUID]tailnet.PeerStatus
	pings     int
	rebinds   int
	homeless  error       // why the home relay is not there
	looks     int         // at the home relay
	silent    bool        // pings get no answer
	asked     []time.Time // when pings began
	closed    bool
}

func (e *engine) do(f func()) { e.mu.Lock(); defer e.mu.Unlock(); f() }

func (e *engine) rebindCount() (count int) { e.do(func() { count = e.rebinds }); return count }

func (e *engine) UpdatePeers(u []*tailnetv2.CoordinateResponse_PeerUpdate) error {
	e.do(func() { e.updates = append(e.updates, u...) })
	return nil
}
func (e *engine) SetAllPeersLost()                           {}
func (e *engine) SetNodeCallback(call func(*tailnetv2.Node)) { call(&tailnetv2.Node{Id: 1}) }
func (e *engine) SetTunnelDestination(uuid.UUID)             {}
func (e *engine) ClearTunnelDestination(uuid.UUID)           {}
func (e *engine) SetRelayMap(m proto.RelayMap)               { e.do(func() { e.relays = append(e.relays, m) }) }
func (e *engine) SetControlConnected(up bool)                { e.do(func() { e.connected = append(e.connected, up) }) }
func (e *engine) Handshake(ids []uuid.UUID) {
	e.do(func() { e.handshake = append(e.handshake, ids...) })
}
func (e *engine) Home() (int, map[int]time.Duration) {
	return 999, map[int]time.Duration{999: time.Millisecond}
}
func (e *engine) HomeRelay(context.Context, bool) (err error) {
	e.do(func() { e.looks++; err = e.homeless })
	return err
}
func (e *engine) MeasureNetwork(context.Context) tailnet.NetworkReport {
	return tailnet.NetworkReport{UDP: true, Latency: map[int]time.Duration{999: time.Millisecond}}
}
func (e *engine) Identity() tailnet.Identity { id := e.kept.Identity; id.Port = 4242; return id }
func (e *engine) Rebind()                    { e.do(func() { e.rebinds++ }) }
func (e *engine) Close() error               { e.do(func() { e.closed = true }); return e.device.Close() }
func (e *engine) Peer(id uuid.UUID) (tailnet.PeerStatus, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	peer, found := e.peers[id]
	return peer, found
}
func (e *engine) ActivePeers() (ids []uuid.UUID) {
	e.do(func() {
		for id := range e.peers {
			ids = append(ids, id)
		}
	})
	return ids
}

// NodeWires makes them of what it was told, as the real one does.
func (e *engine) NodeWires(ids []uuid.UUID) map[uuid.UUID][]byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	nodes := map[uuid.UUID][]byte{}
	for _, update := range e.updates {
		if id := uuid.UUID(update.GetId()); update.GetNode() != nil && slices.Contains(ids, id) {
			nodes[id], _ = protobuf.Marshal(update.GetNode())
		}
	}
	return nodes
}
func (e *engine) Ping(ctx context.Context, addr netip.Addr) (tailnet.PingResult, error) {
	silent := false
	e.do(func() { e.pings++; e.asked = append(e.asked, time.Now()); silent = e.silent })
	if silent {
		<-ctx.Done()
		return tailnet.PingResult{}, ctx.Err()
	}
	if addr == addrOf("gone") {
		return tailnet.PingResult{}, errors.New("no matching peer")
	}
	return tailnet.PingResult{Latency: 3 * time.Millisecond, RelayRegion: 999}, ctx.Err()
}

// host is an operating system that remembers what it was asked for.
type host struct {
	mu      sync.Mutex
	applied []netcfg.Config
	fail    error
	stuck   error         // what Cleanup fails with
	trouble error         // what Trouble tells
	mode    string        // what DNSMode tells, "fake" if it is empty
	deaf    bool          // its resolver does not find our names
	mends   bool          // Apply makes it hear again
	slow    time.Duration // what its resolver takes to fail
	cleaned int
	changed func(netcfg.Event)
	order   *order
}

// order is the order of events across the fakes.
type order struct {
	mu   sync.Mutex
	list []string
}

func (o *order) add(event string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.list = append(o.list, event)
}

func (h *host) Upstreams() []netip.Addr { return nil }

func (h *host) Apply(_ context.Context, want netcfg.Config) error {
	if err := want.Validate(); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.applied = append(h.applied, want)
	h.deaf = h.deaf && !h.mends
	if want.Interface == "" && want.DNS.Hosts != nil {
		h.order.add("names kept")
	} else if want.Interface == "" {
		h.order.add("host emptied")
	} else if len(h.applied) == 1 {
		h.order.add("host configured")
	}
	return h.fail
}

func (h *host) Watch(ctx context.Context, changed func(netcfg.Event)) error {
	h.mu.Lock()
	h.changed = changed
	h.mu.Unlock()
	<-ctx.Done()
	return ctx.Err()
}

func (h *host) Lookup(ctx context.Context, _ string) ([]netip.Addr, error) {
	h.mu.Lock()
	deaf, slow := h.deaf, h.slow
	h.mu.Unlock()
	if deaf {
		pause(ctx, slow)
		return nil, errors.New("resolved: no such host")
	}
	return []netip.Addr{proto.DNSAddr}, nil
}

func (h *host) Trouble() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.trouble
}

func (h *host) DNSMode() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return cmp.Or(h.mode, "fake")
}
func (h *host) Cleanup(context.Context) error {
	h.order.add("host cleaned")
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cleaned++
	return h.stuck
}
func (h *host) Close() error { return nil }

func (h *host) last() netcfg.Config {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.applied) == 0 {
		return netcfg.Config{}
	}
	return h.applied[len(h.applied)-1]
}

// names are what the host was last asked to have in its hosts file.
func (h *host) names() []netcfg.Host {
	list, _ := h.last().DNS.Hosts.List()
	return list
}

// device is a TUN device without a kernel: packets that the host sends go into
// in, packets for the host come out of out.
type device struct {
	in, out chan []byte
	events  chan wgtun.Event
	closed  chan struct{}
	once    sync.Once
	order   *order
}

func newDevice(o *order) *device {
	d := &device{in: make(chan []byte, 16), out: make(chan []byte, 64), events: make(chan wgtun.Event, 1), closed: make(chan struct{}), order: o}
	d.events <- wgtun.EventUp
	return d
}

func (d *device) File() *os.File { return nil }
func (d *device) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	select {
	case packet := <-d.in:
		sizes[0] = copy(bufs[0][offset:], packet)
		return 1, nil
	case <-d.closed:
		return 0, os.ErrClosed
	}
}
func (d *device) Write(bufs [][]byte, offset int) (int, error) {
	for _, packet := range bufs {
		select {
		case d.out <- slices.Clone(packet[offset:]):
		case <-d.closed:
			return 0, io.ErrClosedPipe
		default:
		}
	}
	return len(bufs), nil
}
func (d *device) MTU() (int, error)          { return MTU, nil }
func (d *device) Name() (string, error)      { return "fake0", nil }
func (d *device) Events() <-chan wgtun.Event { return d.events }
func (d *device) BatchSize() int             { return 1 }
func (d *device) Close() error {
	d.once.Do(func() { d.order.add("device closed"); close(d.closed); close(d.events) })
	return nil
}
