package relaybridge

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"tailscale.com/derp/derphttp"
	"tailscale.com/net/netmon"
)

const patience = 30 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTransports(t *testing.T) {
	yes := func() http.Header { return http.Header{"X-Gate": {"yes"}} }
	tests := map[string]struct {
		relay          relayOptions
		headers        func() http.Header
		force          bool
		fails          bool
		reason         string
		raw, websocket bool
	}{
		"raw upgrade, plain HTTP":  {raw: true},
		"raw upgrade, TLS":         {relay: relayOptions{secure: true}, raw: true},
		"websocket after 426":      {relay: relayOptions{refuse: 426}, raw: true, websocket: true, reason: "426"},
		"websocket after 400, TLS": {relay: relayOptions{secure: true, refuse: 400}, raw: true, websocket: true, reason: "400"},
		"no websocket after 502":   {relay: relayOptions{refuse: 502}, raw: true, fails: true},
		"forced websocket":         {force: true, websocket: true, reason: "forced"},
		"required header, raw":     {relay: relayOptions{require: "X-Gate"}, headers: yes, raw: true},
		"required header, websocket": {
			relay: relayOptions{require: "X-Gate", refuse: 426}, headers: yes, raw: true, websocket: true, reason: "426",
		},
		"missing header": {relay: relayOptions{require: "X-Gate"}, fails: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			relay := startRelay(t, test.relay)
			said := &notes{}
			b := startBridge(t, Config{Dial: Dial{Headers: test.headers}, ForceWebsocket: test.force, Forced: said.note})
			given := relay.relayMap(!test.relay.secure, true)
			rewritten := b.Rewrite(given)
			err := exchange(t, rewritten)
			if (err != nil) != test.fails {
				t.Fatalf("exchange: %v", err)
			}
			if got := relay.raw.Load() > 0; got != test.raw {
				t.Errorf("raw upgrade tried: %v", got)
			}
			if got := relay.sockets.Load() > 0; got != test.websocket && !test.fails {
				t.Errorf("websocket used: %v", got)
			}
			if got := said.reason(3); !strings.Contains(got, test.reason) || (got == "") != (test.reason == "") {
				t.Errorf("reason %q, want one with %q", got, test.reason)
			}
			if test.relay.refuse == 426 && relay.raw.Load() != 1 {
				t.Errorf("the raw upgrade was tried %d times: the refusal does not stick", relay.raw.Load())
			}
		})
	}
}

// TestStrangersAreFew holds that a local program cannot use up descriptors with
// connections that say nothing, nor lock our own client out.
func TestStrangersAreFew(t *testing.T) {
	relay := startRelay(t, relayOptions{})
	b := startBridge(t, Config{})
	rewritten := b.Rewrite(relay.relayMap(true, true))
	var first net.Conn
	for range 2 * maxStrangers {
		conn, err := net.Dial("tcp", b.listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if first == nil {
			first = conn
		}
	}
	if err := exchange(t, rewritten); err != nil {
		t.Errorf("our own client: %v", err)
	}
	if err := first.SetReadDeadline(time.Now().Add(greetingTimeout / 2)); err != nil {
		t.Fatal(err)
	}
	if _, err := first.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the oldest connection was kept: %v", err)
	}
}

func TestRewrite(t *testing.T) {
	relay := startRelay(t, relayOptions{})
	b := startBridge(t, Config{})
	given := relay.relayMap(true, false)
	rewritten := b.Rewrite(given)
	if given.Regions[3].Nodes[0].STUNOnly || len(given.Regions[3].Nodes) != 1 {
		t.Error("the given map was changed")
	}
	nodes := rewritten.Regions[3].Nodes
	if len(nodes) != 2 {
		t.Fatalf("%d nodes", len(nodes))
	}
	stun, bridged := nodes[0], nodes[1]
	if !stun.STUNOnly || stun.HostName != "127.0.0.1" || stun.STUNPort != 3478 || stun.Name != "3a" {
		t.Errorf("STUN node is not the real one: %+v", stun)
	}
	if bridged.STUNOnly || bridged.STUNPort != -1 || !strings.HasPrefix(bridged.CertName, "sha256-raw:") || bridged.InsecureForTests {
		t.Errorf("bridged node: %+v", bridged)
	}
	// A second bridge's names are its own.
	other := startBridge(t, Config{})
	if other.Rewrite(given).Regions[3].Nodes[1].HostName == bridged.HostName {
		t.Error("two bridges use the same host name")
	}
}

