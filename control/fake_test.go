package control

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"
	"go.uber.org/goleak"
	"storj.io/drpc/drpcmux"

	"github.com/causewayhq/causeway/proto/mux"
	"github.com/causewayhq/causeway/proto/tailnetv2"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// plane is a hand-written control plane: real HTTP, websocket, yamux and dRPC,
// with answers that the test chooses.
type plane struct {
	tailnetv2.DRPCTailnetUnimplementedServer

	reject     func(dial int, r *http.Request) (int, string) // 0: accept
	coordinate func(dial int, stream tailnetv2.DRPCTailnet_CoordinateStream) error
	workspaces func(dial int, stream tailnetv2.DRPCTailnet_WorkspaceUpdatesStream) error
	relays     *tailnetv2.DERPMap
	relayMaps  func(dial int, stream tailnetv2.DRPCTailnet_StreamDERPMapsStream) error
	telemetry  func(dial int, in *tailnetv2.TelemetryRequest) error
	header     http.Header                                                            // of every rejection
	serve      func(ctx context.Context, socket *websocket.Conn, router *drpcmux.Mux) // nil: mux.Serve
	refresh    func(dial int) (*tailnetv2.RefreshResumeTokenResponse, error)

	mu      sync.Mutex
	dials   []dialed
	sockets []*websocket.Conn
	active  sync.WaitGroup
}

type dialed struct {
	at    time.Time
	query url.Values
	head  http.Header
	path  string
}

func (p *plane) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.active.Add(1)
	defer p.active.Done()
	p.mu.Lock()
	p.dials = append(p.dials, dialed{time.Now(), r.URL.Query(), r.Header.Clone(), r.URL.Path})
	number, reject := len(p.dials), p.reject
	p.mu.Unlock()
	if reject != nil {
		if status, body := reject(number, r); status != 0 {
			maps.Copy(w.Header(), p.header)
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
			return
		}
	}
	socket, err := websocket.Accept(w, r, &websocket.AcceptOptions{CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		return
	}
	socket.SetReadLimit(-1)
	p.mu.Lock()
	p.sockets = append(p.sockets, socket)
	p.mu.Unlock()
	router := drpcmux.New()
	if err := tailnetv2.DRPCRegisterTailnet(router, &onePlane{plane: p, dial: number}); err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if p.serve != nil {
		p.serve(ctx, socket, router)
		return
	}
	_ = mux.Serve(ctx, &byteStream{ctx: ctx, socket: socket, ended: func(error) {}}, router)
}

// setReject changes the answers of a running plane.
func (p *plane) setReject(reject func(int, *http.Request) (int, string)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reject = reject
}

// drop cuts the newest connection.
func (p *plane) drop() {
	p.mu.Lock()
	socket := p.sockets[len(p.sockets)-1]
	p.mu.Unlock()
	_ = socket.CloseNow()
}

// end ends the newest connection politely, with a reason.
func (p *plane) end(code websocket.StatusCode, reason string) {
	p.mu.Lock()
	socket := p.sockets[len(p.sockets)-1]
	p.mu.Unlock()
	_ = socket.Close(code, reason)
}

func (p *plane) seen() []dialed {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]dialed(nil), p.dials...)
}

// onePlane serves one connection.
type onePlane struct {
	*plane
	dial int
}

func (p *onePlane) Coordinate(stream tailnetv2.DRPCTailnet_CoordinateStream) error {
	if p.coordinate != nil {
		return p.coordinate(p.dial, stream)
	}
	for {
		request, err := stream.Recv()
		if err != nil || request.GetDisconnect() != nil {
			return nil
		}
	}
}

func (p *onePlane) StreamDERPMaps(_ *tailnetv2.StreamDERPMapsRequest, stream tailnetv2.DRPCTailnet_StreamDERPMapsStream) error {
	if p.relayMaps != nil {
		return p.relayMaps(p.dial, stream)
	}
	relays := p.relays
	if relays == nil {
		relays = &tailnetv2.DERPMap{}
	}
	if err := stream.Send(relays); err != nil {
		return err
	}
	<-stream.Context().Done()
	return nil
}

