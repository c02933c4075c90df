package signin

import (
	"crypto/sha256"
	"encoding/base64"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/causewayhq/causeway/server/store"
)

// cookieOf is a cookie that an answer sets.
func (a answer) cookie(name string) *http.Cookie {
	for _, cookie := range (&http.Response{Header: a.header}).Cookies() {
		if cookie.Name == name {
			return cookie
		}
	}
	return nil
}

// TestCookies holds the flags of both cookies, on https and without.
func TestCookies(t *testing.T) {
	for url, prefix := range map[string]string{plainURL: "", tlsURL: "__Host-"} {
		r := newRig(t, url)
		r.user("alice")
		b := r.browser("192.0.2.1")
		page := b.get("/login")
		in := b.post("/login", "username", "alice", "password", goodPassword)
		for name, got := range map[string]answer{formCookie: page, sessionCookie: in} {
			cookie := got.cookie(prefix + name)
			if cookie == nil {
				t.Errorf("%s: no %s in %v", url, prefix+name, got.header)
				continue
			}
			if !cookie.HttpOnly || cookie.Secure != (prefix != "") || cookie.SameSite != http.SameSiteLaxMode || cookie.Path != "/" || cookie.Domain != "" || cookie.MaxAge != 0 {
				t.Errorf("%s: %s", url, cookie)
			}
		}
		out := b.post("/logout")
		if out.status == http.StatusOK {
			t.Error("signed out by the form of the page before the sign-in")
		}
		b.get("/device")
		if out = b.post("/logout"); out.status != http.StatusOK || out.cookie(prefix+sessionCookie) == nil || out.cookie(prefix+sessionCookie).MaxAge != -1 {
			t.Errorf("%s: signed out: %d %v", url, out.status, out.header)
		}
		if _, err := r.store.SessionUser(t.Context(), in.cookie(prefix+sessionCookie).Value); err == nil {
			t.Error("the session is good after signing out")
		}
		if got := b.get("/device"); got.status != http.StatusSeeOther {
			t.Errorf("after signing out: %d", got.status)
		}
	}
}

// TestHeaders holds what keeps pages from being framed, scripted, cached and
// led elsewhere, on every page and every refusal; and that the one style that is
// allowed is the one that is there.
func TestHeaders(t *testing.T) {
	r := newRig(t, plainURL)
	r.user("alice")
	b, out := r.signIn("alice", "192.0.2.1"), r.browser("192.0.2.2")
	out.head.Set("Accept", "text/html,application/xhtml+xml")
	b.head.Set("Accept", "text/html")
	codes := r.browser("192.0.2.9").startDevice("pi")
	style := regexp.MustCompile(`(?s)<style>(.*)</style>`)
	for name, got := range map[string]answer{
		"home": out.get("/"), "home signed in": b.get("/"), "login": out.get("/login"), "device": b.get("/device"), "device, not signed in": out.get("/device"),
		"confirm": b.get("/device?user_code=" + codes.UserCode), "unknown code": b.get("/device?user_code=x"), "cli-auth": b.get("/cli-auth"), "token": b.post("/cli-auth"),
		"consent": b.get("/oauth2/authorize?" + request().Encode()), "consent on IPv6": b.get("/oauth2/authorize?" + request("redirect_uri", "http://[::1]:1/callback").Encode()),
		"bad request": b.get("/oauth2/authorize"), "refused form": b.send("/device"), "wrong password": out.post("/login", "username", "x", "password", "y"),
	} {
		policy := got.header.Get("Content-Security-Policy")
		for _, part := range []string{"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'", "style-src 'sha256-"} {
			if !strings.Contains(policy, part) {
				t.Errorf("%s: %q has no %q", name, policy, part)
			}
		}
		if strings.Contains(policy, "unsafe") || strings.Contains(policy, "script-src") || strings.Contains(policy, "*") {
			t.Errorf("%s: %q", name, policy)
		}
		for header, want := range map[string]string{"X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin", "Cache-Control": "no-store", "Cross-Origin-Opener-Policy": "same-origin"} {
			if value := got.header.Get(header); value != want {
				t.Errorf("%s: %s is %q", name, header, value)
			}
		}
		if got.status == http.StatusSeeOther {
			continue
		}
		if kind := got.header.Get("Content-Type"); kind != "text/html; charset=utf-8" {
			t.Errorf("%s: %s", name, kind)
		}
		match := style.FindStringSubmatch(got.body)
		if match == nil {
			t.Errorf("%s: no style", name)
			continue
		}
		if sum := sha256.Sum256([]byte(match[1])); !strings.Contains(policy, "style-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'") {
			t.Errorf("%s: browsers would refuse the style", name)
		}
		for _, banned := range []string{"<script", " style=", "<img", "<link", "javascript:", " onclick", "@import", "url("} {
			if strings.Contains(got.body, banned) {
				t.Errorf("%s has %q", name, banned)
			}
		}
		if strings.Count(got.body, "<input") != strings.Count(got.body, `type="hidden"`)+strings.Count(got.body, "<label for=") || !strings.Contains(got.body, `<html lang="en">`) {
			t.Errorf("%s: an input without a label, or no language:\n%s", name, got.body)
		}
		if strings.Contains(got.body, "<form") != strings.Contains(got.body, `name="csrf" value="`) {
			t.Errorf("%s: a form without its token", name)
		}
	}
	if got := b.get("/oauth2/authorize?" + request("redirect_uri", "http://[::1]:1/callback").Encode()); !strings.HasSuffix(got.header.Get("Content-Security-Policy"), "form-action 'self' http:") {
		t.Errorf("IPv6: %s", got.header.Get("Content-Security-Policy"))
	}
}

