package signin

import (
	"database/sql"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causewayhq/causeway/server/store"
)

// TestRedirects: a code goes to an address of this machine and nowhere else, and
// where the redirect is wrong there is none at all.
func TestRedirects(t *testing.T) {
	r := newRig(t, plainURL)
	r.user("alice")
	b := r.signIn("alice", "192.0.2.1")
	for _, good := range []string{callback, "http://127.0.0.1:1/callback", "http://127.0.0.1:65535/callback", "http://[::1]:49152/callback"} {
		if got := b.get("/oauth2/authorize?" + request("redirect_uri", good).Encode()); got.status != http.StatusOK {
			t.Errorf("%s: %d", good, got.status)
		}
		if got := b.post("/oauth2/authorize", append(flat(request("redirect_uri", good)), "action", "approve")...); !strings.HasPrefix(got.location(), good+"?") {
			t.Errorf("%s: %d %s", good, got.status, got.location())
		}
	}
	for _, bad := range []string{
		"", "https://evil.example.com/callback", "http://evil.example.com:49152/callback", "http://localhost:49152/callback",
		"http://127.0.0.1/callback", "http://127.0.0.1:/callback", "http://127.0.0.1:0/callback", "http://127.0.0.1:080/callback", "http://127.0.0.1:65536/callback",
		"http://127.0.0.1:99999999999999999999/callback", "http://127.0.0.1:49152/", "http://127.0.0.1:49152/callback/", "http://127.0.0.1:49152/callback?x=1",
		"http://127.0.0.1:49152/callback#x", "http://127.0.0.1:49152/callback/../evil", "http://127.0.0.1:49152@evil.example.com/callback",
		"http://user:pass@127.0.0.1:49152/callback", "http://127.0.0.1:49152\\@evil.example.com/callback", "http://127.0.0.1.evil.example.com:49152/callback",
		"http://127.0.0.2:49152/callback", "http://127.1:49152/callback", "http://2130706433:49152/callback", "http://0.0.0.0:49152/callback",
		"http://[::ffff:127.0.0.1]:49152/callback", "http://[::1%25lo]:49152/callback", "HTTP://127.0.0.1:49152/callback", "https://127.0.0.1:49152/callback",
		"http://127.0.0.1:49152/callback\n", " http://127.0.0.1:49152/callback", "http://127.0.0.1:49152/callback\r\nSet-Cookie: x=1", "javascript:alert(1)",
		"//127.0.0.1:49152/callback", "http:/127.0.0.1:49152/callback", "http://127.0.0.1:49152/%63allback", "http://127.0.0.1:４９/callback",
	} {
		fields := request("redirect_uri", bad)
		got := b.get("/oauth2/authorize?" + fields.Encode())
		if got.status != http.StatusBadRequest || got.location() != "" || !strings.Contains(got.body, "not valid") || strings.Contains(got.body, "evil") {
			t.Errorf("%q: %d %q", bad, got.status, got.location())
		}
		b.get("/device") // for a token of a form
		for _, action := range []string{"approve", "deny"} {
			if got := b.post("/oauth2/authorize", append(flat(fields), "action", action)...); got.status != http.StatusBadRequest || got.location() != "" {
				t.Errorf("%s of %q: %d %q", action, bad, got.status, got.location())
			}
		}
		stranger := r.browser("192.0.2.2")
		if got := stranger.get("/oauth2/authorize?" + fields.Encode()); got.status != http.StatusBadRequest {
			t.Errorf("%q makes people sign in: %d", bad, got.status)
		}
	}
	if got := b.get("/oauth2/authorize?" + request("client_id", "other").Encode()); got.status != http.StatusBadRequest || got.location() != "" {
		t.Errorf("another client: %d %q", got.status, got.location())
	}
}

