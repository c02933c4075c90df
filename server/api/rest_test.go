package api

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	tailnetsvc "github.com/causewayhq/causeway/server/tailnet"
)

func TestUsersMe(t *testing.T) {
	r := newRig(t)
	alice := r.person("alice")
	status, body := r.call("GET", "/api/v2/users/me", alice.token, "")
	if status != http.StatusOK {
		t.Fatalf("status %d: %v", status, body)
	}
	for key, want := range map[string]any{"id": alice.ID.String(), "username": "alice", "email": "alice@example.com", "status": "active"} {
		if body[key] != want {
			t.Errorf("%s is %v, want %v", key, body[key], want)
		}
	}
	if _, err := time.Parse(time.RFC3339, body["created_at"].(string)); err != nil {
		t.Error(err)
	}
	if roles := body["roles"].([]any); len(roles) != 1 || roles[0].(map[string]any)["name"] != "owner" {
		t.Errorf("roles of the first user: %v", roles)
	}
	bearer, err := http.NewRequestWithContext(t.Context(), "GET", r.url+"/api/v2/users/ALICE", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	bearer.Header.Set("Authorization", "bearer "+alice.token)
	response, err := http.DefaultClient.Do(bearer)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Errorf("bearer: %v, %v", response, err)
	}
	response.Body.Close()
	http.DefaultClient.CloseIdleConnections()
}

// TestRejections holds that every route refuses every kind of wrong token, in
// the one form of errors.
func TestRejections(t *testing.T) {
	r := newRig(t)
	alice := r.person("alice")
	_, expired, _ := r.store.CreateUserToken(t.Context(), alice.ID, "", time.Millisecond)
	revokedToken, revoked, _ := r.store.CreateUserToken(t.Context(), alice.ID, "", 0)
	if err := r.store.RevokeToken(t.Context(), revokedToken.ID); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Millisecond) // the life of the expired token
	id, agent := alice.workspace.ID.String(), alice.agent.ID.String()
	tokens := map[string]struct{ token, detail string }{
		"none":    {"", "No token was sent"},
		"garbage": {"garbage", "not known"},
		"expired": {expired.Reveal(), "has expired"},
		"revoked": {revoked.Reveal(), "has been revoked"},
		"agent":   {alice.agentKey, "an agent's token"},
	}
	routes := []string{
		"GET /api/v2/users/me", "GET /api/v2/users", "POST /api/v2/users", "DELETE /api/v2/users/alice", "POST /api/v2/users/logout",
		"GET /api/v2/users/me/keys/tokens", "POST /api/v2/users/me/keys/tokens", "DELETE /api/v2/users/me/keys/" + alice.tokenID,
		"GET /api/v2/users/me/keys/" + alice.tokenID, "PUT /api/v2/users/me/password",
		"GET /api/v2/workspaces", "POST /api/v2/users/me/workspaces", "GET /api/v2/users/me/workspace/myws",
		"GET /api/v2/workspaces/" + id, "DELETE /api/v2/workspaces/" + id, "POST /api/v2/workspaces/" + id + "/agents",
		"GET /api/v2/workspaceagents/" + agent, "DELETE /api/v2/workspaceagents/" + agent, "POST /api/v2/workspaceagents/" + agent + "/tokens",
		"GET /api/v2/workspaceagents/" + agent + "/connection",
		"GET /api/v2/tailnet?version=2.3", "GET /api/v2/workspaceagents/" + agent + "/coordinate?version=2.0",
	}
	for _, route := range routes {
		method, path, _ := strings.Cut(route, " ")
		for name, test := range tokens {
			status, body := r.call(method, path, test.token, "")
			if detail, _ := body["detail"].(string); status != http.StatusUnauthorized || body["message"] == "" || !strings.Contains(detail, test.detail) {
				t.Errorf("%s with token %q: %d %v", route, name, status, body)
			}
		}
	}
	status, body := r.call("GET", "/api/v2/workspaceagents/me/rpc", alice.token, "")
	if detail, _ := body["detail"].(string); status != http.StatusUnauthorized || !strings.Contains(detail, "a user's API token") {
		t.Errorf("user's token on the agent route: %d %v", status, body)
	}
	for _, secret := range []string{alice.token, alice.agentKey, expired.Reveal(), revoked.Reveal()} {
		if strings.Contains(r.logs.String(), secret[len(secret)-52:]) {
			t.Error("a token is in the log")
		}
	}
}