// TestHome: a browser gets a page, everything else what was there before.
func TestHome(t *testing.T) {
	r := newRig(t, tlsURL)
	b := r.browser("192.0.2.1")
	for accept, status := range map[string]int{
		"": http.StatusTeapot, "*/*": http.StatusTeapot, "application/json": http.StatusTeapot, "application/json, text/html": http.StatusTeapot,
		"text/html": http.StatusOK, "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8": http.StatusOK, "text/html;q=0.9": http.StatusOK,
	} {
		b.head.Set("Accept", accept)
		got := b.get("/")
		if got.status != status || status == http.StatusOK && !strings.Contains(got.body, "causeway login "+tlsURL) {
			t.Errorf("%q: %d %s", accept, got.status, got.body)
		}
		if head := b.do("HEAD", "/", "", ""); head.status != status {
			t.Errorf("HEAD with %q: %d", accept, head.status)
		}
	}
	b.head.Set("Accept", "text/html")
	if got := b.get("/nothing"); got.status != http.StatusTeapot {
		t.Errorf("what is no page: %d", got.status)
	}
}

// TestCSRF: a form that is not of our own page in this browser does nothing.
func TestCSRF(t *testing.T) {
	r := newRig(t, plainURL)
	r.user("alice")
	b, other := r.signIn("alice", "192.0.2.1"), r.browser("192.0.2.66")
	b.get("/device")
	other.get("/login")
	session := b.cookieValue(sessionCookie)
	forms := map[string][]string{
		"/device": {"user_code", "BBBBBBBB", "action", "approve"}, "/oauth2/authorize": append(flat(request()), "action", "approve"), "/cli-auth": nil, "/logout": nil,
		"/login": {"username", "alice", "password", goodPassword},
	}
	for target, fields := range forms {
		for name, csrf := range map[string]string{"missing": "", "wrong": strings.Repeat("A", 43), "another browser's": other.csrf, "the cookie itself": session} {
			got := b.send(target, append(fields, "csrf", csrf)...)
			if got.status != http.StatusForbidden || !strings.Contains(got.body, "Nothing was done") || got.cookie(sessionCookie) != nil || got.location() != "" {
				t.Errorf("%s, token %s: %d %s", target, name, got.status, got.location())
			}
		}
		for name, head := range map[string][2]string{"origin": {"Origin", "https://evil.example.com"}, "opaque origin": {"Origin", "null"}, "site": {"Sec-Fetch-Site", "cross-site"}, "sister site": {"Sec-Fetch-Site", "same-site"}} {
			b.head.Set(head[0], head[1])
			if got := b.post(target, fields...); got.status != http.StatusForbidden || !strings.Contains(got.body, "another site") {
				t.Errorf("%s, foreign %s: %d", target, name, got.status)
			}
			b.head.Del(head[0])
		}
	}
	if _, err := r.store.SessionUser(t.Context(), session); err != nil {
		t.Errorf("the session after all that: %v", err)
	}
	// A browser that keeps no cookies has nothing to show that the page is ours.
	blank := r.browser("192.0.2.3")
	if got := blank.send("/login", "username", "alice", "password", goodPassword, "csrf", other.csrf); got.status != http.StatusForbidden || !strings.Contains(got.body, "keeps no cookies") {
		t.Errorf("no cookie: %d %s", got.status, got.body)
	}
	// Behind a proxy that changes the Host, the access URL is the origin.
	proxied := newRig(t, tlsURL)
	proxied.user("alice")
	p := proxied.browser("192.0.2.1")
	p.get("/login")
	p.head.Set("Origin", tlsURL)
	p.host = "10.0.0.7:7080"
	if got := p.post("/login", "username", "alice", "password", goodPassword); got.status != http.StatusSeeOther {
		t.Errorf("behind a proxy: %d %s", got.status, got.body)
	}
}

