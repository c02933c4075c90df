package server

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/causewayhq/causeway/server/store"
)

// TestSignInOnTheWhole: the assembled server has the pages and endpoints, the API
// takes no cookie of theirs, and a token that is revoked there ends its tunnel.
func TestSignInOnTheWhole(t *testing.T) {
	s, _ := start(t, Config{})
	user, err := s.store.CreateUser(t.Context(), "alice", "")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.store.SetPassword(t.Context(), user, "correct horse battery staple"); err != nil {
		t.Fatal(err)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Jar: jar}
	defer client.CloseIdleConnections()
	post := func(path string, form url.Values) (int, string) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL()+path, strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(body)
	}
	csrf := func(page string) string {
		return regexp.MustCompile(`name="csrf" value="([^"]+)"`).FindStringSubmatch(page)[1]
	}
	_, page := get(t, client, s.URL()+"/login?next=/cli-auth")
	status, page := post("/login", url.Values{"username": {"alice"}, "password": {"correct horse battery staple"}, "next": {"/cli-auth"}, "csrf": {csrf(page)}})
	if status != http.StatusOK || !strings.Contains(page, "Make a token") {
		t.Fatalf("%d %s", status, page)
	}
	for _, path := range []string{"/api/v2/users/me", "/api/v2/tailnet?version=2.3", "/api/v2/workspaces"} {
		if status, _ := get(t, client, s.URL()+path); status != http.StatusUnauthorized {
			t.Errorf("%s with the cookie of a session: %d", path, status)
		}
	}
	if status, body := get(t, http.DefaultClient, s.URL()+"/.well-known/oauth-authorization-server"); status != http.StatusOK || !strings.Contains(body, `"issuer":"`+s.URL()+`"`) {
		t.Errorf("%d %s", status, body)
	}
	if status, body := get(t, http.DefaultClient, s.URL()+"/"); status != http.StatusOK || !strings.HasPrefix(body, "{") {
		t.Errorf("a program gets %d %s", status, body)
	}
	_, page = post("/cli-auth", url.Values{"csrf": {csrf(page)}})
	token := regexp.MustCompile(`cwu_[a-z2-7]{16}_[a-z2-7]{52}`).FindString(page)
	conn, _, err := websocket.Dial(t.Context(), strings.Replace(s.URL(), "http", "ws", 1)+"/api/v2/tailnet?version=2.3", &websocket.DialOptions{HTTPHeader: http.Header{"Coder-Session-Token": {token}}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	began := time.Now()
	if status, body := post("/oauth2/revoke", url.Values{"token": {token}, "client_id": {"causeway"}}); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	for err == nil {
		_, _, err = conn.Read(t.Context())
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("the tunnel ended after %s", took)
	}
	if _, _, err := s.store.AuthenticateUser(t.Context(), token); !errors.Is(err, store.ErrTokenRevoked) {
		t.Error(err)
	}
}

// TestProxyForms: IPv4 in IPv6's clothes would never be met, as addresses of
// clients are compared without them.
func TestProxyForms(t *testing.T) {
	for text, want := range map[string]string{
		"::ffff:127.0.0.1": "127.0.0.1/32", "fe80::1%lo": "fe80::1/128", "10.1.2.3/8": "10.0.0.0/8", "2001:db8::/32": "2001:db8::/32",
		"::ffff:10.0.0.0/104": "", "0.0.0.0/0": "", "::/0": "", "proxy.example.com": "", "": "",
	} {
		got, err := ParseProxies([]string{text})
		switch {
		case want == "" && err == nil:
			t.Errorf("%q: %v", text, got)
		case want != "" && (err != nil || len(got) != 1 || got[0].String() != want):
			t.Errorf("%q: %v %v, want %s", text, got, err, want)
		}
	}
}

// TestTrustedProxies: the address that a proxy of ours names is the one that
// people see; from others the header counts for nothing.
func TestTrustedProxies(t *testing.T) {
	for text, want := range map[string]string{"127.0.0.1": "198.51.100.7", "10.0.0.0/8": "127.0.0.1"} {
		proxies, err := ParseProxies([]string{text})
		if err != nil {
			t.Fatal(err)
		}
		s, _ := start(t, Config{TrustedProxies: proxies})
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL()+"/oauth2/device", strings.NewReader("client_id=causeway"))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		request.Header.Set("X-Forwarded-For", "198.51.100.7")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		var codes struct {
			UserCode string `json:"user_code"`
		}
		if err := json.NewDecoder(response.Body).Decode(&codes); err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		user, err := s.store.CreateUser(t.Context(), "alice", "")
		if err != nil {
			t.Fatal(err)
		}
		session, err := s.store.CreateSession(t.Context(), store.Proof{User: user})
		if err != nil {
			t.Fatal(err)
		}
		request, err = http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL()+"/device?user_code="+codes.UserCode, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		request.AddCookie(&http.Cookie{Name: "causeway_session", Value: session.Reveal()})
		response, err = http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		page, err := io.ReadAll(response.Body)
		response.Body.Close()
		http.DefaultClient.CloseIdleConnections()
		if err != nil || !strings.Contains(string(page), "<dd>"+want+"</dd>") {
			t.Errorf("proxies %s: the page does not name %s (%v)", text, want, err)
		}
	}
}