func TestVersionRejections(t *testing.T) {
	r := newRig(t)
	alice := r.person("alice")
	coordinate := "/api/v2/workspaceagents/" + alice.agent.ID.String() + "/coordinate"
	tests := []struct {
		path, token, detail string
	}{
		{"/api/v2/tailnet?version=3.0", alice.token, "behind requested major version"},
		{"/api/v2/tailnet?version=2.99", alice.token, "behind requested minor version"},
		{"/api/v2/tailnet?version=1.0", alice.token, "no longer supported"},
		{"/api/v2/tailnet?version=two", alice.token, "major.minor"},
		{"/api/v2/tailnet?version=2.0.0", alice.token, "major.minor"},
		{coordinate, alice.token, "no longer supported"}, // the default is 1.0
		{"/api/v2/workspaceagents/me/rpc?version=9.0", alice.agentKey, "behind requested major version"},
	}
	for _, test := range tests {
		_, response, err := r.dial(test.path, test.token)
		if err == nil || response == nil {
			t.Errorf("%s: accepted", test.path)
			continue
		}
		var rejection RejectionError
		if err := json.NewDecoder(response.Body).Decode(&rejection); err != nil {
			t.Errorf("%s: %v", test.path, err)
			continue
		}
		if response.StatusCode != http.StatusBadRequest || rejection.Message != "Unknown or unsupported API version" || len(rejection.Validations) != 1 ||
			rejection.Validations[0].Field != "version" || !strings.Contains(rejection.Validations[0].Detail, test.detail) {
			t.Errorf("%s: %d %+v", test.path, response.StatusCode, rejection)
		}
	}
	// A good version without an upgrade is our error as well, not the library's.
	status, body := r.call("GET", "/api/v2/tailnet?version=2.0", alice.token, "")
	if status != http.StatusBadRequest || body["message"] != "Failed to accept websocket." {
		t.Errorf("no upgrade: %d %v", status, body)
	}
}

func TestResumeTokenRejection(t *testing.T) {
	r := newRig(t)
	alice, bob := r.person("alice"), r.person("bob")
	foreign, err := r.api.config.Resume.Issue(alice.agent.ID, alice.ID)
	if err != nil {
		t.Fatal(err)
	}
	removed := tokenOfAnotherKey(t, alice)
	for name, test := range map[string]struct{ token, resume string }{
		"garbage":      {alice.token, "garbage"},
		"another's":    {bob.token, foreign.GetToken()},
		"removed key":  {alice.token, removed},
		"cut":          {alice.token, foreign.GetToken()[:40]},
		"other secret": {alice.token, foreign.GetToken()[:len(foreign.GetToken())-4] + "AAAA"},
	} {
		status, body := r.call("GET", "/api/v2/tailnet?version=2.3&resume_token="+test.resume, test.token, "")
		validations, _ := body["validations"].([]any)
		if status != http.StatusUnauthorized || body["message"] != "Invalid resume token" || len(validations) != 1 ||
			validations[0].(map[string]any)["field"] != "resume_token" || body["detail"] == "" {
			t.Errorf("%s: %d %v", name, status, body)
		}
	}
	// One without a key id is from before keys had ids: its holder gets a fresh peer,
	// and the request goes on to the upgrade, which it does not ask for.
	part := base64.RawURLEncoding.EncodeToString
	old := part([]byte(`{"alg":"HS512"}`)) + "." + part([]byte(`{"sub":"x"}`)) + "." + part(make([]byte, 64))
	if status, body := r.call("GET", "/api/v2/tailnet?version=2.3&resume_token="+old, alice.token, ""); status != http.StatusBadRequest || body["message"] != "Failed to accept websocket." {
		t.Errorf("no key id: %d %v", status, body)
	}
}

