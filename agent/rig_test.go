package agent

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"
	"go.uber.org/goleak"
	"tailscale.com/derp/derpserver"
	"tailscale.com/net/stunserver"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"

	"github.com/causewayhq/causeway/control"
	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/agentv2"
	"github.com/causewayhq/causeway/server/coordinator"
	tailnetsvc "github.com/causewayhq/causeway/server/tailnet"
	"github.com/causewayhq/causeway/tailnet"
	"github.com/causewayhq/causeway/tailnet/userspace"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// Upstream's network monitor and clocks of its packages live as long as the process.
		goleak.IgnoreTopFunction("tailscale.com/net/netmon.(*nlConn).Receive"),
	)
}

// patience is long because the machine may be busy; conditions are polled.
const patience = 30 * time.Second

const testToken = "agent-token-of-the-test"

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatalf("waited %s for %s", patience, what)
}

func testLogger() *slog.Logger {
	level := slog.LevelError
	if os.Getenv("CAUSEWAY_TEST_VERBOSE") != "" {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
}

// plane is a control plane: the real services and coordinator behind a
// listener that can go away and come back.
type plane struct {
	agentv2.DRPCAgentUnimplementedServer
	t           *testing.T
	url         *url.URL
	relays      proto.RelayMap
	coordinator *coordinator.Coordinator
	service     *tailnetsvc.Service
	web         *httptest.Server
	cut         context.CancelFunc
	serving     sync.WaitGroup
	address     string
	dials       atomic.Int32
	told        toldReports

	mu         sync.Mutex
	manifest   *agentv2.Manifest
	lifecycle  []agentv2.Lifecycle_State
	startup    *agentv2.Startup
	getStartup error
	// refuse is the status that agents are refused with; 0: none.
	refuse int
	// newest is the API version that the plane knows; "": any.
	newest   string
	versions []string // that agents asked for
	shown    string   // the last token
	suffix   string   // of names; "": none is told
	calls    []string // of manifest and startup, in order
	scripted toldScripts
}

func newPlane(t *testing.T) *plane {
	t.Helper()
	p := &plane{t: t, coordinator: coordinator.New(testLogger())}
	id := uuid.New()
	p.manifest = &agentv2.Manifest{
		AgentId: id[:], AgentName: "main", WorkspaceName: "myws", OwnerUsername: "alice", Directory: t.TempDir(),
		EnvironmentVariables: map[string]string{"FROM_MANIFEST": "home is $HOME"},
	}
	p.relays = startRelay(t)
	p.manifest.DerpMap = p.relays.Proto()
	p.service = &tailnetsvc.Service{
		Coordinator: p.coordinator, Logger: testLogger(), RelayMap: func() proto.RelayMap { return p.relays },
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.address = listener.Addr().String()
	p.url = &url.URL{Scheme: "http", Host: p.address}
	p.serve(listener)
	t.Cleanup(p.down)
	t.Cleanup(func() { p.coordinator.Close() })
	return p
}

func (p *plane) serve(listener net.Listener) {
	ctx, cancel := context.WithCancel(context.Background())
	p.cut = cancel
	routes := http.NewServeMux()
	routes.HandleFunc(control.AgentPath, func(w http.ResponseWriter, r *http.Request) {
		p.dials.Add(1)
		p.mu.Lock()
		p.shown = r.Header.Get(control.TokenHeader)
		refuse, id := p.refuse, uuid.UUID(p.manifest.GetAgentId())
		asked := r.URL.Query().Get("version")
		if p.versions = append(p.versions, asked); p.newest != "" && asked != p.newest {
			refuse = http.StatusBadRequest
		}
		p.mu.Unlock()
		if r.Header.Get(control.TokenHeader) != testToken {
			refuse = http.StatusUnauthorized
		}
		if refuse != 0 {
			w.WriteHeader(refuse)
			_, _ = io.WriteString(w, `{"message": "refused", "validations": [{"field": "version", "detail": "test"}]}`)
			return
		}
		p.accept(ctx, w, r, func(ctx context.Context, conn net.Conn) error {
			return p.service.ServeAgent(ctx, context.Background(), conn, id, "agent", p)
		})
	})
	routes.HandleFunc(suffixPath, func(w http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		_, _ = io.WriteString(w, `{"hostname_suffix": "`+p.suffix+`"}`)
	})
	routes.HandleFunc(control.UserPath, func(w http.ResponseWriter, r *http.Request) {
		p.accept(ctx, w, r, func(ctx context.Context, conn net.Conn) error {
			return p.service.ServeUser(ctx, context.Background(), conn, tailnetsvc.UserStream{
				PeerID: uuid.New(), UserID: uuid.New(), Auth: coordinator.SingleTailnetAuth(), Name: "user",
			})
		})
	})
	p.web = httptest.NewUnstartedServer(routes)
	p.web.Listener.Close()
	p.web.Listener = listener
	p.web.Start()
}

func (p *plane) accept(ctx context.Context, w http.ResponseWriter, r *http.Request, serve func(context.Context, net.Conn) error) {
	socket, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer socket.CloseNow()
	p.serving.Add(1)
	defer p.serving.Done()
	_ = serve(ctx, websocket.NetConn(ctx, socket, websocket.MessageBinary))
}

// down takes the control plane away; its relay stays.
func (p *plane) down() {
	p.cut()
	p.serving.Wait()
	p.web.CloseClientConnections()
	p.web.Close()
}

// up brings it back at the same address.
func (p *plane) up() {
	p.t.Helper()
	var listener net.Listener
	eventually(p.t, "the address to be free", func() bool {
		var err error
		listener, err = net.Listen("tcp", p.address)
		return err == nil
	})
	p.serve(listener)
}

func (p *plane) GetManifest(context.Context, *agentv2.GetManifestRequest) (*agentv2.Manifest, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = append(p.calls, "manifest")
	return p.manifest, nil
}

func (p *plane) UpdateStartup(_ context.Context, req *agentv2.UpdateStartupRequest) (*agentv2.Startup, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = append(p.calls, "startup")
	p.startup = req.GetStartup()
	return p.startup, p.getStartup
}

func (p *plane) UpdateLifecycle(_ context.Context, req *agentv2.UpdateLifecycleRequest) (*agentv2.Lifecycle, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lifecycle = append(p.lifecycle, req.GetLifecycle().GetState())
	return req.GetLifecycle(), nil
}

// startRelay serves DERP over plain HTTP, and STUN.
func startRelay(t *testing.T) proto.RelayMap {
	t.Helper()
	server := derpserver.New(key.NewNode(), func(string, ...any) {})
	routes := http.NewServeMux()
	routes.Handle("/derp", derpserver.Handler(server))
	routes.HandleFunc("/derp/latency-check", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	web := httptest.NewUnstartedServer(routes)
	web.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	web.Start()
	t.Cleanup(func() {
		server.Close()
		web.CloseClientConnections()
		web.Close()
	})
	ctx, cancel := context.WithCancel(context.Background())
	stun := stunserver.New(ctx)
	if err := stun.Listen("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = stun.Serve()
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	_, portText, _ := net.SplitHostPort(web.Listener.Addr().String())
	port, _ := strconv.Atoi(portText)
	return proto.RelayMap{
		DERPMap: &tailcfg.DERPMap{OmitDefaultRegions: true, Regions: map[int]*tailcfg.DERPRegion{7: {
			RegionID: 7, RegionCode: "test", RegionName: "Test",
			Nodes: []*tailcfg.DERPNode{{
				Name: "7a", RegionID: 7, HostName: "127.0.0.1", IPv4: "127.0.0.1", IPv6: "none", DERPPort: port,
				STUNPort: stun.LocalAddr().(*net.UDPAddr).Port,
			}},
		}}},
		PlainHTTP: map[string]bool{"7a": true},
	}
}

// running is an agent under test.
type running struct {
	t         *testing.T
	cancel    context.CancelFunc
	ended     chan error
	connected chan []string
	stateDir  string
}

// startAgent runs an agent until the test ends.
func (p *plane) startAgent(stateDir string) *running {
	p.t.Helper()
	return p.startAgentWith(stateDir, testLogger())
}

func (p *plane) startAgentWith(stateDir string, logger *slog.Logger) *running {
	p.t.Helper()
	if stateDir == "" {
		stateDir = filepath.Join(p.t.TempDir(), "state")
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{t: p.t, cancel: cancel, ended: make(chan error, 1), connected: make(chan []string, 16), stateDir: stateDir}
	config := Config{
		Logger: logger, URL: p.url, Token: FixedToken(testToken), StateDir: stateDir, Version: "v-test",
		Connected: func(names []string) { r.connected <- names },
	}
	go func() { r.ended <- Run(ctx, config) }()
	p.t.Cleanup(func() { _ = r.stop() })
	return r
}

// stop ends the agent, once.
func (r *running) stop() error {
	r.cancel()
	select {
	case err, open := <-r.ended:
		if open {
			close(r.ended)
		}
		return err
	case <-time.After(patience):
		r.t.Error("the agent does not end")
		return nil
	}
}

func (r *running) wait() []string {
	r.t.Helper()
	select {
	case names := <-r.connected:
		return names
	case err := <-r.ended:
		r.t.Fatalf("the agent ended: %v", err)
	case <-time.After(patience):
		r.t.Fatal("the agent does not connect")
	}
	return nil
}

// user is a user's node in the tailnet.
type user struct {
	t   *testing.T
	net *userspace.Net
}

// newUser joins the tailnet with a tunnel to the agent.
func (p *plane) newUser() *user {
	p.t.Helper()
	id, agentID := uuid.New(), uuid.UUID(p.manifest.GetAgentId())
	node, err := userspace.New(userspace.Config{
		Logger: testLogger(), Identity: tailnet.NewIdentity(), NodeID: proto.NodeIDFromUUID(id),
		Addresses: []netip.Prefix{netip.PrefixFrom(proto.AddrFromUUID(proto.ServicePrefix, id), 128)},
	})
	if err != nil {
		p.t.Fatal(err)
	}
	loop := &control.Loop{
		Dialer:      &control.Dialer{URL: p.url, Path: control.UserPath, Token: func() string { return "user" }},
		Coordinatee: node.Engine(), Destinations: control.NewDestinations(agentID),
		RelayMap: node.Engine().SetRelayMap, Connected: func(connected bool, _ error) { node.Engine().SetControlConnected(connected) },
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = loop.Run(ctx)
	}()
	p.t.Cleanup(func() {
		cancel()
		<-done
		if err := node.Close(); err != nil {
			p.t.Error(err)
		}
	})
	return &user{t: p.t, net: node}
}

// dial connects to a port of the agent, as often as it takes.
func (u *user) dial(addr netip.Addr, port uint16) net.Conn {
	u.t.Helper()
	var conn net.Conn
	eventually(u.t, "a connection to the agent", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		var err error
		conn, err = u.net.DialTCP(ctx, netip.AddrPortFrom(addr, port))
		return err == nil
	})
	u.t.Cleanup(func() { conn.Close() })
	return conn
}