func TestDirectRelayIsProbed(t *testing.T) {
	for _, refuse := range []int{0, 403} {
		t.Run(strconv.Itoa(refuse), func(t *testing.T) {
			relay := startRelay(t, relayOptions{secure: true, refuse: refuse})
			changed := make(chan struct{}, 1)
			b := startBridge(t, Config{Changed: func() { changed <- struct{}{} }})
			given := relay.relayMap(false, false)
			if nodes := b.Rewrite(given).Regions[3].Nodes; len(nodes) != 1 || nodes[0].STUNOnly {
				t.Fatalf("a plain https relay is bridged from the start: %+v", nodes)
			}
			if refuse == 0 {
				for deadline := time.Now().Add(patience); relay.raw.Load() == 0; time.Sleep(10 * time.Millisecond) {
					if time.Now().After(deadline) {
						t.Fatal("the relay was not probed")
					}
				}
				return
			}
			select {
			case <-changed:
			case <-time.After(patience):
				t.Fatal("the refusal was not reported")
			}
			rewritten := b.Rewrite(given)
			if len(rewritten.Regions[3].Nodes) != 2 {
				t.Fatal("the relay is not bridged after its refusal")
			}
			if err := exchange(t, rewritten); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestClientWithoutSecret(t *testing.T) {
	relay := startRelay(t, relayOptions{})
	b := startBridge(t, Config{})
	host := b.Rewrite(relay.relayMap(true, true)).Regions[3].Nodes[1].HostName
	wrong := "Basic " + base64.StdEncoding.EncodeToString([]byte("causeway:wrong"))
	requests := map[string]string{
		"none":        "CONNECT " + host + ":443 HTTP/1.1\r\nHost: " + host + ":443\r\n\r\n",
		"wrong":       "CONNECT " + host + ":443 HTTP/1.1\r\nHost: x\r\nProxy-Authorization: " + wrong + "\r\n\r\n",
		"empty":       "CONNECT " + host + ":443 HTTP/1.1\r\nHost: x\r\nProxy-Authorization: \r\n\r\n",
		"plain GET":   "GET http://" + host + "/derp HTTP/1.1\r\nHost: " + host + "\r\n\r\n",
		"prefix only": "CONNECT " + host + ":443 HTTP/1.1\r\nHost: x\r\nProxy-Authorization: " + b.secret[:len(b.secret)-1] + "\r\n\r\n",
	}
	for name, request := range requests {
		t.Run(name, func(t *testing.T) {
			got := talk(t, b, request)
			if !strings.HasPrefix(got, "HTTP/1.1 407 ") || strings.Contains(got, "Basic") {
				t.Errorf("got %q, want a bare 407", got)
			}
			head, body, _ := strings.Cut(got, "\r\n\r\n")
			if body != "" || strings.Count(head, "\r\n") != 2 {
				t.Errorf("the answer says more than 407: %q", got)
			}
		})
	}
	if relay.raw.Load()+relay.sockets.Load() != 0 {
		t.Error("the relay was reached")
	}
	// With the secret, an unknown name leads nowhere either.
	if got := talk(t, b, "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\nProxy-Authorization: "+b.secret+"\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 404 ") {
		t.Errorf("unknown relay: %q", got)
	}
	for name, garbage := range map[string]string{
		"garbage": "\x16\x03\x01 what is this\r\n\r\n", "long head": "CONNECT a:1 HTTP/1.1\r\nX: " + strings.Repeat("x", 64<<10),
	} {
		if got := talk(t, b, garbage); got != "" {
			t.Errorf("%s: got %q", name, got)
		}
	}
}

// talk sends bytes to a bridge's listener and reads until it hangs up.
func talk(t *testing.T, b *Bridge, text string) string {
	t.Helper()
	conn, err := net.Dial("tcp", b.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	// The bridge may hang up before it read everything.
	_, _ = io.WriteString(conn, text)
	got, _ := io.ReadAll(conn)
	return string(got)
}

func TestLatencyIsTheRelays(t *testing.T) {
	const slow = 300 * time.Millisecond
	relay := startRelay(t, relayOptions{slow: slow})
	b := startBridge(t, Config{})
	region := b.Rewrite(relay.relayMap(true, true)).Regions[3]
	client := derphttp.NewNetcheckClient(func(string, ...any) {}, netmon.NewStatic())
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, closer, node, err := client.DialRegionTLS(ctx, region)
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close()
	start := time.Now()
	if _, err := fmt.Fprintf(conn, "GET /derp/latency-check HTTP/1.1\r\nHost: %s\r\n\r\n", node.HostName); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); response.StatusCode != http.StatusOK || took < slow || relay.checks.Load() != 1 {
		t.Errorf("status %d after %s, %d checks at the relay", response.StatusCode, took, relay.checks.Load())
	}
}

// TestDeadRelay: a relay that cannot be reached fails the CONNECT itself, so
// that nobody measures the loopback instead.
func TestDeadRelay(t *testing.T) {
	relay := startRelay(t, relayOptions{})
	given := relay.relayMap(true, true)
	relay.CloseClientConnections()
	relay.Close()
	b := startBridge(t, Config{})
	region := b.Rewrite(given).Regions[3]
	client := derphttp.NewNetcheckClient(func(string, ...any) {}, netmon.NewStatic())
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, _, _, err := client.DialRegionTLS(ctx, region); err == nil {
		t.Error("a dead relay was dialled")
	}
}

func TestThroughProxy(t *testing.T) {
	relay := startRelay(t, relayOptions{})
	proof := "Basic " + base64.StdEncoding.EncodeToString([]byte("user:pass word"))
	var asked atomic.Int32
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Header.Get("Proxy-Authorization") != proof {
			http.Error(w, "no", http.StatusProxyAuthRequired)
			return
		}
		asked.Add(1)
		onward, err := net.Dial("tcp", r.Host)
		if err != nil {
			http.Error(w, "no", http.StatusBadGateway)
			return
		}
		conn, _, _ := http.NewResponseController(w).Hijack()
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
		_ = splice(conn, onward)
	}))
	defer proxy.Close()
	proxyURL, _ := url.Parse(proxy.URL)
	for name, user := range map[string]*url.Userinfo{"good": url.UserPassword("user", "pass word"), "bad": url.User("user")} {
		t.Run(name, func(t *testing.T) {
			chosen := *proxyURL
			chosen.User = user
			b := startBridge(t, Config{Dial: Dial{Proxy: func(*http.Request) (*url.URL, error) { return &chosen, nil }}})
			err := exchange(t, b.Rewrite(relay.relayMap(true, true)))
			if (err == nil) != (name == "good") {
				t.Errorf("exchange: %v", err)
			}
		})
	}
	if asked.Load() == 0 {
		t.Error("the proxy was not used")
	}
}

func TestTwoBridgesInOneProcess(t *testing.T) {
	relays := []*relayServer{startRelay(t, relayOptions{}), startRelay(t, relayOptions{refuse: 426})}
	for _, relay := range relays {
		// The same host, region and node name, told apart by the made-up name.
		b := startBridge(t, Config{})
		if err := exchange(t, b.Rewrite(relay.relayMap(true, true))); err != nil {
			t.Fatal(err)
		}
	}
	if relays[0].sockets.Load() != 0 || relays[1].sockets.Load() == 0 {
		t.Error("the bridges were mixed up")
	}
}

func TestNewNeedsLogger(t *testing.T) {
	if b, err := New(Config{}); err == nil {
		b.Close()
		t.Error("started without a logger")
	}
}

func FuzzGreeting(f *testing.F) {
	f.Add([]byte("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\nProxy-Authorization: Basic eA==\r\n\r\n"))
	f.Add([]byte("GET / HTTP/1.0\r\n\r\n"))
	f.Add([]byte{0x16, 3, 1})
	b, err := New(Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { b.Close() })
	f.Fuzz(func(t *testing.T, greeting []byte) {
		client, server := net.Pipe()
		go func() {
			_, _ = client.Write(greeting)
			client.Close()
		}()
		if _, _, err := b.greet(server); err == nil {
			t.Error("a client without the secret was let in")
		}
		server.Close()
	})
}