// TestIsolation holds that what belongs to Alice answers to Bob, an
// administrator even, like what does not exist.
func TestIsolation(t *testing.T) {
	r := newRig(t)
	admin, alice := r.person("bob"), r.person("alice")
	workspace, agent := "/api/v2/workspaces/"+alice.workspace.ID.String(), "/api/v2/workspaceagents/"+alice.agent.ID.String()
	_, missing := r.raw("GET", "/api/v2/workspaces/6a1b5f5e-0000-4000-8000-000000000000", admin.token, "")
	for _, route := range []string{
		"GET " + workspace, "DELETE " + workspace, "POST " + workspace + "/agents",
		"GET " + agent, "DELETE " + agent, "POST " + agent + "/tokens", "GET " + agent + "/connection", "GET " + agent + "/coordinate?version=2.0",
		"GET /api/v2/users/alice/workspace/myws", "POST /api/v2/users/alice/workspaces", "GET /api/v2/users/alice/keys/tokens",
		"POST /api/v2/users/alice/keys/tokens", "DELETE /api/v2/users/me/keys/" + alice.tokenID,
		"GET /api/v2/users/me/keys/" + alice.tokenID, "GET /api/v2/users/alice/keys/" + alice.tokenID,
	} {
		method, path, _ := strings.Cut(route, " ")
		status, body := r.raw(method, path, admin.token, `{"name":"intruder"}`)
		if status != http.StatusNotFound || string(body) != string(missing) {
			t.Errorf("%s: %d %s", route, status, body)
		}
	}
	_, list := r.call("GET", "/api/v2/workspaces", admin.token, "")
	if list["count"] != 1.0 || strings.Contains(mustJSON(t, list), alice.workspace.ID.String()) {
		t.Errorf("list: %v", list)
	}
	if _, _, err := r.store.AuthenticateUser(t.Context(), alice.token); err != nil {
		t.Errorf("alice's token: %v", err)
	}
	if status, _ := r.call("GET", "/api/v2/users", alice.token, ""); status != http.StatusForbidden {
		t.Errorf("a member lists users: %d", status)
	}
	if status, _ := r.call("GET", "/api/v2/users/bob", alice.token, ""); status != http.StatusNotFound {
		t.Errorf("a member reads another user: %d", status)
	}
}

