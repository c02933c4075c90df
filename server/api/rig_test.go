package api

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"
	"tailscale.com/tailcfg"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/mux"
	"github.com/causewayhq/causeway/proto/tailnetv2"
	"github.com/causewayhq/causeway/server/coordinator"
	"github.com/causewayhq/causeway/server/store"
	tailnetsvc "github.com/causewayhq/causeway/server/tailnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const setupCode = "the-setup-code"

// rig is the API on a loopback listener with a database of its own.
type rig struct {
	t     *testing.T
	dir   string
	store *store.Store
	api   *Server
	url   string
	logs  *lockedWriter
}

func newRig(t *testing.T) *rig {
	t.Helper()
	return newRigWith(t, func(*Config) {})
}

func newRigWith(t *testing.T, adjust func(*Config)) *rig {
	t.Helper()
	return newRigAt(t, t.TempDir(), adjust)
}

// newRigAt is newRigWith on the database of another one.
func newRigAt(t *testing.T, dir string, adjust func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, dir: dir, logs: &lockedWriter{}}
	var err error
	if r.store, err = store.Open(t.Context(), r.dir); err != nil {
		t.Fatal(err)
	}
	resume, err := tailnetsvc.NewResumeKeys(tailnetsvc.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.NewTextHandler(r.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	config := Config{
		Logger: logger, Store: r.store, Coordinator: coordinator.New(logger), Resume: resume, RelayMap: testMap,
		AccessURL: "http://causeway.example.com", Version: "v1.2.3", HostnameSuffix: "coder", SetupCode: setupCode,
	}
	adjust(&config)
	r.api = New(config)
	listener := httptest.NewServer(r.api)
	r.url = listener.URL
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.api.Run(ctx) }()
	t.Cleanup(func() {
		limited, done := context.WithTimeout(context.Background(), 20*time.Second)
		defer done()
		if err := r.api.Close(limited); err != nil {
			t.Errorf("close: %v", err)
		}
		stop()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
		listener.Close()
		r.store.Close()
	})
	return r
}

func testMap() proto.RelayMap {
	return proto.RelayMap{
		DERPMap: &tailcfg.DERPMap{OmitDefaultRegions: true, Regions: map[int]*tailcfg.DERPRegion{999: {
			RegionID: 999, RegionCode: "coder", RegionName: "Coder Embedded Relay",
			Nodes: []*tailcfg.DERPNode{{Name: "999b", RegionID: 999, HostName: "causeway.example.com", DERPPort: 80, STUNPort: 3478}},
		}}},
		Embedded: map[int]bool{999: true}, PlainHTTP: map[string]bool{"999b": true},
	}
}

type person struct {
	store.User
	token     string
	tokenID   string
	workspace store.Workspace
	agent     store.Agent
	agentKey  string
}

// person makes a user with a workspace, an agent and tokens for both.
func (r *rig) person(name string) person {
	r.t.Helper()
	ctx := r.t.Context()
	var p person
	var err error
	check := func() {
		r.t.Helper()
		if err != nil {
			r.t.Fatal(err)
		}
	}
	p.User, err = r.store.CreateUser(ctx, name, name+"@example.com")
	check()
	token, secret, err := r.store.CreateUserToken(ctx, p.ID, "", time.Hour)
	check()
	p.token, p.tokenID = secret.Reveal(), token.ID
	p.workspace, err = r.store.CreateWorkspace(ctx, p.User, "myws")
	check()
	p.agent, err = r.store.CreateAgent(ctx, p.workspace, "main")
	check()
	_, agentSecret, err := r.store.CreateAgentToken(ctx, p.agent.ID, 0)
	check()
	p.agentKey = agentSecret.Reveal()
	return p
}

// call sends a request and decodes a JSON answer.
func (r *rig) call(method, path, token, body string) (int, map[string]any) {
	r.t.Helper()
	status, raw := r.raw(method, path, token, body)
	decoded := map[string]any{}
	if len(raw) > 0 && raw[0] == '{' {
		if err := json.Unmarshal(raw, &decoded); err != nil {
			r.t.Fatalf("%s %s: %v in %q", method, path, err, raw)
		}
	}
	return status, decoded
}

func (r *rig) raw(method, path, token, body string) (int, []byte) {
	r.t.Helper()
	request, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	if token != "" {
		request.Header.Set(tokenHeader, token)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		r.t.Fatal(err)
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	http.DefaultClient.CloseIdleConnections()
	return response.StatusCode, raw
}

// dial upgrades a route; a refusal is returned as its response.
func (r *rig) dial(path, token string) (*websocket.Conn, *http.Response, error) {
	conn, response, err := websocket.Dial(r.t.Context(), strings.Replace(r.url, "http", "ws", 1)+path, &websocket.DialOptions{
		HTTPHeader: http.Header{tokenHeader: {token}}, CompressionMode: websocket.CompressionDisabled,
	})
	if err == nil {
		conn.SetReadLimit(-1)
		r.t.Cleanup(func() { conn.CloseNow() })
	}
	return conn, response, err
}

// open upgrades a route and starts the client side of the API on it.
func (r *rig) open(path, token string) (*websocket.Conn, *mux.Client) {
	r.t.Helper()
	conn, _, err := r.dial(path, token)
	if err != nil {
		r.t.Fatal(err)
	}
	client, err := mux.NewClient(websocket.NetConn(context.Background(), conn, websocket.MessageBinary))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { client.Close() })
	return conn, client
}

func (r *rig) coordinate(client *mux.Client) tailnetv2.DRPCTailnet_CoordinateClient {
	r.t.Helper()
	stream, err := tailnetv2.NewDRPCTailnetClient(client).Coordinate(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return stream
}

// eventually polls until the condition holds.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// lockedWriter lets several goroutines log into one buffer.
type lockedWriter struct {
	mu sync.Mutex
	to bytes.Buffer
}

func (w *lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.to.Write(p)
}

func (w *lockedWriter) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.to.String()
}