func (b *browser) cookieValue(name string) string {
	b.t.Helper()
	parsed, err := url.Parse(b.url)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, cookie := range b.jar.Cookies(parsed) {
		if cookie.Name == name {
			return cookie.Value
		}
	}
	b.t.Fatalf("no cookie %s", name)
	return ""
}

// TestSessionFixation: whoever plants cookies in a browser before its user signs
// in knows nothing of the session afterwards.
func TestSessionFixation(t *testing.T) {
	r := newRig(t, plainURL)
	r.user("alice")
	r.user("mallory")
	m := r.signIn("mallory", "192.0.2.66")
	planted := m.cookieValue(sessionCookie)
	parsed, err := url.Parse(plainURL)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"a session of mallory's": planted, "a made-up session": strings.Repeat("a", store.SessionLength), "nonsense": "x", "a long one": strings.Repeat("x", 4000)} {
		victim := r.browser("192.0.2.1")
		victim.jar.SetCookies(parsed, []*http.Cookie{{Name: sessionCookie, Value: value}, {Name: formCookie, Value: value}})
		victim.get("/login")
		if got := victim.post("/login", "username", "alice", "password", goodPassword); got.status != http.StatusSeeOther {
			t.Fatalf("%s: %d %s", name, got.status, got.body)
		}
		session := victim.cookieValue(sessionCookie)
		if proof, err := r.store.SessionUser(t.Context(), session); session == value || err != nil || proof.User.Name != "alice" {
			t.Errorf("%s: %v", name, err)
		}
		if proof, err := r.store.SessionUser(t.Context(), value); err == nil {
			t.Errorf("%s is a session of %s", name, proof.User.Name)
		}
	}
	a := r.signIn("alice", "192.0.2.1")
	before := a.cookieValue(sessionCookie)
	a.get("/login")
	a.post("/login", "username", "alice", "password", goodPassword)
	if _, err := r.store.SessionUser(t.Context(), before); err == nil || a.cookieValue(sessionCookie) == before {
		t.Error("the session before a second sign-in is good")
	}
}

