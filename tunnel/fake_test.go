package tunnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"
	wgtun "github.com/tailscale/wireguard-go/tun"
	"go.uber.org/goleak"
	"storj.io/drpc/drpcmux"

	"github.com/causewayhq/causeway/dns"
	"github.com/causewayhq/causeway/dns/tcp53"
	"github.com/causewayhq/causeway/netcfg"
	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/mux"
	"github.com/causewayhq/causeway/proto/tailnetv2"
	"github.com/causewayhq/causeway/tailnet"
	"github.com/causewayhq/causeway/tun"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// plane is a small control plane: REST, websocket, and the streams that a
// desktop opens.
type plane struct {
	tailnetv2.DRPCTailnetUnimplementedServer
	url *url.URL

	mu         sync.Mutex
	user       uuid.UUID
	username   string
	connection string
	status     int // 0: serve; else refuse everything with it
	snapshot   *tailnetv2.WorkspaceUpdate
	updates    chan *tailnetv2.WorkspaceUpdate
	peers      []*tailnetv2.CoordinateResponse_PeerUpdate
	sockets    []*websocket.Conn
	resumes    []string // resume_token of each dial
	said       []*tailnetv2.CoordinateRequest
	active     sync.WaitGroup
}

func newPlane(t *testing.T) *plane {
	p := &plane{user: uuid.New(), username: "alice", connection: `{"hostname_suffix":"coder","derp_map":{"Regions":{"999":{"RegionID":999,"RegionCode":"home","RegionName":"Home","EmbeddedRelay":true,"Nodes":[{"Name":"999b","RegionID":999,"HostName":"x"}]}}}}`,
		updates: make(chan *tailnetv2.WorkspaceUpdate, 4), snapshot: snapshot("main", "myws")}
	server := httptest.NewServer(p)
	p.url, _ = url.Parse(server.URL)
	t.Cleanup(func() { p.drop(); server.Close(); p.active.Wait() })
	return p
}

func (p *plane) set(change func(*plane)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(p)
}

// refuse makes the plane unreachable for all that it is good for: requests get
// the status, and connections are cut.
func (p *plane) refuse(status int) {
	p.set(func(p *plane) { p.status = status })
	if status != 0 {
		p.drop()
	}
}

func (p *plane) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, socket := range p.sockets {
		_ = socket.CloseNow()
	}
	p.sockets = nil
}

