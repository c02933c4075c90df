package relay

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"
	"go.uber.org/goleak"
	"tailscale.com/derp"
	"tailscale.com/derp/derphttp"
	"tailscale.com/net/netmon"
	"tailscale.com/net/wsconn"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"

	"github.com/causewayhq/causeway/proto/tailnetv2"
	"github.com/causewayhq/causeway/server/coordinator"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// Upstream's DERP client package keeps one of these for the process.
		goleak.IgnoreTopFunction("golang.org/x/sync/errgroup.(*Group).Go.func1"))
}

func quietLog(string, ...any) {}

// peer is what every kind of DERP client can do.
type peer interface {
	Send(dst key.NodePublic, packet []byte) error
	Recv() (derp.ReceivedMessage, error)
}

// start runs a relay on loopback, with or without TLS.
func start(t *testing.T, policy Policy, secure bool) (*Relay, *httptest.Server) {
	t.Helper()
	r := New(Config{Logger: slog.New(slog.DiscardHandler), Key: key.NewNode(), Policy: policy})
	server := httptest.NewUnstartedServer(r)
	if secure {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(func() {
		done, cancel := context.WithCancel(context.Background())
		cancel()
		if err := r.Close(done); err != nil {
			t.Errorf("close: %v", err)
		}
		server.Close()
	})
	return r, server
}

// dialRaw connects by the raw upgrade, over TLS if the server has it.
func dialRaw(t *testing.T, server *httptest.Server, private key.NodePrivate) peer {
	t.Helper()
	monitor := netmon.NewStatic()
	address := server.Listener.Addr().(*net.TCPAddr)
	client, err := derphttp.NewClient(private, server.URL+"/derp", quietLog, monitor)
	if err != nil {
		t.Fatal(err)
	}
	if server.TLS != nil {
		client = derphttp.NewRegionClient(private, quietLog, monitor, func() *tailcfg.DERPRegion {
			return &tailcfg.DERPRegion{RegionID: 999, Nodes: []*tailcfg.DERPNode{{
				Name: "999b", RegionID: 999, HostName: "127.0.0.1", IPv4: "127.0.0.1", DERPPort: address.Port, InsecureForTests: true,
			}}}
		})
	}
	t.Cleanup(func() { client.Close(); monitor.Close() })
	if err := client.Connect(t.Context()); err != nil {
		t.Fatalf("connect: %v", err)
	}
	greet(t, client)
	return client
}

func dialWebsocket(t *testing.T, server *httptest.Server, private key.NodePrivate) peer {
	t.Helper()
	conn, _, err := websocket.Dial(t.Context(), server.URL+"/derp", &websocket.DialOptions{Subprotocols: []string{"derp"}, HTTPClient: server.Client()})
	if err != nil {
		t.Fatal(err)
	}
	conn.SetReadLimit(-1)
	stream := wsconn.NetConn(context.Background(), conn, websocket.MessageBinary, "")
	t.Cleanup(func() { stream.Close() })
	client, err := derp.NewClient(private, stream, bufio.NewReadWriter(bufio.NewReader(stream), bufio.NewWriter(stream)), quietLog)
	if err != nil {
		t.Fatal(err)
	}
	greet(t, client)
	return client
}

// greet waits until the relay has registered the client.
func greet(t *testing.T, client peer) {
	t.Helper()
	message, err := client.Recv()
	if err != nil {
		t.Fatalf("receive server info: %v", err)
	}
	if _, ok := message.(derp.ServerInfoMessage); !ok {
		t.Fatalf("first message is %T", message)
	}
}

// receive gives the next packet from that key.
func receive(t *testing.T, client peer, from key.NodePublic) []byte {
	t.Helper()
	for {
		message, err := client.Recv()
		if err != nil {
			t.Fatalf("receive: %v", err)
		}
		if packet, ok := message.(derp.ReceivedPacket); ok {
			if packet.Source != from {
				t.Fatalf("packet from a stranger: %q", packet.Data)
			}
			return bytes.Clone(packet.Data)
		}
	}
}

func TestRelaysOverEveryTransport(t *testing.T) {
	dials := map[string]func(*testing.T, *httptest.Server, key.NodePrivate) peer{"raw": dialRaw, "websocket": dialWebsocket}
	for _, secure := range []bool{false, true} {
		for leftName, left := range dials {
			for rightName, right := range dials {
				name := leftName + " to " + rightName
				if secure {
					name += " over TLS"
				}
				t.Run(name, func(t *testing.T) {
					r, server := start(t, everybody{}, secure)
					alice, bob := key.NewNode(), key.NewNode()
					a, b := left(t, server, alice), right(t, server, bob)
					if got := r.Connections(); got != 2 {
						t.Errorf("%d connections", got)
					}
					for _, size := range []int{1, 1280, 8 << 10, derp.MaxPacketSize} {
						packet := bytes.Repeat([]byte{byte(size), 7}, size/2+1)[:size]
						if err := a.Send(bob.Public(), packet); err != nil {
							t.Fatal(err)
						}
						if got := receive(t, b, alice.Public()); !bytes.Equal(got, packet) {
							t.Fatalf("got %d bytes, want %d", len(got), size)
						}
						if err := b.Send(alice.Public(), packet); err != nil {
							t.Fatal(err)
						}
						if got := receive(t, a, bob.Public()); !bytes.Equal(got, packet) {
							t.Fatalf("got %d bytes back, want %d", len(got), size)
						}
					}
				})
			}
		}
	}
}

// TestBulk drives the gate through its large buffer and back.
func TestBulk(t *testing.T) {
	_, server := start(t, everybody{}, false)
	alice, bob := key.NewNode(), key.NewNode()
	a, b := dialRaw(t, server, alice), dialRaw(t, server, bob)
	packet := bytes.Repeat([]byte("payload "), 160)
	var sender sync.WaitGroup
	defer sender.Wait()
	stop := make(chan struct{})
	defer close(stop)
	sender.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if a.Send(bob.Public(), packet) != nil {
				return
			}
		}
	})
	for range 3000 {
		if got := receive(t, b, alice.Public()); !bytes.Equal(got, packet) {
			t.Fatalf("packet of %d bytes is damaged", len(got))
		}
	}
}

