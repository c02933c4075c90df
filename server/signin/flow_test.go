package signin

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// TestDeviceFlow is the whole way of RFC 8628: ask, poll, sign in, confirm, token.
func TestDeviceFlow(t *testing.T) {
	r := newRig(t, plainURL)
	alice := r.user("alice")
	device := r.browser("192.0.2.9")
	codes := device.startDevice("workshop pi")
	if codes.URI != plainURL+"/device" || codes.Complete != codes.URI+"?user_code="+codes.UserCode || codes.ExpiresIn != 600 || codes.Interval != 5 {
		t.Errorf("%+v", codes)
	}
	if got := device.poll(codes.DeviceCode); got.status != http.StatusBadRequest || got.oauth(t) != "authorization_pending" {
		t.Errorf("first poll: %+v", got)
	}
	b := r.browser("192.0.2.1")
	got := b.get("/device?user_code=" + codes.UserCode)
	if got.status != http.StatusSeeOther || got.location() != "/login?next=%2Fdevice%3Fuser_code%3D"+codes.UserCode {
		t.Fatalf("not signed in: %d %s", got.status, got.location())
	}
	got = b.get(got.location())
	next := regexpValue(t, got.body, "next")
	got = b.post("/login", "username", "Alice", "password", goodPassword, "next", next)
	if got.status != http.StatusSeeOther || got.location() != "/device?user_code="+codes.UserCode {
		t.Fatalf("sign-in: %d %s %s", got.status, got.location(), got.body)
	}
	got = b.get(got.location())
	for _, part := range []string{codes.UserCode, "workshop pi", "192.0.2.9", "UTC", "Say yes only if"} {
		if !strings.Contains(got.body, part) {
			t.Errorf("the page does not say %q:\n%s", part, got.body)
		}
	}
	if got = b.post("/device", "user_code", codes.UserCode, "action", "approve"); got.status != http.StatusOK || !strings.Contains(got.body, "Device signed in") {
		t.Errorf("approval: %d %s", got.status, got.body)
	}
	secret, user, token := r.accessToken(device.poll(codes.DeviceCode))
	if user.ID != alice.ID || token.Name != "workshop pi" || token.ExpiresAt.Sub(token.CreatedAt) != tokenLife {
		t.Errorf("%+v %+v", user, token)
	}
	if got := device.poll(codes.DeviceCode); got.oauth(t) != "invalid_grant" {
		t.Errorf("replay: %+v", got)
	}
	if _, _, err := r.store.AuthenticateUser(t.Context(), secret); err != nil {
		t.Errorf("after a replay of the device code: %v", err)
	}
	if got := b.post("/device", "user_code", codes.UserCode, "action", "approve"); got.status != http.StatusNotFound {
		t.Errorf("the user code again: %d", got.status)
	}
	for _, text := range []string{secret, codes.DeviceCode, codes.UserCode, goodPassword} {
		if strings.Contains(r.logs.String(), text) {
			t.Errorf("a secret is in the log")
		}
	}
}

// TestCodeFlow is the whole way of RFC 7636 with a loopback redirect.
func TestCodeFlow(t *testing.T) {
	r := newRig(t, plainURL)
	alice := r.user("alice")
	b := r.browser("192.0.2.1")
	got := b.get("/oauth2/authorize?" + request().Encode())
	if got.status != http.StatusSeeOther || !strings.HasPrefix(got.location(), "/login?next=%2Foauth2%2Fauthorize%3F") {
		t.Fatalf("not signed in: %d %s", got.status, got.location())
	}
	got = b.get(got.location())
	got = b.post("/login", "username", "alice", "password", goodPassword, "next", regexpValue(t, got.body, "next"))
	got = b.get(got.location())
	if got.status != http.StatusOK || !strings.Contains(got.body, "laptop") || !strings.Contains(got.body, "127.0.0.1:49152") {
		t.Fatalf("consent: %d %s", got.status, got.body)
	}
	if policy := got.header.Get("Content-Security-Policy"); !strings.HasSuffix(policy, "form-action 'self' http://127.0.0.1:49152") {
		t.Errorf("browsers would stop the redirect: %s", policy)
	}
	fields := []string{"action", "approve"}
	for name := range request() {
		fields = append(fields, name, regexpValue(t, got.body, name))
	}
	got = b.post("/oauth2/authorize", fields...)
	back, err := url.Parse(got.location())
	if err != nil || got.status != http.StatusSeeOther || !strings.HasPrefix(got.location(), callback+"?") {
		t.Fatalf("%d %q %v", got.status, got.location(), err)
	}
	if query := back.Query(); query.Get("state") != "the state" || query.Get("iss") != plainURL {
		t.Errorf("%v", query)
	}
	program := r.browser("192.0.2.1")
	_, user, token := r.accessToken(program.exchange(back.Query().Get("code")))
	if user.ID != alice.ID || token.Name != "laptop" || time.Until(token.ExpiresAt) < tokenLife-time.Minute {
		t.Errorf("%+v %+v", user, token)
	}
}

func regexpValue(t *testing.T, body, name string) string {
	t.Helper()
	_, rest, found := strings.Cut(body, `name="`+name+`" value="`)
	value, _, closed := strings.Cut(rest, `"`)
	if !found || !closed {
		t.Fatalf("no field %s in\n%s", name, body)
	}
	return strings.NewReplacer("&amp;", "&", "&#43;", "+").Replace(value)
}

func TestMetadata(t *testing.T) {
	r := newRig(t, tlsURL)
	got := r.browser("192.0.2.1").get("/.well-known/oauth-authorization-server")
	var body map[string]any
	if err := json.Unmarshal([]byte(got.body), &body); err != nil || got.status != http.StatusOK || got.header.Get("Content-Type") != "application/json; charset=utf-8" {
		t.Fatalf("%+v %v", got, err)
	}
	for name, want := range map[string]string{
		"issuer": tlsURL, "authorization_endpoint": tlsURL + "/oauth2/authorize", "token_endpoint": tlsURL + "/oauth2/token",
		"device_authorization_endpoint": tlsURL + "/oauth2/device", "revocation_endpoint": tlsURL + "/oauth2/revoke",
	} {
		if body[name] != want {
			t.Errorf("%s is %v, want %s", name, body[name], want)
		}
	}
	for name, want := range map[string]string{
		"response_types_supported": `["code"]`, "code_challenge_methods_supported": `["S256"]`,
		"grant_types_supported": `["authorization_code","urn:ietf:params:oauth:grant-type:device_code"]`, "token_endpoint_auth_methods_supported": `["none"]`,
	} {
		if list, err := json.Marshal(body[name]); err != nil || string(list) != want {
			t.Errorf("%s is %s, want %s (%v)", name, list, want, err)
		}
	}
}