func (p *plane) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.active.Add(1)
	defer p.active.Done()
	p.mu.Lock()
	status, user, username, connection := p.status, p.user, p.username, p.connection
	p.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	switch {
	case status != 0:
		w.WriteHeader(status)
		fmt.Fprint(w, `{"message":"refused by the test"}`)
	case r.URL.Path == "/api/v2/users/me":
		fmt.Fprintf(w, `{"id":%q,"username":%q}`, user, username)
	case r.URL.Path == "/api/v2/workspaceagents/connection":
		fmt.Fprint(w, connection)
	case r.URL.Path == "/api/v2/tailnet":
		p.upgrade(w, r)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func (p *plane) upgrade(w http.ResponseWriter, r *http.Request) {
	socket, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	p.set(func(p *plane) {
		p.sockets = append(p.sockets, socket)
		p.resumes = append(p.resumes, r.URL.Query().Get("resume_token"))
	})
	router := drpcmux.New()
	_ = tailnetv2.DRPCRegisterTailnet(router, p)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	_ = mux.Serve(ctx, websocket.NetConn(ctx, socket, websocket.MessageBinary), router)
}

func (p *plane) Coordinate(stream tailnetv2.DRPCTailnet_CoordinateStream) error {
	p.mu.Lock()
	peers := p.peers
	p.mu.Unlock()
	if len(peers) > 0 {
		if err := stream.Send(&tailnetv2.CoordinateResponse{PeerUpdates: peers}); err != nil {
			return err
		}
	}
	for {
		request, err := stream.Recv()
		if err != nil {
			return nil
		}
		p.set(func(p *plane) { p.said = append(p.said, request) })
		if request.GetDisconnect() != nil {
			return nil
		}
	}
}

func (p *plane) StreamDERPMaps(_ *tailnetv2.StreamDERPMapsRequest, stream tailnetv2.DRPCTailnet_StreamDERPMapsStream) error {
	relays := &tailnetv2.DERPMap{Regions: map[int64]*tailnetv2.DERPMap_Region{999: {RegionId: 999, RegionCode: "home", RegionName: "Home"}}}
	if err := stream.Send(relays); err != nil {
		return err
	}
	<-stream.Context().Done()
	return nil
}

func (p *plane) WorkspaceUpdates(_ *tailnetv2.WorkspaceUpdatesRequest, stream tailnetv2.DRPCTailnet_WorkspaceUpdatesStream) error {
	p.mu.Lock()
	first := p.snapshot
	p.mu.Unlock()
	if err := stream.Send(first); err != nil {
		return err
	}
	for {
		select {
		case update := <-p.updates:
			if err := stream.Send(update); err != nil {
				return err
			}
		case <-stream.Context().Done():
			return nil
		}
	}
}

func (p *plane) RefreshResumeToken(context.Context, *tailnetv2.RefreshResumeTokenRequest) (*tailnetv2.RefreshResumeTokenResponse, error) {
	return &tailnetv2.RefreshResumeTokenResponse{Token: "resume-1", ExpiresAt: inAnHour()}, nil
}

// engine is a data plane that remembers what it was told.
type engine struct {
	mu        sync.Mutex
	kept      saved
	device    tun.Device
	relays    []proto.RelayMap
	connected []bool
	updates   []*tailnetv2.CoordinateResponse_PeerUpdate
	handshake []uuid.UUID
	peers     map[uuid.UUID]tailnet.PeerStatus
	pings     int
	rebinds   int
	closed    bool
}

func (e *engine) do(f func()) { e.mu.Lock(); defer e.mu.Unlock(); f() }

func (e *engine) UpdatePeers(u []*tailnetv2.CoordinateResponse_PeerUpdate) error {
	e.do(func() { e.updates = append(e.updates, u...) })
	return nil
}
func (e *engine) SetAllPeersLost()                           {}
func (e *engine) SetNodeCallback(call func(*tailnetv2.Node)) { call(&tailnetv2.Node{Id: 1}) }
func (e *engine) SetTunnelDestination(uuid.UUID)             {}
func (e *engine) SetRelayMap(m proto.RelayMap)               { e.do(func() { e.relays = append(e.relays, m) }) }
func (e *engine) SetControlConnected(up bool)                { e.do(func() { e.connected = append(e.connected, up) }) }
func (e *engine) Handshake(ids []uuid.UUID) {
	e.do(func() { e.handshake = append(e.handshake, ids...) })
}
func (e *engine) Home() (int, map[int]time.Duration) {
	return 999, map[int]time.Duration{999: time.Millisecond}
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
func (e *engine) Ping(ctx context.Context, addr netip.Addr) (tailnet.PingResult, error) {
	e.do(func() { e.pings++ })
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
	deaf    bool // its resolver does not find our names
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

func (h *host) Apply(_ context.Context, want netcfg.Config) error {
	if err := want.Validate(); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.applied = append(h.applied, want)
	if want.Interface == "" {
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

func (h *host) Lookup(context.Context, string) ([]netip.Addr, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.deaf {
		return nil, errors.New("no such host")
	}
	return []netip.Addr{proto.DNSAddr}, nil
}

func (h *host) DNSMode() string { return "fake" }
func (h *host) Cleanup(context.Context) error {
	h.order.add("host cleaned")
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cleaned++
	return nil
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

// rig is a tunnel with everything around it faked but the control connection.
type rig struct {
	*Tunnel
	t     *testing.T
	plane *plane
	host  *host
	order *order

	mu      sync.Mutex
	engines []*engine
	stop    func() error
}

func newRig(t *testing.T, p *plane, dir string) *rig {
	t.Helper()
	r := &rig{t: t, plane: p, order: &order{}}
	r.host = &host{order: r.order}
	r.Tunnel = New(Config{
		Logger: slog.New(slog.DiscardHandler), StateDir: dir, OS: r.host, Interface: "fake0",
		Profile: Profile{URL: p.url, Token: "token-of-alice"},
		OpenDevice: func(string, int) (tun.Device, error) {
			r.order.add("device opened")
			return newDevice(r.order), nil
		},
	})
	r.parts = func(_ context.Context, log *slog.Logger, _ Profile, _ string, device tun.Device, kept saved) (Engine, answers, error) {
		r.order.add("engine started")
		e := &engine{device: device, kept: kept, peers: map[uuid.UUID]tailnet.PeerStatus{}}
		answering := &resolver{dns: dns.New([]string{kept.Suffix}), ready: make(chan struct{}), log: log}
		tcp, err := tcp53.New(proto.DNSAddr, answering.dns, answering.send, log)
		if err != nil {
			return nil, nil, err
		}
		answering.tcp = tcp
		r.mu.Lock()
		defer r.mu.Unlock()
		r.engines = append(r.engines, e)
		return e, answering, nil
	}
	return r
}

// start runs the tunnel until stop, or until the test ends.
func (r *rig) start() *rig {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	var once sync.Once
	var result error
	r.stop = func() error { once.Do(func() { cancel(); result = <-done }); return result }
	r.t.Cleanup(func() { _ = r.stop() })
	return r
}

func (r *rig) engine() *engine {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.engines) == 0 {
		return nil
	}
	return r.engines[len(r.engines)-1]
}

// wait waits for a status by the tunnel's own notifications, which shows that
// none is missing.
func (r *rig) wait(what string, good func(Status) bool) Status {
	r.t.Helper()
	deadline := time.After(15 * time.Second)
	for {
		changed := r.Changed()
		status := r.Status()
		if good(status) {
			return status
		}
		select {
		case <-changed:
		case <-deadline:
			r.t.Fatalf("never happened: %s; status %+v", what, status)
		}
	}
}

func (r *rig) waitState(want State) Status {
	r.t.Helper()
	return r.wait(want.String(), func(s Status) bool { return s.State == want })
}

// eventually polls for a state that nobody notifies of.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if condition() {
			return
		}
	}
	t.Fatalf("never happened: %s", what)
}

func idOf(key string) uuid.UUID    { return uuid.NewSHA1(uuid.Nil, []byte(key)) }
func addrOf(key string) netip.Addr { return proto.AddrFromUUID(proto.ServicePrefix, idOf(key)) }

func message(key, name, workspace string) *tailnetv2.Agent {
	id, of := idOf(key), idOf(workspace)
	return &tailnetv2.Agent{Id: id[:], Name: name, WorkspaceId: of[:]}
}

// snapshot is one workspace with one agent; the agent's name is its key.
func snapshot(agent, workspace string) *tailnetv2.WorkspaceUpdate {
	id := idOf(workspace)
	return &tailnetv2.WorkspaceUpdate{
		UpsertedWorkspaces: []*tailnetv2.Workspace{{Id: id[:], Name: workspace, Status: tailnetv2.Workspace_RUNNING}},
		UpsertedAgents:     []*tailnetv2.Agent{message(agent, agent, workspace)},
	}
}