func mustJSON(t *testing.T, value any) string {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestManage(t *testing.T) {
	r := newRig(t)
	admin := r.person("admin")
	status, user := r.call("POST", "/api/v2/users", admin.token, `{"username":"carol","email":"c@example.com"}`)
	if status != http.StatusCreated || user["username"] != "carol" {
		t.Fatalf("create user: %d %v", status, user)
	}
	status, body := r.call("POST", "/api/v2/users/me/keys/tokens", admin.token, `{"lifetime":3600000000000,"token_name":"ci"}`)
	key, _ := body["key"].(string)
	if status != http.StatusCreated || key == "" {
		t.Fatalf("create token: %d %v", status, body)
	}
	status, workspace := r.call("POST", "/api/v2/users/me/workspaces", key, `{"name":"second"}`)
	if status != http.StatusCreated || workspace["latest_build"].(map[string]any)["status"] != "pending" {
		t.Fatalf("create workspace: %d %v", status, workspace)
	}
	path := "/api/v2/workspaces/" + workspace["id"].(string)
	status, created := r.call("POST", path+"/agents", key, `{"name":"main"}`)
	if status != http.StatusCreated {
		t.Fatalf("create agent: %d %v", status, created)
	}
	agent, _, err := r.store.AuthenticateAgent(t.Context(), created["token"].(string))
	if err != nil || agent.Path() != "admin/second/main" {
		t.Errorf("the agent's token is for %v, %v", agent, err)
	}
	status, other := r.call("POST", "/api/v2/workspaceagents/"+agent.ID.String()+"/tokens", key, "")
	if status != http.StatusCreated || other["token"] == created["token"] {
		t.Errorf("another token: %d %v", status, other)
	}
	if status, found := r.call("GET", "/api/v2/users/me/workspace/SECOND", key, ""); status != http.StatusOK || found["id"] != workspace["id"] {
		t.Errorf("by name: %d %v", status, found)
	}
	status, raw := r.raw("GET", "/api/v2/users/me/keys/tokens", key, "")
	if status != http.StatusOK || !strings.Contains(string(raw), `"token_name":"ci"`) || strings.Contains(string(raw), key) {
		t.Errorf("tokens: %d %s", status, raw)
	}
	for _, route := range []string{"/api/v2/workspaceagents/" + agent.ID.String(), path, "/api/v2/users/carol"} {
		if status, body := r.call("DELETE", route, key, ""); status != http.StatusNoContent {
			t.Errorf("delete %s: %d %v", route, status, body)
		}
		if status, _ := r.call("GET", route, key, ""); status != http.StatusNotFound {
			t.Errorf("%s is still there: %d", route, status)
		}
	}
	if status, _ := r.call("POST", "/api/v2/users/logout", key, ""); status != http.StatusOK {
		t.Errorf("logout: %d", status)
	}
	if status, _ := r.call("GET", "/api/v2/users/me", key, ""); status != http.StatusUnauthorized {
		t.Errorf("after logout: %d", status)
	}
}

func TestBadInput(t *testing.T) {
	r := newRig(t)
	alice := r.person("alice")
	tests := []struct {
		name, method, path, body string
		status                   int
		text                     string
	}{
		{"bad name", "POST", "/api/v2/users/me/workspaces", `{"name":"a--b"}`, 400, "double hyphen"},
		{"taken", "POST", "/api/v2/users/me/workspaces", `{"name":"MYWS"}`, 409, "taken"},
		{"empty body", "POST", "/api/v2/users/me/workspaces", ``, 400, "empty"},
		{"not JSON", "POST", "/api/v2/users/me/workspaces", `<xml>`, 400, "invalid character"},
		{"unknown field", "POST", "/api/v2/users/me/workspaces", `{"colour":"x"}`, 400, "colour"},
		{"two values", "POST", "/api/v2/users/me/workspaces", `{"name":"x"}{"name":"y"}`, 400, "more than one"},
		{"wrong type", "POST", "/api/v2/users/me/workspaces", `{"name":7}`, 400, "name"},
		{"too large", "POST", "/api/v2/users/me/workspaces", `{"name":"` + strings.Repeat("x", bodyLimit) + `"}`, 413, "65536"},
		{"me as a name", "POST", "/api/v2/users", `{"username":"Me"}`, 400, "signed-in user"},
		{"negative lifetime", "POST", "/api/v2/users/me/keys/tokens", `{"lifetime":-1}`, 400, "lifetime"},
		{"lifetime under a second", "POST", "/api/v2/users/me/keys/tokens", `{"lifetime":999999999}`, 400, "lifetime"},
		{"other scope", "POST", "/api/v2/users/me/keys/tokens", `{"scope":"application_connect"}`, 400, "scope"},
		{"no UUID", "GET", "/api/v2/workspaces/none", ``, 400, "UUID"},
		{"no route", "GET", "/api/v2/nothing", ``, 404, "Route not found"},
		{"no method", "PATCH", "/api/v2/workspaces", ``, 404, "Route not found"},
		{"first user again", "POST", "/api/v2/users/first", `{"username":"x","setup_code":"` + setupCode + `"}`, 409, "already been created"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			status, body := r.raw(test.method, test.path, alice.token, test.body)
			var rejection RejectionError
			if err := json.Unmarshal(body, &rejection); err != nil || rejection.Message == "" {
				t.Errorf("body %q: %v", body, err)
			}
			if status != test.status || !strings.Contains(string(body), test.text) {
				t.Errorf("%d %s, want %d with %q", status, body, test.status, test.text)
			}
		})
	}
}