// TestStrangerReachesNobody is the second user at the relay, with a coordinator
// that really knows who is whose.
func TestStrangerReachesNobody(t *testing.T) {
	c := coordinator.New(slog.New(slog.DiscardHandler))
	defer c.Close()
	_, server := start(t, c, false)
	join := func(auth coordinator.Auth, id uuid.UUID, k key.NodePrivate, tunnel *uuid.UUID) {
		t.Helper()
		s, err := c.Connect(t.Context(), id, "", auth)
		if err != nil {
			t.Fatal(err)
		}
		raw, _ := k.Public().MarshalBinary()
		if err := s.Send(&tailnetv2.CoordinateRequest{UpdateSelf: &tailnetv2.CoordinateRequest_UpdateSelf{Node: &tailnetv2.Node{Key: raw}}}); err != nil {
			t.Fatal(err)
		}
		if tunnel != nil {
			if err := s.Send(&tailnetv2.CoordinateRequest{AddTunnel: &tailnetv2.CoordinateRequest_Tunnel{Id: tunnel[:]}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	agent, own, foreign := key.NewNode(), key.NewNode(), key.NewNode()
	agentID, foreignAgent := uuid.New(), uuid.New()
	join(coordinator.AgentAuth(agentID), agentID, agent, nil)
	join(coordinator.ClientOfAgentAuth(agentID), uuid.New(), own, &agentID)
	join(coordinator.ClientOfAgentAuth(foreignAgent), uuid.New(), foreign, &foreignAgent)

	a, good, bad := dialRaw(t, server, agent), dialRaw(t, server, own), dialRaw(t, server, foreign)
	nobody := dialRaw(t, server, key.NewNode())
	for range 3 {
		for _, stranger := range []peer{bad, nobody} {
			if err := stranger.Send(agent.Public(), []byte("let me in")); err != nil {
				t.Fatal(err)
			}
		}
	}
	// A pong says that the relay is through with what came before it.
	for _, stranger := range []peer{bad, nobody} {
		ping(t, stranger)
	}
	if err := good.Send(agent.Public(), []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, a, own.Public()); string(got) != "hello" {
		t.Errorf("got %q", got)
	}
	if err := a.Send(own.Public(), []byte("back")); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, good, agent.Public()); string(got) != "back" {
		t.Errorf("got %q", got)
	}
}

func ping(t *testing.T, client peer) {
	t.Helper()
	if err := client.(interface{ SendPing([8]byte) error }).SendPing([8]byte{1}); err != nil {
		t.Fatal(err)
	}
	for {
		message, err := client.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := message.(derp.PongMessage); ok {
			return
		}
	}
}

func TestRequestsThatAreNoUpgrade(t *testing.T) {
	_, server := start(t, nil, false)
	for _, test := range []struct {
		method, path string
		header       http.Header
		want         int
	}{
		{"GET", "/derp", nil, http.StatusUpgradeRequired},
		{"GET", "/derp", http.Header{"Connection": {"Upgrade"}, "Upgrade": {"h2c"}}, http.StatusUpgradeRequired},
		{"GET", "/derp/latency-check", nil, http.StatusOK},
		{"HEAD", "/derp/latency-check", nil, http.StatusOK},
		{"POST", "/derp/latency-check", nil, http.StatusOK},
		{"GET", "/derp", http.Header{"Connection": {"Upgrade"}, "Upgrade": {"WebSocket"}, "Sec-Websocket-Protocol": {"chat, derp"}, "Sec-Websocket-Version": {"12"}}, http.StatusBadRequest},
	} {
		req, err := http.NewRequestWithContext(t.Context(), test.method, server.URL+test.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header = test.header
		response, err := server.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != test.want {
			t.Errorf("%s %s %v: %d, want %d", test.method, test.path, test.header, response.StatusCode, test.want)
		}
	}
}

// TestWebsocketWithoutDerpIsRaw: such a client gets DERP, not websocket frames.
func TestWebsocketWithoutDerpIsRaw(t *testing.T) {
	r, server := start(t, nil, false)
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "GET /derp HTTP/1.1\r\nHost: relay\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n")
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusSwitchingProtocols || response.Header.Get("Upgrade") != "DERP" ||
		response.Header.Get("Derp-Public-Key") != r.PublicKey().UntypedHexString() {
		t.Errorf("answer is %v %v", response.Status, response.Header)
	}
}

func TestClose(t *testing.T) {
	t.Run("waits for the old ones", func(t *testing.T) {
		r, server := start(t, nil, false)
		client := dialRaw(t, server, key.NewNode())
		closed := make(chan error, 1)
		go func() { closed <- r.Close(context.Background()) }()
		for deadline := time.Now().Add(5 * time.Second); !r.isClosing(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("never began to close")
			}
		}
		ping(t, client) // still served
		response, err := server.Client().Get(server.URL + "/derp")
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("new connection: %d", response.StatusCode)
		}
		client.(io.Closer).Close()
		if err := <-closed; err != nil || r.Connections() != 0 {
			t.Errorf("close: %v, %d left", err, r.Connections())
		}
	})
	t.Run("cuts at the deadline", func(t *testing.T) {
		r, server := start(t, nil, false)
		dialRaw(t, server, key.NewNode())
		for range 3 {
			dialWebsocket(t, server, key.NewNode())
		}
		// One that never says who it is.
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		io.WriteString(conn, "GET /derp HTTP/1.1\r\nHost: relay\r\nConnection: Upgrade\r\nUpgrade: DERP\r\n\r\n")
		io.ReadFull(conn, make([]byte, 12))
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		began := time.Now()
		if err := r.Close(ctx); err != nil || r.Connections() != 0 {
			t.Errorf("close: %v, %d left", err, r.Connections())
		}
		// A websocket's farewell to somebody who does not answer takes 5 s each.
		if took := time.Since(began); took > 9*time.Second {
			t.Errorf("close took %v", took)
		}
	})
}

// TestLogHasNoKeys is about private ones.
func TestLogHasNoKeys(t *testing.T) {
	private := key.NewNode()
	text, _ := private.MarshalText()
	var log bytes.Buffer
	r := New(Config{Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})), Key: private})
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(log.String(), strings.TrimPrefix(string(text), "privkey:")) {
		t.Error("the log has the key")
	}
}

type everybody struct{}

func (everybody) KnowsKey(key.NodePublic) bool      { return true }
func (everybody) MayRelay(_, _ key.NodePublic) bool { return true }
