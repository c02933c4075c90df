package httpapi

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"

	"github.com/causewayhq/causeway/proto/agentv2"
	"github.com/causewayhq/causeway/tailnet"
)

// listenVariable makes the test binary a program that listens on an address, says
// on which port, and ends with its input.
const listenVariable = "HTTPAPI_TEST_LISTENS"

func TestMain(m *testing.M) {
	if address := os.Getenv(listenVariable); address != "" {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			os.Exit(1)
		}
		fmt.Println(listener.Addr().(*net.TCPAddr).Port)
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// fakeNetwork answers when it is told to.
type fakeNetwork struct {
	measured int
	wait     chan struct{}
	logging  bool
}

func (n *fakeNetwork) MeasureNetwork(ctx context.Context) tailnet.NetworkReport {
	n.measured++
	if n.wait != nil {
		select {
		case <-n.wait:
		case <-ctx.Done():
		}
	}
	yes := true
	return tailnet.NetworkReport{
		At: time.Unix(1700000000, 0), UDP: true, PublicIPv4: netip.MustParseAddrPort("192.0.2.7:41641"), MappingVaries: &yes,
		Latency: map[int]time.Duration{9: 30 * time.Millisecond, 7: 1500 * time.Microsecond}, Endpoints: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.7:41641")},
	}
}

func (n *fakeNetwork) PathsPage() []byte      { return []byte("<h1>magicsock</h1>") }
func (n *fakeNetwork) SetPathLogging(on bool) { n.logging = on }

// fakeTerminals has one terminal until it is killed.
type fakeTerminals struct{ id uuid.UUID }

func (f *fakeTerminals) List() []Terminal {
	if f.id == uuid.Nil {
		return nil
	}
	return []Terminal{{ID: f.id, Command: "vim", Viewers: 2, Columns: 80, Rows: 24}}
}

func (f *fakeTerminals) Kill(id uuid.UUID) error {
	if id != f.id {
		return fs.ErrNotExist
	}
	f.id = uuid.Nil
	return nil
}

type testServer struct {
	*Server
	t         *testing.T
	network   *fakeNetwork
	terminals *fakeTerminals
	logs      *Ring
}

func newServer(t *testing.T) *testServer {
	t.Helper()
	key, err := ssh.NewPublicKey(ed25519.NewKeyFromSeed(make([]byte, 32)).Public())
	if err != nil {
		t.Fatal(err)
	}
	s := &testServer{t: t, network: &fakeNetwork{}, terminals: &fakeTerminals{id: uuid.New()}, logs: &Ring{}}
	s.Server = New(Config{
		Logger: slog.New(slog.DiscardHandler), Version: "v-test", Logs: s.logs, HostKeys: []ssh.PublicKey{key}, Terminals: s.terminals,
		Network: func() Network { return s.network },
		Manifest: func() *agentv2.Manifest {
			return &agentv2.Manifest{
				AgentName: "main", WorkspaceName: "MyWS", OwnerUsername: "alice", EnvironmentVariables: map[string]string{"PASSWORD": "hunter2"},
				Secrets: []*agentv2.WorkspaceSecret{{EnvName: "TOKEN", FilePath: "~/token", Value: []byte("hunter3")}},
			}
		},
		Metrics: func() []Metric { return []Metric{{"things", "gauge", "Things.", 2, []string{"kind", "a\"b\n\\"}}} },
	})
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// ask sends a request as a program does, changed by each of the changes.
func (s *testServer) ask(method, path, body string, changes ...func(*http.Request)) *httptest.ResponseRecorder {
	request := httptest.NewRequest(method, "http://[fd60:627a:a42b::7]:4"+path, strings.NewReader(body))
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for _, change := range changes {
		change(request)
	}
	answer := httptest.NewRecorder()
	s.http.Handler.ServeHTTP(answer, request)
	return answer
}

func TestAnswers(t *testing.T) {
	s := newServer(t)
	for name, test := range map[string]struct {
		method, path string
		status       int
		holds        string
	}{
		"hello":          {"GET", "/", 200, "Hello"},
		"nothing":        {"GET", "/api/v0/nothing", 404, "not found"},
		"containers":     {"GET", "/api/v0/containers", 403, "Containers are disabled"},
		"git":            {"GET", "/api/v0/git/watch", 404, "Not offered: this agent does not watch repositories"},
		"processes":      {"POST", "/api/v0/processes", 404, "Not offered"},
		"desktop":        {"GET", "/api/v0/desktop", 404, "Not offered"},
		"mcp":            {"POST", "/api/v0/mcp/tools", 404, "Not offered"},
		"context":        {"GET", "/api/v0/context", 404, "Not offered"},
		"context-config": {"GET", "/api/v0/context-config", 404, "Not offered"},
		"pprof":          {"GET", "/debug/pprof/", 404, "not found"},
		"host keys":      {"GET", "/api/v0/ssh-host-keys", 200, `{"version":1,"keys":["ssh-ed25519 AAAA`},
		"netcheck":       {"GET", "/api/v0/netcheck", 200, `"public_ipv4":"192.0.2.7:41641"`},
		"relays":         {"GET", "/api/v0/netcheck", 200, `"relays":[{"region_id":7,"latency_ms":1.5},{"region_id":9,"latency_ms":30}]`},
		"terminals":      {"GET", "/api/v0/terminals", 200, `"command":"vim"`},
		"no uuid":        {"DELETE", "/api/v0/terminals/x", 400, "not a UUID"},
		"no terminal":    {"DELETE", "/api/v0/terminals/" + uuid.NewString(), 404, "no terminal"},
		"magicsock":      {"GET", "/debug/magicsock", 200, "<h1>magicsock"},
		"wrong state":    {"POST", "/debug/magicsock/debug-logging/perhaps", 400, "neither on nor off"},
		"wrong method":   {"DELETE", "/debug/magicsock/debug-logging/on", 405, "Use GET"},
		"metrics":        {"GET", "/debug/prometheus", 200, "# TYPE causeway_agent_things gauge\ncauseway_agent_things{kind=\"a\\\"b\\n\\\\\"} 2\n"},
		"process":        {"GET", "/debug/prometheus", 200, "\ncauseway_agent_resident_memory_bytes "},
		"post of a get":  {"POST", "/api/v0/netcheck", 405, ""},
	} {
		t.Run(name, func(t *testing.T) {
			answer := s.ask(test.method, test.path, "")
			if answer.Code != test.status || !strings.Contains(answer.Body.String(), test.holds) {
				t.Errorf("%d %s, want %d with %q", answer.Code, answer.Body, test.status, test.holds)
			}
			if answer.Header().Get("Access-Control-Allow-Origin") != "" || answer.Header().Get("X-Frame-Options") != "DENY" {
				t.Errorf("headers are %v", answer.Header())
			}
		})
	}
	if answer := s.ask("DELETE", "/api/v0/terminals/"+s.terminals.id.String(), ""); answer.Code != 204 || s.terminals.id != uuid.Nil {
		t.Errorf("the terminal was not killed: %d %s", answer.Code, answer.Body)
	}
}

func TestNothingYet(t *testing.T) {
	s := New(Config{Logger: slog.New(slog.DiscardHandler), Logs: &Ring{}})
	defer s.Close()
	test := &testServer{Server: s, t: t}
	for path, status := range map[string]int{
		"/api/v0/netcheck": 503, "/debug/magicsock": 503, "/debug/manifest": 503, "/debug/prometheus": 200, "/debug/logs": 200,
		"/api/v0/ssh-host-keys": 200, "/api/v0/terminals": 200, "/debug/magicsock/debug-logging/1": 200,
	} {
		if answer := test.ask("GET", path, ""); answer.Code != status {
			t.Errorf("%s: %d %s, want %d", path, answer.Code, answer.Body, status)
		}
	}
	if answer := test.ask("DELETE", "/api/v0/terminals/"+uuid.NewString(), ""); answer.Code != 404 {
		t.Errorf("kill: %d", answer.Code)
	}
}

func TestManifestHidesSecrets(t *testing.T) {
	answer := newServer(t).ask("GET", "/debug/manifest", "").Body.String()
	if strings.Contains(answer, "hunter") || strings.Contains(answer, "aHVudGVy") {
		t.Errorf("a secret is shown: %s", answer)
	}
	for _, shown := range []string{`"PASSWORD"`, `"TOKEN"`, `"main"`, redacted} {
		if !strings.Contains(answer, shown) {
			t.Errorf("%s is missing in %s", shown, answer)
		}
	}
	if !json.Valid([]byte(answer)) {
		t.Errorf("not JSON: %s", answer)
	}
}

func TestNetcheckIsMeasuredOnceForMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		s.network.wait = make(chan struct{})
		answered := make(chan int, 5)
		for range 5 {
			go func() { answered <- s.ask("GET", "/api/v0/netcheck", "").Code }()
		}
		synctest.Wait()
		close(s.network.wait)
		for range 5 {
			if code := <-answered; code != 200 {
				t.Errorf("status %d", code)
			}
		}
		if s.network.measured != 1 {
			t.Errorf("measured %d times", s.network.measured)
		}
		s.Close()
	})
}