func (p *onePlane) WorkspaceUpdates(_ *tailnetv2.WorkspaceUpdatesRequest, stream tailnetv2.DRPCTailnet_WorkspaceUpdatesStream) error {
	if p.workspaces != nil {
		return p.workspaces(p.dial, stream)
	}
	if err := stream.Send(&tailnetv2.WorkspaceUpdate{}); err != nil {
		return err
	}
	<-stream.Context().Done()
	return nil
}

func (p *onePlane) RefreshResumeToken(ctx context.Context, in *tailnetv2.RefreshResumeTokenRequest) (*tailnetv2.RefreshResumeTokenResponse, error) {
	if p.refresh == nil {
		return p.plane.RefreshResumeToken(ctx, in)
	}
	return p.refresh(p.dial)
}

func (p *onePlane) PostTelemetry(ctx context.Context, in *tailnetv2.TelemetryRequest) (*tailnetv2.TelemetryResponse, error) {
	if p.telemetry == nil {
		return p.plane.PostTelemetry(ctx, in)
	}
	return &tailnetv2.TelemetryResponse{}, p.telemetry(p.dial, in)
}

// serve starts the plane and gives a dialer for it; with a nil network it
// listens on the loopback.
func serve(t *testing.T, p *plane, network *pipes) *Dialer {
	t.Helper()
	transport := &http.Transport{}
	target := &url.URL{Scheme: "http", Host: "plane.test"}
	if network != nil {
		transport.DialContext = network.dial
		server := &http.Server{Handler: p}
		var done sync.WaitGroup
		done.Go(func() { _ = server.Serve(network) })
		t.Cleanup(func() {
			p.hangUp()
			server.Close()
			transport.CloseIdleConnections()
			done.Wait()
			p.active.Wait()
		})
	} else {
		server := httptest.NewServer(p)
		target, _ = url.Parse(server.URL)
		t.Cleanup(func() { p.hangUp(); transport.CloseIdleConnections(); server.Close(); p.active.Wait() })
	}
	return &Dialer{
		URL: target, Path: UserPath, HTTP: &http.Client{Transport: transport},
		Token: func() string { return "secret-session" },
	}
}

func (p *plane) hangUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, socket := range p.sockets {
		_ = socket.CloseNow()
	}
}

// run runs the loop until the test ends or stop is called.
func run(t *testing.T, l *Loop) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		if err := l.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Run ended with %v, not with its context", err)
		}
	})
	stop = func() { cancel(); done.Wait() }
	t.Cleanup(stop)
	return stop
}

// data is a hand-written data plane that remembers what it was told.
type data struct {
	mu       sync.Mutex
	peers    []*tailnetv2.CoordinateResponse_PeerUpdate
	lost     int
	callback func(*tailnetv2.Node)
	marked   []uuid.UUID
	cleared  []uuid.UUID
	node     *tailnetv2.Node
	fail     error
}

func (d *data) UpdatePeers(updates []*tailnetv2.CoordinateResponse_PeerUpdate) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.peers = append(d.peers, updates...)
	return d.fail
}

func (d *data) SetAllPeersLost() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lost++
}

func (d *data) SetNodeCallback(callback func(*tailnetv2.Node)) {
	d.mu.Lock()
	d.callback = callback
	node := d.node
	d.mu.Unlock()
	if node != nil {
		callback(node)
	}
}

func (d *data) SetTunnelDestination(id uuid.UUID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.marked = append(d.marked, id)
}

func (d *data) ClearTunnelDestination(id uuid.UUID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cleared = append(d.cleared, id)
}

func (d *data) read(get func(*data)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	get(d)
}

// eventually polls for a state of the real world.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if condition() {
			return
		}
	}
	t.Fatalf("never happened: %s", what)
}

// reports collects what Connected says.
type reports struct {
	mu   sync.Mutex
	list []report
}

type report struct {
	connected bool
	err       error
	at        time.Time
}

func (r *reports) hear(connected bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, report{connected, err, time.Now()})
}

func (r *reports) all() []report {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]report(nil), r.list...)
}

func (r *reports) ups() (count int) {
	for _, one := range r.all() {
		if one.connected {
			count++
		}
	}
	return count
}

// bubble runs a test on a fake clock. yamux keeps timers in a pool, and a
// timer of one bubble must not be met outside it: two collections empty the
// pool on each side.
func bubble(t *testing.T, test func(*testing.T)) {
	t.Helper()
	empty := func() { runtime.GC(); runtime.GC() }
	empty()
	defer empty()
	synctest.Test(t, test)
}