// TestAuthorizationProblems go back to the client, with its state.
func TestAuthorizationProblems(t *testing.T) {
	r := newRig(t, plainURL)
	r.user("alice")
	b := r.signIn("alice", "192.0.2.1")
	long := strings.Repeat("s", stateLimit+1)
	tests := []struct {
		name    string
		changes []string
		want    string
		state   string
	}{
		{"token", []string{"response_type", "token"}, "unsupported_response_type", "the state"},
		{"no type", []string{"response_type", ""}, "invalid_request", "the state"},
		{"no state", []string{"state", ""}, "invalid_request", ""},
		{"long state", []string{"state", long}, "invalid_request", ""},
		{"plain", []string{"code_challenge_method", "plain", "code_challenge", verifier}, "invalid_request", "the state"},
		{"no method", []string{"code_challenge_method", ""}, "invalid_request", "the state"},
		{"no challenge", []string{"code_challenge", ""}, "invalid_request", "the state"},
		{"short challenge", []string{"code_challenge", challengeOf(verifier)[:42]}, "invalid_request", "the state"},
		{"padded challenge", []string{"code_challenge", challengeOf(verifier) + "="}, "invalid_request", "the state"},
	}
	for _, test := range tests {
		got := b.get("/oauth2/authorize?" + request(test.changes...).Encode())
		back, err := url.Parse(got.location())
		if err != nil || got.status != http.StatusSeeOther || !strings.HasPrefix(got.location(), callback+"?") {
			t.Errorf("%s: %d %q %v", test.name, got.status, got.location(), err)
			continue
		}
		if query := back.Query(); query.Get("error") != test.want || query.Get("state") != test.state || query.Get("code") != "" || query.Get("iss") != plainURL {
			t.Errorf("%s: %v", test.name, query)
		}
	}
	if got := b.get("/oauth2/authorize?" + request().Encode() + "&state=another"); got.status != http.StatusBadRequest || got.location() != "" {
		t.Errorf("a field twice: %d %s", got.status, got.location())
	}
	b.get("/oauth2/authorize?" + request().Encode())
	if got := b.post("/oauth2/authorize", append(flat(request()), "action", "deny")...); !strings.HasPrefix(got.location(), callback+"?error=access_denied&") || !strings.Contains(got.location(), "state=the+state") {
		t.Errorf("denied: %s", got.location())
	}
	if got := b.post("/oauth2/authorize", append(flat(request()), "action", "")...); got.status != http.StatusBadRequest || got.location() != "" {
		t.Errorf("neither yes nor no: %d %s", got.status, got.location())
	}
	stranger := r.browser("192.0.2.2")
	stranger.get("/login")
	if got := stranger.post("/oauth2/authorize", append(flat(request()), "action", "approve")...); got.status != http.StatusForbidden || got.location() != "" {
		t.Errorf("a yes without a session: %d %s", got.status, got.location())
	}
}

