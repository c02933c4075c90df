package signin

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/causewayhq/causeway/server/limit"
	"github.com/causewayhq/causeway/server/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const goodPassword = "correct horse battery staple"

// rig is the sign-in of a server without a listener: requests are handed over
// directly, so that all of it also runs on the fake clock of synctest.
type rig struct {
	t       *testing.T
	store   *store.Store
	server  *Server
	handler http.Handler
	url     string
	logs    *lockedBuffer
	changed atomic.Int32
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func newRig(t *testing.T, accessURL string) *rig {
	t.Helper()
	r := &rig{t: t, url: accessURL, logs: &lockedBuffer{}}
	var err error
	if r.store, err = store.Open(t.Context(), t.TempDir()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.store.Close() })
	logger := slog.New(slog.NewTextHandler(r.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	r.server = New(Config{Logger: logger, Store: r.store, AccessURL: accessURL, Changed: func() { r.changed.Add(1) }})
	r.handler = r.server.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusTeapot)
	}))
	return r
}

const (
	plainURL = "http://causeway.example.com"
	tlsURL   = "https://causeway.example.com"
)

func (r *rig) user(name string) store.User {
	r.t.Helper()
	user, err := r.store.CreateUser(r.t.Context(), name, "")
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.store.SetPassword(r.t.Context(), user, goodPassword); err != nil {
		r.t.Fatal(err)
	}
	return user
}

// answer is a response that was read.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) location() string { return a.header.Get("Location") }

func (a answer) oauth(t *testing.T) string {
	t.Helper()
	var body struct{ Error string }
	if err := json.Unmarshal([]byte(a.body), &body); err != nil {
		t.Fatalf("%v in %q", err, a.body)
	}
	return body.Error
}

// browser is an HTTP client with cookies, at an address of its own.
type browser struct {
	*rig
	jar  http.CookieJar
	from string
	host string // as a proxy may change it, "" for that of the URL
	csrf string // of the last page
	head http.Header
}

func (r *rig) browser(from string) *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return &browser{rig: r, jar: jar, from: from + ":40000", head: http.Header{}}
}

var csrfField = regexp.MustCompile(`name="csrf" value="([^"]+)"`)

// do sends a request, with the cookies of the jar.
func (b *browser) do(method, target, kind, body string) answer {
	b.t.Helper()
	if !strings.HasPrefix(target, "http") {
		target = b.url + target
	}
	request := httptest.NewRequestWithContext(b.t.Context(), method, target, strings.NewReader(body))
	request.RemoteAddr = b.from
	if b.host != "" {
		request.Host = b.host
	}
	if kind != "" {
		request.Header.Set("Content-Type", kind)
	}
	for name, values := range b.head {
		request.Header[name] = values
	}
	for _, cookie := range b.jar.Cookies(request.URL) {
		request.AddCookie(cookie)
	}
	recorder := httptest.NewRecorder()
	b.handler.ServeHTTP(recorder, request)
	response := recorder.Result()
	defer response.Body.Close()
	b.jar.SetCookies(request.URL, response.Cookies())
	content, err := io.ReadAll(response.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	if field := csrfField.FindSubmatch(content); field != nil {
		b.csrf = string(field[1])
	}
	return answer{response.StatusCode, response.Header, string(content)}
}

func (b *browser) get(target string) answer { b.t.Helper(); return b.do("GET", target, "", "") }

const formKind = "application/x-www-form-urlencoded"

// post sends a form with the token of the last page.
func (b *browser) post(target string, fields ...string) answer {
	b.t.Helper()
	return b.send(target, append(fields, "csrf", b.csrf)...)
}

func (b *browser) send(target string, fields ...string) answer {
	b.t.Helper()
	form := url.Values{}
	for i := 0; i < len(fields); i += 2 {
		form.Add(fields[i], fields[i+1])
	}
	return b.do("POST", target, formKind, form.Encode())
}

// signIn gives a browser in which somebody is signed in.
func (r *rig) signIn(name, from string) *browser {
	r.t.Helper()
	b := r.browser(from)
	b.get("/login")
	if got := b.post("/login", "username", name, "password", goodPassword); got.status != http.StatusSeeOther || got.location() != "/" {
		r.t.Fatalf("sign in %s: %+v", name, got)
	}
	return b
}

type deviceCodes struct {
	DeviceCode string `json:"device_code"`
	UserCode   string `json:"user_code"`
	URI        string `json:"verification_uri"`
	Complete   string `json:"verification_uri_complete"`
	ExpiresIn  int    `json:"expires_in"`
	Interval   int    `json:"interval"`
}

func (b *browser) startDevice(name string) deviceCodes {
	b.t.Helper()
	got := b.send("/oauth2/device", "client_id", clientID, "device_name", name)
	var codes deviceCodes
	if err := json.Unmarshal([]byte(got.body), &codes); err != nil || got.status != http.StatusOK {
		b.t.Fatalf("%d %s: %v", got.status, got.body, err)
	}
	return codes
}

func (b *browser) poll(code string) answer {
	b.t.Helper()
	return b.send("/oauth2/token", "grant_type", grantDevice, "device_code", code, "client_id", clientID)
}

// accessToken reads a token and who it belongs to.
func (r *rig) accessToken(got answer) (string, store.User, store.Token) {
	r.t.Helper()
	var body tokenAnswer
	if err := json.Unmarshal([]byte(got.body), &body); err != nil || got.status != http.StatusOK || body.TokenType != "Bearer" {
		r.t.Fatalf("%d %s: %v", got.status, got.body, err)
	}
	user, token, err := r.store.AuthenticateUser(r.t.Context(), body.AccessToken)
	if err != nil {
		r.t.Fatal(err)
	}
	return body.AccessToken, user, token
}

const (
	verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk" // the example of RFC 7636, appendix B
	callback = "http://127.0.0.1:49152/callback"
)

func challengeOf(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// request is a good authorization request, with fields changed.
func request(changes ...string) url.Values {
	fields := url.Values{
		"response_type": {"code"}, "client_id": {clientID}, "redirect_uri": {callback}, "state": {"the state"},
		"code_challenge": {challengeOf(verifier)}, "code_challenge_method": {"S256"}, "device_name": {"laptop"},
	}
	for i := 0; i < len(changes); i += 2 {
		fields.Set(changes[i], changes[i+1])
	}
	return fields
}

func flat(fields url.Values) (list []string) {
	for name := range fields {
		list = append(list, name, fields.Get(name))
	}
	return list
}

// code signs in by browser up to the redirect, and gives its code.
func (b *browser) code(fields url.Values) string {
	b.t.Helper()
	if got := b.get("/oauth2/authorize?" + fields.Encode()); got.status != http.StatusOK {
		b.t.Fatalf("consent page: %d %s", got.status, got.location())
	}
	got := b.post("/oauth2/authorize", append(flat(fields), "action", "approve")...)
	back, err := url.Parse(got.location())
	if err != nil || got.status != http.StatusSeeOther || back.Query().Get("code") == "" {
		b.t.Fatalf("redirect: %d %q %v", got.status, got.location(), err)
	}
	return back.Query().Get("code")
}

func (b *browser) exchange(code string, changes ...string) answer {
	b.t.Helper()
	fields := url.Values{"grant_type": {grantCode}, "code": {code}, "redirect_uri": {callback}, "client_id": {clientID}, "code_verifier": {verifier}}
	for i := 0; i < len(changes); i += 2 {
		fields.Set(changes[i], changes[i+1])
	}
	return b.send("/oauth2/token", flat(fields)...)
}

func addressOf(from string) netip.Prefix {
	return limit.Address(&http.Request{RemoteAddr: from})
}
