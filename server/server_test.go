package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"
	"go.uber.org/goleak"
	"tailscale.com/net/stun"

	"github.com/causewayhq/causeway/server/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs a server; the returned function stops it and gives Run's error.
func start(t *testing.T, config Config) (*Server, func() error) {
	t.Helper()
	if config.DataDir == "" {
		config.DataDir = t.TempDir()
	}
	config.Logger, config.Version = slog.New(slog.DiscardHandler), "v1"
	if config.Listen == "" {
		config.Listen = "127.0.0.1:0"
	}
	if config.STUNListen == "" {
		config.STUNListen = "127.0.0.1:0"
	}
	s, err := New(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	var stopped bool
	stop := func() error {
		stopped = true
		cancel()
		return <-ended
	}
	t.Cleanup(func() {
		if !stopped {
			if err := stop(); err != nil {
				t.Errorf("run: %v", err)
			}
		}
		cancel()
	})
	return s, stop
}

func get(t *testing.T, client *http.Client, url string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	defer client.CloseIdleConnections()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func TestServes(t *testing.T) {
	s, _ := start(t, Config{})
	for _, path := range []string{"/healthz", "/readyz", "/derp/latency-check", "/api/v2/buildinfo"} {
		if status, body := get(t, http.DefaultClient, s.URL()+path); status != http.StatusOK {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	if status, _ := get(t, http.DefaultClient, s.URL()+"/derp"); status != http.StatusUpgradeRequired {
		t.Errorf("/derp without an upgrade: %d", status)
	}
	// STUN answers at the port that the relay map announces.
	region := s.relayMap().Regions[999]
	conn, err := net.Dial("udp", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(region.Nodes[0].STUNPort)).String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	id := stun.NewTxID()
	if _, err := conn.Write(stun.Request(id)); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 1500)
	n, err := conn.Read(answer)
	if err != nil {
		t.Fatal(err)
	}
	got, addr, err := stun.ParseResponse(answer[:n])
	if err != nil || got != id || addr.String() != conn.LocalAddr().String() {
		t.Errorf("STUN answered %v %v, %v", got, addr, err)
	}
}

func TestRelayMap(t *testing.T) {
	tests := []struct {
		access, stun string
		host         string
		port         int
		plain        bool
	}{
		{"", STUNOff, "127.0.0.1", 0, true},
		{"http://causeway.example.com", STUNOff, "causeway.example.com", 80, true},
		{"https://causeway.example.com", "127.0.0.1:0", "causeway.example.com", 443, false},
		{"https://causeway.example.com:8443/", STUNOff, "causeway.example.com", 8443, false},
		{"http://[2001:db8::1]:99", STUNOff, "2001:db8::1", 99, true},
	}
	for _, test := range tests {
		s, err := New(t.Context(), Config{
			Logger: slog.New(slog.DiscardHandler), DataDir: t.TempDir(), Listen: "127.0.0.1:0", STUNListen: test.stun, AccessURL: test.access,
		})
		if err != nil {
			t.Fatal(err)
		}
		relays := s.relayMap()
		node := relays.Regions[999].Nodes[0]
		wantPort := test.port
		if wantPort == 0 {
			wantPort = s.Addr().(*net.TCPAddr).Port
		}
		if node.Name != "999b" || node.HostName != test.host || node.DERPPort != wantPort || relays.PlainHTTP["999b"] != test.plain || !relays.Embedded[999] {
			t.Errorf("%q: node %+v, plain %v", test.access, node, relays.PlainHTTP)
		}
		if off := node.STUNPort == -1; off != (test.stun == STUNOff) {
			t.Errorf("%q: STUN port %d with %q", test.access, node.STUNPort, test.stun)
		}
		s.Close()
	}
}

func TestSTUNServers(t *testing.T) {
	servers, err := ParseSTUNServers([]string{"192.0.2.7:3478", "[2001:db8::7]:3479"})
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(t.Context(), Config{Logger: slog.New(slog.DiscardHandler), DataDir: t.TempDir(), Listen: "127.0.0.1:0", STUNListen: STUNOff, STUNServers: servers})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	regions := s.relayMap().Regions
	first, second := regions[1000], regions[1001]
	if len(regions) != 3 || first == nil || second == nil {
		t.Fatalf("regions are %v, want 999, 1000 and 1001", regions)
	}
	node := first.Nodes[0]
	if first.RegionCode != "coder_stun_1" || first.RegionName != "Coder STUN 1" || node.Name != "1000stun0" || !node.STUNOnly || node.IPv4 != "192.0.2.7" || node.STUNPort != 3478 {
		t.Errorf("first: %+v %+v", first, node)
	}
	if node := second.Nodes[0]; node.IPv6 != "2001:db8::7" || node.STUNPort != 3479 || node.IPv4 != "" {
		t.Errorf("second: %+v", node)
	}
	for _, text := range []string{"", "192.0.2.7", "host.example:3478", "192.0.2.7:0", "192.0.2.7:x"} {
		var setting *SettingError
		if _, err := ParseSTUNServers([]string{text}); !errors.As(err, &setting) || setting.Setting != "stun-servers" {
			t.Errorf("%q: %v, want a complaint of stun-servers", text, err)
		}
	}
}

func TestAccessURL(t *testing.T) {
	listening := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 7080}
	tests := []struct {
		set  string
		tls  bool
		want string // "" is an error
	}{
		{"", false, "http://192.0.2.7:7080"},
		{"", true, "https://192.0.2.7:7080"},
		{"https://causeway.example.com/", false, "https://causeway.example.com"},
		{"https://causeway.example.com?x=1", false, ""},
		{"https://user:secret@causeway.example.com", false, ""},
		{"ftp://causeway.example.com", false, ""},
		{"causeway.example.com:7080", false, ""},
		{"https://", false, ""},
		{"https://a b", false, ""},
		{"https://causeway.example.com:99999", false, ""},
		{"::", false, ""},
	}
	for _, test := range tests {
		got, err := accessURL(test.set, listening, test.tls)
		var setting *SettingError
		switch {
		case test.want == "" && !errors.As(err, &setting):
			t.Errorf("%q: got %v, %v, want a *SettingError", test.set, got, err)
		case test.want != "" && (err != nil || got.String() != test.want):
			t.Errorf("%q: got %v, %v, want %s", test.set, got, err, test.want)
		}
	}
	wildcard, err := accessURL("", &net.TCPAddr{IP: net.IPv6unspecified, Port: 7080}, false)
	if err != nil || wildcard.Hostname() == "::" || wildcard.Port() != "7080" {
		t.Errorf("wildcard became %v, %v", wildcard, err)
	}
}

// TestShutdownEndsEverything stops a server that holds a tunnel connection and
// a half-sent request.
func TestShutdownEndsEverything(t *testing.T) {
	dir := t.TempDir()
	s, stop := start(t, Config{DataDir: dir})
	user, err := s.store.CreateUser(t.Context(), "alice", "")
	if err != nil {
		t.Fatal(err)
	}
	_, secret, err := s.store.CreateUserToken(t.Context(), user.ID, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	conn, _, err := websocket.Dial(t.Context(), s.URL()+"/api/v2/tailnet?version=2.3", &websocket.DialOptions{HTTPHeader: http.Header{"Coder-Session-Token": {secret.Reveal()}}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	closed := make(chan error, 1)
	go func() {
		_, _, err := conn.Read(context.Background())
		closed <- err
	}()
	started := time.Now()
	if err := stop(); err != nil {
		t.Errorf("run: %v", err)
	}
	if took := time.Since(started); took > DrainLimit {
		t.Errorf("took %s", took)
	}
	if code := websocket.CloseStatus(<-closed); code != websocket.StatusGoingAway {
		t.Errorf("closed with %v", code)
	}
	if _, err := net.Dial("tcp", s.Addr().String()); err == nil {
		t.Error("the port is still open")
	}
	// The directory is free again.
	lock, err := store.LockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	lock.Close()
}

// TestKeysSurvive holds that clients find the same relay and their resume
// tokens valid after a restart.
func TestKeysSurvive(t *testing.T) {
	dir := t.TempDir()
	first, stop := start(t, Config{DataDir: dir})
	key := first.relay.PublicKey()
	peer, owner := uuid.New(), uuid.New()
	token, err := first.resume.Issue(peer, owner)
	if err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	second, _ := start(t, Config{DataDir: dir})
	if second.relay.PublicKey() != key {
		t.Error("another relay key")
	}
	if got, err := second.resume.Verify(token.GetToken(), owner); got != peer || err != nil {
		t.Errorf("resume token after a restart: %s, %v", got, err)
	}
}

// TestResumeKeysRotateUnderway rotates by another process beside the server:
// tokens of the old key are good until that is dropped.
func TestResumeKeysRotateUnderway(t *testing.T) {
	dir := t.TempDir()
	s, _ := start(t, Config{DataDir: dir})
	other, err := store.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	peer, owner := uuid.New(), uuid.New()
	issue := func() string {
		t.Helper()
		token, err := s.resume.Issue(peer, owner)
		if err != nil {
			t.Fatal(err)
		}
		return token.GetToken()
	}
	kid := func(token string) string { return strings.SplitN(token, ".", 2)[0] }
	old := issue()
	if _, err := other.RotateResumeKeys(t.Context(), ResumeRotation, false); err != nil {
		t.Fatal(err)
	}
	within := func(what string, condition func() bool) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); !condition(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("not in time: %s", what)
			}
		}
	}
	within("signs with the new key", func() bool { return kid(issue()) != kid(old) })
	if _, err := s.resume.Verify(old, owner); err != nil {
		t.Errorf("the old key is kept, and its token: %v", err)
	}
	if _, err := other.RotateResumeKeys(t.Context(), ResumeRotation, true); err != nil {
		t.Fatal(err)
	}
	within("the dropped key verifies no more", func() bool {
		_, err := s.resume.Verify(old, owner)
		return err != nil
	})
}

func TestSTUNIsOptionalWhenAsked(t *testing.T) {
	taken, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	var logs bytes.Buffer
	config := Config{
		Logger: slog.New(slog.NewTextHandler(&logs, nil)), DataDir: t.TempDir(), Listen: "127.0.0.1:0",
		STUNListen: taken.LocalAddr().String(), STUNOptional: true,
	}
	s, err := New(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.STUNAddr() != nil || s.relayMap().Regions[999].Nodes[0].STUNPort != -1 || !strings.Contains(logs.String(), "STUN is off") {
		t.Errorf("STUN at %v; log %s", s.STUNAddr(), logs.String())
	}
	config.STUNOptional, config.DataDir = false, t.TempDir()
	var listen *ListenError
	if _, err := New(t.Context(), config); !errors.As(err, &listen) || listen.Setting != "stun-listen" {
		t.Errorf("got %v", err)
	}
	// A failed start leaves the directory and the HTTP port free.
	config.STUNListen = STUNOff
	again, err := New(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := url.Parse(again.URL()); err != nil {
		t.Error(err)
	}
	again.Close()
}
