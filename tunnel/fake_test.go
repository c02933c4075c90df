package tunnel

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"
	"go.uber.org/goleak"
	"storj.io/drpc/drpcmux"

	"github.com/causewayhq/causeway/control"
	"github.com/causewayhq/causeway/dns"
	"github.com/causewayhq/causeway/dns/tcp53"
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
	status     int    // 0: serve; else refuse everything with it
	token      string // the only good one; empty: every one is
	refused    func() // called before another is refused
	snapshot   *tailnetv2.WorkspaceUpdate
	updates    chan *tailnetv2.WorkspaceUpdate
	peers      []*tailnetv2.CoordinateResponse_PeerUpdate
	sockets    []*websocket.Conn
	resumes    []string // resume_token of each dial
	lastWords  string   // ends the next coordination, once
	said       []*tailnetv2.CoordinateRequest
	events     []*tailnetv2.TelemetryEvent
	active     sync.WaitGroup
}

func newPlane(t *testing.T) *plane {
	p := barePlane()
	server := httptest.NewServer(p)
	p.url, _ = url.Parse(server.URL)
	t.Cleanup(func() { p.drop(); server.Close(); p.active.Wait() })
	return p
}

// barePlane is one that is not served yet.
func barePlane() *plane {
	return &plane{user: uuid.New(), username: "alice", connection: `{"hostname_suffix":"coder","derp_map":{"Regions":{"999":{"RegionID":999,"RegionCode":"home","RegionName":"Home","EmbeddedRelay":true,"Nodes":[{"Name":"999b","RegionID":999,"HostName":"x"}]}}}}`,
		updates: make(chan *tailnetv2.WorkspaceUpdate, 4), snapshot: snapshot("main", "myws")}
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
	status, user, username, connection, refused := p.status, p.user, p.username, p.connection, p.refused
	stranger := p.token != "" && r.Header.Get(control.TokenHeader) != p.token
	p.mu.Unlock()
	if stranger {
		status = http.StatusUnauthorized
		if refused != nil {
			refused()
		}
	}
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
	peers, last := p.peers, p.lastWords
	p.lastWords = ""
	p.mu.Unlock()
	if last != "" {
		return stream.Send(&tailnetv2.CoordinateResponse{Error: last})
	}
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

func (p *plane) PostTelemetry(_ context.Context, request *tailnetv2.TelemetryRequest) (*tailnetv2.TelemetryResponse, error) {
	p.set(func(p *plane) { p.events = append(p.events, request.GetEvents()...) })
	return &tailnetv2.TelemetryResponse{}, nil
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
	r.parts = func(in ingredients) (Engine, answers, error) {
		r.order.add("engine started")
		e := &engine{device: in.device, kept: in.kept, began: in.began, homed: in.homed, peers: map[uuid.UUID]tailnet.PeerStatus{}}
		answering := &resolver{dns: dns.New([]string{in.kept.Suffix}), ready: make(chan struct{}), log: in.log}
		tcp, err := tcp53.New(proto.DNSAddr, answering.dns, nil, answering.send, in.log)
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