// TestExchangeRefusals: a code is good for the one request that it was made for.
func TestExchangeRefusals(t *testing.T) {
	r := newRig(t, plainURL)
	r.user("alice")
	b, program := r.signIn("alice", "192.0.2.1"), r.browser("192.0.2.1")
	other := strings.Repeat("x", 43)
	for name, changes := range map[string][]string{
		"wrong verifier": {"code_verifier", other}, "no verifier": {"code_verifier", ""}, "the challenge itself": {"code_verifier", challengeOf(verifier)},
		"long verifier": {"code_verifier", strings.Repeat("x", 129)}, "another redirect": {"redirect_uri", "http://127.0.0.1:1/callback"}, "no redirect": {"redirect_uri", ""},
	} {
		code := b.code(request())
		if got := program.exchange(code, changes...); got.status != http.StatusBadRequest || got.oauth(t) != "invalid_grant" {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
		if got := program.exchange(code); got.oauth(t) != "invalid_grant" {
			t.Errorf("%s does not end the code: %d %s", name, got.status, got.body)
		}
	}
	code := b.code(request())
	for name, test := range map[string]struct {
		changes []string
		want    string
	}{
		"another client": {[]string{"client_id", "other"}, "invalid_client"}, "no client": {[]string{"client_id", ""}, "invalid_client"},
		"password grant": {[]string{"grant_type", "password"}, "unsupported_grant_type"}, "no grant": {[]string{"grant_type", ""}, "invalid_request"},
		"another code": {[]string{"code", newCode()}, "invalid_grant"}, "no code": {[]string{"code", ""}, "invalid_request"}, "no device code": {[]string{"grant_type", grantDevice}, "invalid_request"},
		"code as a device's": {[]string{"grant_type", grantDevice, "device_code", code}, "invalid_grant"},
	} {
		if got := program.exchange(code, test.changes...); got.status != http.StatusBadRequest || got.oauth(t) != test.want {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	if got := program.exchange(code); got.status != http.StatusOK {
		t.Errorf("the code after all that: %d %s", got.status, got.body)
	}
	// A verifier with characters that RFC 7636 does not allow, though it is right.
	odd := strings.Repeat("ä", 30)
	if got := program.exchange(b.code(request("code_challenge", challengeOf(odd))), "code_verifier", odd); got.status != http.StatusBadRequest {
		t.Errorf("an odd verifier: %d", got.status)
	}
	if _, _, token := r.accessToken(program.exchange(b.code(request("device_name", "")), "device_name", "told later")); token.Name != "told later" {
		t.Errorf("named %q", token.Name)
	}
	if _, _, token := r.accessToken(program.exchange(b.code(request()), "device_name", "told later")); token.Name != "laptop" {
		t.Errorf("not the name that the user saw: %q", token.Name)
	}
}

// TestReplay: a code that comes twice ends the token that came of it.
func TestReplay(t *testing.T) {
	r := newRig(t, plainURL)
	r.user("alice")
	b, program, thief := r.signIn("alice", "192.0.2.1"), r.browser("192.0.2.1"), r.browser("192.0.2.66")
	code := b.code(request())
	secret, _, _ := r.accessToken(program.exchange(code))
	if got := thief.exchange(code, "code_verifier", strings.Repeat("x", 43)); got.oauth(t) != "invalid_grant" {
		t.Errorf("%+v", got)
	}
	if _, _, err := r.store.AuthenticateUser(t.Context(), secret); !errors.Is(err, store.ErrTokenRevoked) {
		t.Errorf("the token after a replay: %v", err)
	}
	if r.changed.Load() != 1 {
		t.Errorf("connections were ended %d times", r.changed.Load())
	}
	if got := thief.exchange(code); got.oauth(t) != "invalid_grant" {
		t.Errorf("a third time: %+v", got)
	}
}

// TestConcurrentExchange: of many that exchange one code at once exactly one gets
// a token, and that one is ended, because the others should not have had the code.
func TestConcurrentExchange(t *testing.T) {
	r := newRig(t, plainURL)
	alice := r.user("alice")
	b := r.signIn("alice", "192.0.2.1")
	code := b.code(request())
	// While the database is locked all of them are on their way.
	db, err := sql.Open("sqlite", r.store.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	lock, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if _, err := lock.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	var good atomic.Int32
	var all sync.WaitGroup
	for range 30 {
		all.Go(func() {
			if got := r.browser("192.0.2.1").exchange(code); got.status == http.StatusOK {
				good.Add(1)
			}
		})
	}
	time.Sleep(200 * time.Millisecond) // only what this test can notice hangs on it
	if _, err := lock.ExecContext(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	all.Wait()
	tokens, err := r.store.UserTokens(t.Context(), alice.ID)
	if err != nil || good.Load() != 1 || len(tokens) != 1 || tokens[0].RevokedAt.IsZero() {
		t.Errorf("%d answers, %d tokens, want one that is revoked (%v)", good.Load(), len(tokens), err)
	}
}

// TestCodesEnd with time, and with what the user does meanwhile.
func TestCodesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, plainURL)
		alice := r.user("alice")
		b, program := r.signIn("alice", "192.0.2.1"), r.browser("192.0.2.1")
		early, late := b.code(request()), b.code(request())
		time.Sleep(codeLife - time.Second)
		r.accessToken(program.exchange(early))
		time.Sleep(time.Second)
		if got := program.exchange(late); got.oauth(t) != "invalid_grant" {
			t.Errorf("after a minute: %+v", got)
		}
		device := r.browser("192.0.2.9").startDevice("")
		code := b.code(request())
		b.post("/device", "user_code", device.UserCode, "action", "approve")
		time.Sleep(time.Second)
		if err := r.store.SetPassword(t.Context(), alice, goodPassword+"!"); err != nil {
			t.Fatal(err)
		}
		if got := program.exchange(code); got.oauth(t) != "invalid_grant" || !strings.Contains(got.body, "changed the password") {
			t.Errorf("after a change of the password: %+v", got)
		}
		if got := program.poll(device.DeviceCode); got.oauth(t) != "invalid_grant" {
			t.Errorf("a device after a change of the password: %+v", got)
		}
		if got := b.get("/device"); got.status != http.StatusSeeOther {
			t.Errorf("the session after a change of the password: %d", got.status)
		}
		bob := r.user("bob")
		b = r.signIn("bob", "192.0.2.1")
		code = b.code(request())
		if err := r.store.DeleteUser(t.Context(), bob.ID); err != nil {
			t.Fatal(err)
		}
		if got := program.exchange(code); got.oauth(t) != "invalid_grant" {
			t.Errorf("of a deleted user: %+v", got)
		}
		if got := b.get("/cli-auth"); got.status != http.StatusSeeOther {
			t.Errorf("the session of a deleted user: %d", got.status)
		}
		time.Sleep(codeMemory)
		r.server.grants.addDevice("", "", addressOf("192.0.2.9:1"), time.Now())
		if left := len(r.server.grants.codes); left != 0 {
			t.Errorf("%d codes are remembered", left)
		}
	})
}

func TestCodesAreBounded(t *testing.T) {
	r := newRig(t, plainURL)
	r.user("alice")
	b := r.signIn("alice", "192.0.2.1")
	for range codesEach {
		b.code(request())
	}
	b.get("/oauth2/authorize?" + request().Encode())
	if got := b.post("/oauth2/authorize", append(flat(request()), "action", "approve")...); !strings.HasPrefix(got.location(), callback+"?error=temporarily_unavailable&") {
		t.Errorf("%d %s", got.status, got.location())
	}
}

func TestRevocation(t *testing.T) {
	r := newRig(t, plainURL)
	r.user("alice")
	b, program := r.signIn("alice", "192.0.2.1"), r.browser("192.0.2.1")
	secret, user, _ := r.accessToken(program.exchange(b.code(request())))
	workspace, err := r.store.CreateWorkspace(t.Context(), user, "myws")
	if err != nil {
		t.Fatal(err)
	}
	agent, err := r.store.CreateAgent(t.Context(), workspace, "main")
	if err != nil {
		t.Fatal(err)
	}
	_, agentToken, err := r.store.CreateAgentToken(t.Context(), agent.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, token, client string
		status              int
		code                string
	}{
		{"another client", secret, "other", http.StatusBadRequest, "invalid_client"},
		{"no token", "", clientID, http.StatusBadRequest, "invalid_request"},
		{"an agent's", agentToken.Reveal(), clientID, http.StatusBadRequest, "unsupported_token_type"},
		{"nonsense", "nonsense", clientID, http.StatusOK, ""},
		{"a wrong secret", secret[:len(secret)-1] + "7", clientID, http.StatusOK, ""},
	}
	for _, test := range tests {
		got := program.send("/oauth2/revoke", "token", test.token, "client_id", test.client)
		if got.status != test.status || test.code != "" && got.oauth(t) != test.code {
			t.Errorf("%s: %d %s", test.name, got.status, got.body)
		}
	}
	if _, _, err := r.store.AuthenticateUser(t.Context(), secret); err != nil || r.changed.Load() != 0 {
		t.Fatalf("the token after all that: %v", err)
	}
	for range 2 {
		if got := program.send("/oauth2/revoke", "token", secret, "client_id", clientID, "token_type_hint", "access_token"); got.status != http.StatusOK || got.body != "" {
			t.Errorf("%+v", got)
		}
	}
	if _, _, err := r.store.AuthenticateUser(t.Context(), secret); !errors.Is(err, store.ErrTokenRevoked) || r.changed.Load() != 1 {
		t.Errorf("after its revocation: %v, %d", err, r.changed.Load())
	}
	if _, _, err := r.store.AuthenticateAgent(t.Context(), agentToken.Reveal()); err != nil {
		t.Errorf("the agent's token: %v", err)
	}
}
