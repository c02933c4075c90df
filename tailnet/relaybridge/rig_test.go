package relaybridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tailscale.com/derp"
	"tailscale.com/derp/derphttp"
	"tailscale.com/derp/derpserver"
	"tailscale.com/net/netmon"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"

	"github.com/causewayhq/causeway/proto"
)

// relayServer is upstream's relay behind a net/http server of the test's.
type relayServer struct {
	*httptest.Server
	derp *derpserver.Server
	// raw counts requests for the raw upgrade, sockets those for a websocket.
	raw, sockets, checks atomic.Int32
}

type relayOptions struct {
	secure bool
	// refuse answers the raw upgrade with this status if it is not 0.
	refuse int
	// require is a header that every request must have.
	require string
	// slow delays the answer to a latency check.
	slow time.Duration
}

func startRelay(t *testing.T, options relayOptions) *relayServer {
	t.Helper()
	relay := &relayServer{derp: derpserver.New(key.NewNode(), func(string, ...any) {})}
	raw := derpserver.Handler(relay.derp)
	both := derpserver.AddWebSocketSupport(relay.derp, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		relay.raw.Add(1)
		if options.refuse != 0 {
			http.Error(w, "refused", options.refuse)
			return
		}
		raw.ServeHTTP(w, r)
	}))
	mux := http.NewServeMux()
	mux.HandleFunc("/derp", func(w http.ResponseWriter, r *http.Request) {
		if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
			relay.sockets.Add(1)
		}
		both.ServeHTTP(w, r)
	})
	mux.HandleFunc("/derp/latency-check", func(w http.ResponseWriter, _ *http.Request) {
		relay.checks.Add(1)
		time.Sleep(options.slow)
		w.WriteHeader(http.StatusOK)
	})
	relay.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if options.require != "" && r.Header.Get(options.require) != "yes" {
			http.Error(w, "header is missing", http.StatusForbidden)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	if options.secure {
		relay.StartTLS()
	} else {
		relay.Start()
	}
	t.Cleanup(func() {
		relay.derp.Close()
		relay.CloseClientConnections()
		relay.Close()
	})
	return relay
}

func (r *relayServer) port() int {
	return r.Listener.Addr().(*net.TCPAddr).Port
}

// relayMap is a map with this relay as region 3.
func (r *relayServer) relayMap(plain, embedded bool) proto.RelayMap {
	relays := proto.RelayMap{
		DERPMap: &tailcfg.DERPMap{OmitDefaultRegions: true, Regions: map[int]*tailcfg.DERPRegion{3: {
			RegionID: 3, RegionCode: "test",
			Nodes: []*tailcfg.DERPNode{{
				Name: "3a", RegionID: 3, HostName: "127.0.0.1", DERPPort: r.port(), STUNPort: 3478, InsecureForTests: !plain,
			}},
		}}},
		Embedded: map[int]bool{3: embedded}, PlainHTTP: map[string]bool{"3a": plain},
	}
	return relays
}

// notes collects what a bridge says about a region.
type notes struct {
	mu     sync.Mutex
	forced map[int]string
}

func (n *notes) note(region int, reason string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.forced == nil {
		n.forced = map[int]string{}
	}
	n.forced[region] = reason
}

func (n *notes) reason(region int) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.forced[region]
}

func startBridge(t *testing.T, config Config) *Bridge {
	t.Helper()
	config.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	b, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("close bridge: %v", err)
		}
	})
	return b
}

// connect makes upstream's client connect to region 3 of a map.
func connect(t *testing.T, relays *tailcfg.DERPMap) (*derphttp.Client, key.NodePrivate, error) {
	t.Helper()
	private := key.NewNode()
	client := derphttp.NewRegionClient(private, func(string, ...any) {}, netmon.NewStatic(), func() *tailcfg.DERPRegion { return relays.Regions[3] })
	t.Cleanup(func() { client.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return client, private, client.Connect(ctx)
}

// exchange sends a packet from one client to another by a relay.
func exchange(t *testing.T, relays *tailcfg.DERPMap) error {
	t.Helper()
	left, _, err := connect(t, relays)
	if err != nil {
		return err
	}
	right, private, err := connect(t, relays)
	if err != nil {
		return err
	}
	type received struct {
		text string
		err  error
	}
	got := make(chan received, 1)
	go func() {
		for {
			message, err := right.Recv()
			if packet, is := message.(derp.ReceivedPacket); is || err != nil {
				got <- received{string(packet.Data), err}
				return
			}
		}
	}()
	// The relay drops what comes before it has registered the receiver.
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if err := left.Send(private.Public(), []byte("over the causeway")); err != nil {
			return err
		}
		select {
		case packet := <-got:
			if packet.err == nil && packet.text != "over the causeway" {
				return fmt.Errorf("got %q", packet.text)
			}
			return packet.err
		case <-time.After(50 * time.Millisecond):
		}
	}
	right.Close()
	return errors.New("the packet did not arrive")
}