// TestNext: a sign-in leads to a page of ours and nowhere else.
func TestNext(t *testing.T) {
	r := newRig(t, plainURL)
	r.user("alice")
	for next, want := range map[string]string{
		"": "/", "/device": "/device", "/device?user_code=WDJB-MJHT": "/device?user_code=WDJB-MJHT", "/cli-auth": "/cli-auth",
		"https://evil.example.com": "/", "//evil.example.com": "/", "/\\evil.example.com": "/", "\\\\evil.example.com": "/", "/device/../../evil": "/", "/%2e%2e/evil": "/",
		"/device@evil.example.com": "/", "device": "/", "/login?next=//evil.example.com": "/", "/logout": "/", "/api/v2/users": "/", "javascript:alert(1)": "/",
		"/device?a=1&a=2": "/device", "/device?%zz": "/device", "/device?x=\r\nSet-Cookie: a=b": "/device?x=%0D%0ASet-Cookie%3A+a%3Db", "/device?" + strings.Repeat("x", 5000): "/device",
	} {
		b := r.browser("192.0.2.1")
		page := b.get("/login?" + url.Values{"next": {next}}.Encode())
		if got := html.UnescapeString(regexpValue(t, page.body, "next")); got != want {
			t.Errorf("%.40q on the page: %q", next, got)
		}
		if got := b.post("/login", "username", "alice", "password", goodPassword, "next", next); len(next) <= fieldLimit && got.location() != want {
			t.Errorf("%.40q in the form: %q", next, got.location())
		}
	}
}

func message(got answer) string {
	_, rest, _ := strings.Cut(got.body, `role="alert">`)
	text, _, _ := strings.Cut(rest, "<")
	return text
}

// TestCLIAuth: the page makes a token on a click and not before, shows it once,
// and it is the user's own.
func TestCLIAuth(t *testing.T) {
	r := newRig(t, plainURL)
	alice := r.user("alice")
	if got := r.browser("192.0.2.1").get("/cli-auth"); got.location() != "/login?next=%2Fcli-auth" {
		t.Errorf("not signed in: %d %s", got.status, got.location())
	}
	stranger := r.browser("192.0.2.66")
	stranger.get("/login")
	for _, path := range []string{"/cli-auth", "/device"} {
		if got := stranger.post(path, "action", "approve"); got.status != http.StatusSeeOther || !strings.HasPrefix(got.location(), "/login?") {
			t.Errorf("a form of %s without a session: %d %s", path, got.status, got.body)
		}
	}
	b := r.signIn("alice", "192.0.2.1")
	for range 3 {
		if got := b.get("/cli-auth"); strings.Contains(got.body, "cwu_") {
			t.Fatal("a token without a click")
		}
	}
	if tokens, err := r.store.UserTokens(t.Context(), alice.ID); err != nil || len(tokens) != 0 {
		t.Errorf("%d tokens without a click", len(tokens))
	}
	got := b.post("/cli-auth")
	_, rest, _ := strings.Cut(got.body, `<pre id="token">`)
	secret, _, _ := strings.Cut(rest, "</pre>")
	user, token, err := r.store.AuthenticateUser(t.Context(), secret)
	if err != nil || user.ID != alice.ID || token.ExpiresAt.Sub(token.CreatedAt) != tokenLife || got.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%q: %+v %v", secret, token, err)
	}
	if got := b.get("/cli-auth"); strings.Contains(got.body, secret) || strings.Contains(r.logs.String(), secret) {
		t.Error("the token is shown again, or logged")
	}
}

// TestPagesTakeNoToken: an API token opens no page.
func TestPagesTakeNoToken(t *testing.T) {
	r := newRig(t, plainURL)
	alice := r.user("alice")
	_, secret, err := r.store.CreateUserToken(t.Context(), alice.ID, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	b := r.browser("192.0.2.1")
	b.head.Set("Coder-Session-Token", secret.Reveal())
	b.head.Set("Authorization", "Bearer "+secret.Reveal())
	b.head.Set("Cookie", sessionCookie+"="+secret.Reveal())
	for _, path := range []string{"/device", "/cli-auth", "/oauth2/authorize?" + request().Encode()} {
		if got := b.get(path); got.status != http.StatusSeeOther {
			t.Errorf("%s: %d", path, got.status)
		}
	}
}