func TestFirstUserNeedsTheSetupCode(t *testing.T) {
	r := newRig(t)
	if status, _ := r.call("GET", "/api/v2/users/first", "", ""); status != http.StatusNotFound {
		t.Errorf("before: %d", status)
	}
	for _, code := range []string{"", "wrong"} {
		if status, body := r.call("POST", "/api/v2/users/first", "", `{"username":"alice","setup_code":"`+code+`"}`); status != http.StatusForbidden {
			t.Errorf("code %q: %d %v", code, status, body)
		}
	}
	status, body := r.call("POST", "/api/v2/users/first", "", `{"username":"alice","setup_code":"`+setupCode+`"}`)
	if status != http.StatusCreated {
		t.Fatalf("%d %v", status, body)
	}
	if status, me := r.call("GET", "/api/v2/users/me", body["key"].(string), ""); status != http.StatusOK || me["username"] != "alice" {
		t.Errorf("with the first token: %d %v", status, me)
	}
	if status, _ := r.call("GET", "/api/v2/users/first", "", ""); status != http.StatusOK {
		t.Errorf("after: %d", status)
	}
}

func TestConnectionInfo(t *testing.T) {
	r := newRig(t)
	alice := r.person("alice")
	for _, path := range []string{"/api/v2/workspaceagents/connection", "/api/v2/workspaceagents/" + alice.agent.ID.String() + "/connection"} {
		status, raw := r.raw("GET", path, alice.token, "")
		const want = `{"derp_map":{"Regions":{"999":{"EmbeddedRelay":true,"RegionID":999,"RegionCode":"coder","RegionName":"Coder Embedded Relay",` +
			`"Nodes":[{"Name":"999b","RegionID":999,"HostName":"causeway.example.com","STUNPort":3478,"DERPPort":80,"ForceHTTP":true}]}},"omitDefaultRegions":true},` +
			`"derp_force_websockets":false,"disable_direct_connections":false,"hostname_suffix":"coder"}`
		if got := strings.TrimSpace(string(raw)); status != http.StatusOK || got != want {
			t.Errorf("%s: %d\n got %s\nwant %s", path, status, got, want)
		}
	}
	// Agents ask for the suffix of their names, and nobody without a token.
	if status, body := r.call("GET", "/api/v2/workspaceagents/connection", alice.agentKey, ""); status != http.StatusOK || body["hostname_suffix"] != "coder" {
		t.Errorf("agent: %d %v", status, body)
	}
	for _, token := range []string{"", "unknown", alice.agentKey + "x"} {
		if status, body := r.call("GET", "/api/v2/workspaceagents/connection", token, ""); status != http.StatusUnauthorized {
			t.Errorf("token %q: %d %v", token, status, body)
		}
	}
}

// tokenOfAnotherKey is a resume token whose key the server does not keep any more.
func tokenOfAnotherKey(t *testing.T, of person) string {
	t.Helper()
	keys, err := tailnetsvc.NewResumeKeys(tailnetsvc.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	token, err := keys.Issue(of.agent.ID, of.ID)
	if err != nil {
		t.Fatal(err)
	}
	return token.GetToken()
}

// TestSuffixIsOmittedWhenEmpty, so that clients use their own.
func TestSuffixIsOmittedWhenEmpty(t *testing.T) {
	r := newRig(t)
	alice := r.person("alice")
	r.api.config.HostnameSuffix = ""
	if status, body := r.call("GET", "/api/v2/workspaceagents/connection", alice.token, ""); status != http.StatusOK || body["hostname_suffix"] != nil {
		t.Errorf("%d %v", status, body)
	}
}
