package terminal

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/causewayhq/causeway/server/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestVendored holds the files to the sums that scripts/xterm.sh noted.
func TestVendored(t *testing.T) {
	count := 0
	for line := range strings.Lines(string(mustRead("assets/SHA256SUMS"))) {
		want, name, found := strings.Cut(strings.TrimSpace(line), "  ")
		if !found {
			t.Fatalf("line %q", line)
		}
		sum := sha256.Sum256(mustRead("assets/" + name))
		if hex.EncodeToString(sum[:]) != want {
			t.Errorf("%s is not what was vendored: run scripts/xterm.sh", name)
		}
		count++
	}
	if count != 5 {
		t.Errorf("%d files", count)
	}
	for _, name := range []string{"xterm.LICENSE", "addon-fit.LICENSE"} {
		if !bytes.Contains(mustRead("assets/"+name), []byte("Permission is hereby granted, free of charge")) {
			t.Errorf("%s is another licence: read it", name)
		}
	}
}

// site is the pages over a store with alice's and bob's workspaces.
type site struct {
	t      *testing.T
	store  *store.Store
	server *Server
	user   store.User // who is signed in; zero for nobody
	broken error
	status string
	alice  store.User
	main   store.Agent
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, status: "connected"}
	var err error
	check := func() {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	s.store, err = store.Open(t.Context(), t.TempDir())
	check()
	t.Cleanup(func() { s.store.Close() })
	s.alice, err = s.store.CreateUser(t.Context(), "alice", "alice@example.com")
	check()
	one, err := s.store.CreateWorkspace(t.Context(), s.alice, "myws")
	check()
	s.main, err = s.store.CreateAgent(t.Context(), one, "main")
	check()
	two, err := s.store.CreateWorkspace(t.Context(), s.alice, "two")
	check()
	for _, name := range []string{"a", "b"} {
		_, err = s.store.CreateAgent(t.Context(), two, name)
		check()
	}
	_, err = s.store.CreateWorkspace(t.Context(), s.alice, "none")
	check()
	bob, err := s.store.CreateUser(t.Context(), "bob", "bob@example.com")
	check()
	other, err := s.store.CreateWorkspace(t.Context(), bob, "bobs")
	check()
	_, err = s.store.CreateAgent(t.Context(), other, "main")
	check()
	s.user = s.alice
	s.server = New(Config{
		Logger: slog.New(slog.DiscardHandler), Store: s.store, AccessURL: "https://causeway.example.com", HostnameSuffix: "coder",
		Status: func(store.Agent) string { return s.status },
		Session: func(*http.Request) (store.Proof, string, error) {
			switch {
			case s.broken != nil:
				return store.Proof{}, "", s.broken
			case s.user.ID == uuid.Nil:
				return store.Proof{}, "", store.ErrNotFound
			}
			return store.Proof{User: s.user}, "secret", nil
		},
	})
	return s
}

func (s *site) get(method, path string) (*http.Response, string) {
	s.t.Helper()
	recorder := httptest.NewRecorder()
	rest := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	s.server.Handler(rest).ServeHTTP(recorder, httptest.NewRequest(method, path, http.NoBody))
	response := recorder.Result()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	response.Body.Close()
	return response, string(body)
}

func TestPages(t *testing.T) {
	s := newSite(t)
	id := uuid.NewString()
	for path, want := range map[string]struct {
		status int
		says   []string
	}{
		"/":                          {418, nil},
		"/login":                     {418, nil},
		"/@alice/myws":               {200, []string{"<title>myws</title>", "ssh main.myws.me.coder", `href="/@alice/myws.main/terminal"`, "Connected."}},
		"/@ALICE/MyWS/":              {200, []string{"ssh main.myws.me.coder"}},
		"/@me/myws":                  {200, []string{"ssh main.myws.me.coder"}},
		"/@alice/myws.main":          {200, []string{"ssh main.myws.me.coder"}},
		"/@alice/none":               {200, []string{"causeway-server agent create alice/none/main"}},
		"/@alice/two":                {200, []string{"ssh a.two.me.coder", "ssh b.two.me.coder"}},
		"/@alice/two/terminal":       {404, []string{"Choose an agent", "/@alice/two.b/terminal"}},
		"/@alice/myws.gone/terminal": {404, []string{"Choose an agent"}},
		"/@alice/myws/terminal?reconnect=" + id: {200, []string{"Terminal: main.myws", "/api/v2/workspaceagents/" + s.main.ID.String() + "/pty?reconnect=" + id,
			"/login?next=" + url.QueryEscape("/@alice/myws.main/terminal?reconnect=" + id)[:10]}},
		"/@alice/myws.main/terminal/state": {200, []string{`{"status":"connected"}`}},
		"/@alice/myws.gone/terminal/state": {404, []string{`message`}},
		"/@alice/unknown":                  {404, []string{"no such workspace"}},
		"/@bob/bobs":                       {404, []string{"no such workspace"}},
		"/@bob/bobs.main/terminal":         {404, []string{"no such workspace"}},
		"/@alice/bobs":                     {404, []string{"no such workspace"}},
		"/@alice":                          {404, []string{"no such workspace"}},
		"/@alice/myws/apps/x":              {404, []string{"no pages of apps"}},
		"/@alice/%3Cscript%3E":             {404, []string{"no such workspace"}},
		assetsPath + "terminal.mjs":        {200, []string{"WebSocket"}},
		assetsPath + "SHA256SUMS":          {404, nil},
		assetsPath + "../assets.go":        {404, nil},
		"/terminal-assets/old/xterm.css":   {404, nil},
	} {
		response, body := s.get(http.MethodGet, path)
		if response.StatusCode != want.status {
			t.Errorf("%s: %d, want %d", path, response.StatusCode, want.status)
		}
		for _, text := range want.says {
			if !strings.Contains(strings.ReplaceAll(body, "&amp;", "&"), text) {
				t.Errorf("%s does not say %q:\n%s", path, text, body)
			}
		}
	}
	if response, _ := s.get(http.MethodPost, "/@alice/myws"); response.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", response.StatusCode)
	}
}