// TestNetcheckEndsWithTheServer: nothing is measured for a server that is closed.
func TestNetcheckEndsWithTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		s.network.wait = make(chan struct{}) // for ever
		go s.ask("GET", "/api/v0/netcheck", "")
		synctest.Wait()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		s.ask("GET", "/api/v0/netcheck", "")
		if s.network.measured != 1 {
			t.Errorf("measured %d times", s.network.measured)
		}
	})
}

// TestPagesInBrowsers: what a page in the browser of the user's desktop could send.
func TestPagesInBrowsers(t *testing.T) {
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	host := func(name string) func(*http.Request) { return func(r *http.Request) { r.Host = name } }
	const list, listing = "/api/v0/list-directory", `{"path":[],"relativity":"root"}`
	for name, test := range map[string]struct {
		method, path, body string
		change             func(*http.Request)
		status             int
	}{
		"program":                 {"POST", list, listing, header("User-Agent", "Go-http-client/1.1"), 200},
		"rebound name":            {"GET", "/debug/logs", "", host("evil.example.com:4"), 421},
		"rebound name, one label": {"GET", "/debug/logs", "", host("evil:4"), 421},
		"name of the local net":   {"GET", "/debug/logs", "", host("printer.local:4"), 421},
		"localhost":               {"GET", "/debug/logs", "", host("a.localhost:4"), 421},
		"name of a suffix of ccs": {"GET", "/debug/logs", "", host("evil.co.uk"), 421},
		"no host":                 {"GET", "/debug/logs", "", host(""), 421},
		"name of the office's":    {"GET", "/debug/logs", "", host("attacker.lan:4"), 421},
		"another agent's name":    {"GET", "/debug/logs", "", host("main.other.me.coder:4"), 421},
		"own name, public ending": {"GET", "/debug/logs", "", host("main.myws.me.example.com:4"), 421},
		"own name by its owner":   {"GET", "/debug/logs", "", host("main.myws.alice.coder:4"), 200},
		"own name":                {"GET", "/debug/logs", "", host("main.myws.me.coder:4"), 200},
		"own name with a dot":     {"GET", "/debug/logs", "", host("MYWS.Coder."), 200},
		"address without port":    {"GET", "/debug/logs", "", host("[fd60:627a:a42b::7]"), 200},
		"fetch across origins":    {"POST", list, listing, header("Origin", "https://evil.example.com"), 403},
		"sandboxed frame":         {"POST", list, listing, header("Origin", "null"), 403},
		"fetch metadata":          {"POST", list, listing, header("Sec-Fetch-Site", "cross-site"), 403},
		"form":                    {"POST", list, listing, header("Content-Type", "text/plain"), 415},
		"form without type":       {"POST", list, listing, func(r *http.Request) { r.Header.Del("Content-Type") }, 415},
		"delete":                  {"DELETE", "/api/v0/terminals/" + uuid.NewString(), "", header("Origin", "http://[fd60:627a:a42b::7]:4"), 403},
		"image":                   {"GET", "/debug/magicsock/debug-logging/on", "", header("User-Agent", "Mozilla/5.0 (X11; Linux x86_64)"), 403},
		"link":                    {"GET", "/debug/magicsock/debug-logging/on", "", header("Referer", "https://evil.example.com/"), 403},
		"preflight":               {"OPTIONS", list, "", header("Origin", "https://evil.example.com"), 403},
		"a person reads":          {"GET", "/debug/magicsock", "", header("User-Agent", "Mozilla/5.0 (X11; Linux x86_64)"), 200},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			answer := s.ask(test.method, test.path, test.body, test.change)
			if answer.Code != test.status {
				t.Errorf("%d %s, want %d", answer.Code, answer.Body, test.status)
			}
			if s.network.logging {
				t.Error("the page switched the log")
			}
			if got := answer.Header().Get("Access-Control-Allow-Origin"); got != "" {
				t.Errorf("CORS for %q", got)
			}
		})
	}
}

func TestDebugLogging(t *testing.T) {
	s := newServer(t)
	log := slog.New(s.logs.Handler(slog.DiscardHandler, slog.LevelInfo))
	log.Debug("first")
	if answer := s.ask("POST", "/debug/magicsock/debug-logging/true", ""); answer.Code != 200 || !s.network.logging {
		t.Fatalf("%d %s", answer.Code, answer.Body)
	}
	log.Debug("second")
	if s.ask("GET", "/debug/magicsock/debug-logging/off", ""); s.network.logging {
		t.Error("still on")
	}
	log.Debug("third")
	log.Info("fourth")
	got := s.ask("GET", "/debug/logs", "").Body.String()
	for word, want := range map[string]bool{"first": false, "second": true, "third": false, "fourth": true} {
		if strings.Contains(got, "msg="+word) != want {
			t.Errorf("%s is there: %v, want %v, in\n%s", word, !want, want, got)
		}
	}
}

func FuzzRequest(f *testing.F) {
	for _, seed := range []string{
		"GET / HTTP/1.1\r\nHost: [::1]\r\n\r\n",
		"GET /debug/manifest HTTP/1.0\r\n\r\n",
		"DELETE /api/v0/terminals/00000000-0000-0000-0000-000000000000 HTTP/1.1\r\nHost: myws.coder\r\n\r\n",
		"POST /api/v0/list-directory HTTP/1.1\r\nHost: 1.2.3.4:4\r\nContent-Type: application/json\r\nContent-Length: 31\r\n\r\n{\"path\":[],\"relativity\":\"root\"}",
		"POST /debug/magicsock/debug-logging/on HTTP/1.1\r\nHost: [fe80::1%x]\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	// The fuzzed server is asked in the same way as the one on the tailnet.
	s := New(Config{Logger: slog.New(slog.DiscardHandler), Logs: &Ring{}})
	s.ports.scan = func(context.Context) ([]Port, error) { return []Port{}, nil }
	f.Cleanup(func() { s.Close() })
	f.Fuzz(func(t *testing.T, raw []byte) {
		conn, far := net.Pipe()
		listener := newPipes()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			s.Serve(listener)
		}()
		listener.conns <- far
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		read := make(chan []byte, 1)
		go func() {
			answer, _ := io.ReadAll(io.LimitReader(conn, 1<<20))
			read <- answer
		}()
		conn.Write(raw)
		conn.Write([]byte("\r\n\r\n"))
		// A valid request whose connection goes on is cut here.
		time.AfterFunc(50*time.Millisecond, func() { conn.Close() })
		if answer := <-read; len(answer) > 0 && !slices.Contains([]string{"HTTP/1.1", "HTTP/1.0"}, string(answer[:min(8, len(answer))])) {
			t.Errorf("the answer begins with %.20q", answer)
		}
		listener.Close()
		<-ended
	})
}