// TestStatusWords holds that each state says what to do, and that only an agent
// that is connected has a terminal.
func TestStatusWords(t *testing.T) {
	s := newSite(t)
	for status, want := range map[string]string{"connected": "Connected.", "connecting": "token", "disconnected": "Start the workspace", "unknown": "half a minute"} {
		s.status = status
		_, body := s.get(http.MethodGet, "/@alice/myws")
		if !strings.Contains(body, want) || strings.Contains(body, "Open a terminal") != (status == "connected") {
			t.Errorf("%s: %s", status, body)
		}
	}
}

// TestNewSessionHasAnID holds that a terminal without an id, or with a bad one,
// gets one into its address.
func TestNewSessionHasAnID(t *testing.T) {
	s := newSite(t)
	seen := map[string]bool{}
	for _, query := range []string{"", "?reconnect=", "?reconnect=junk", "?reconnect=" + uuid.Nil.String()} {
		response, _ := s.get(http.MethodGet, "/@alice/myws/terminal"+query)
		target, err := response.Location()
		if err != nil || response.StatusCode != http.StatusSeeOther || target.Path != "/@alice/myws.main/terminal" {
			t.Fatalf("%q: %d to %v, %v", query, response.StatusCode, target, err)
		}
		id := target.Query().Get("reconnect")
		if _, err := uuid.Parse(id); err != nil || seen[id] {
			t.Errorf("id %q, %v", id, err)
		}
		seen[id] = true
	}
}

// TestSignedOut leads to the sign-in page and back, and only within this server.
func TestSignedOut(t *testing.T) {
	s := newSite(t)
	s.user = store.User{}
	for _, path := range []string{"/@alice/myws", "/@bob/bobs", "/@nobody/at.all/terminal?reconnect=x&y=1", "/@x//evil.example.com"} {
		response, _ := s.get(http.MethodGet, path)
		target, err := response.Location()
		if err != nil || response.StatusCode != http.StatusSeeOther || target.Host != "" || target.Path != "/login" || target.Query().Get("next") != path {
			t.Errorf("%s: %d to %v, %v", path, response.StatusCode, target, err)
		}
	}
	if response, body := s.get(http.MethodGet, "/@alice/myws.main/terminal/state"); response.StatusCode != http.StatusUnauthorized || !strings.Contains(body, "signed out") {
		t.Errorf("state: %d %s", response.StatusCode, body)
	}
	s.broken = errors.New("disk full")
	if response, body := s.get(http.MethodGet, "/@alice/myws"); response.StatusCode != http.StatusServiceUnavailable || strings.Contains(body, "disk full") {
		t.Errorf("broken: %d %s", response.StatusCode, body)
	}
}

// TestPolicy holds every page to its policy: no inline script or style, nothing
// from elsewhere, a new nonce each time.
func TestPolicy(t *testing.T) {
	s := newSite(t)
	nonces := map[string]bool{}
	inline := regexp.MustCompile(`(?i)<style|style=|<script(?:[^>]*)>[^<]|\son[a-z]+=|javascript:`)
	outside := regexp.MustCompile(`(?:src|href)="(?:https?:)?//`)
	for _, path := range []string{"/@alice/myws", "/@alice/gone", "/@alice/myws.main/terminal?reconnect=" + uuid.NewString()} {
		response, body := s.get(http.MethodGet, path)
		policy := response.Header.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "script-src 'self';", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"} {
			if !strings.Contains(policy, want) {
				t.Errorf("%s: policy %q lacks %q", path, policy, want)
			}
		}
		if strings.Contains(policy, "'unsafe-eval'") || strings.Count(policy, "unsafe-inline") != 1 || !strings.Contains(policy, "style-src-attr 'unsafe-inline'") {
			t.Errorf("%s: policy %q", path, policy)
		}
		nonce := regexp.MustCompile(`nonce-([A-Z2-7]{26})'`).FindStringSubmatch(policy)
		if nonce == nil || nonces[nonce[1]] {
			t.Errorf("%s: nonce %v", path, nonce)
		} else {
			nonces[nonce[1]] = true
		}
		if found := inline.FindString(body); found != "" {
			t.Errorf("%s has %q", path, found)
		}
		if found := outside.FindString(body); found != "" {
			t.Errorf("%s has %q", path, found)
		}
		for _, name := range []string{"X-Frame-Options", "X-Content-Type-Options", "Referrer-Policy", "Cross-Origin-Opener-Policy"} {
			if response.Header.Get(name) == "" {
				t.Errorf("%s: no %s", path, name)
			}
		}
		if response.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s may be kept", path)
		}
	}
	if response, _ := s.get(http.MethodGet, assetsPath+"xterm.mjs"); !strings.Contains(response.Header.Get("Cache-Control"), "immutable") ||
		!strings.HasPrefix(response.Header.Get("Content-Type"), "text/javascript") {
		t.Errorf("asset: %v", response.Header)
	}
}

func FuzzPath(f *testing.F) {
	for _, path := range []string{"/@alice/myws.main/terminal", "/@me/x", "/@//", "/@a/b.c/terminal/state"} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		parts := pagePath.FindStringSubmatch(path)
		if parts != nil && (strings.ContainsAny(path, "\\?#%\r\n ") || strings.Contains(path, "//")) {
			t.Errorf("%q is taken", path)
		}
	})
}
