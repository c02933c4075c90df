package api

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// TestGitKeyRoutes: a user sees the public half, its agents get both, and
// nobody else either.
func TestGitKeyRoutes(t *testing.T) {
	r := newRig(t)
	admin, alice, bob := r.person("admin"), r.person("alice"), r.person("bob")
	status, shown := r.call("GET", "/api/v2/users/me/gitsshkey", alice.token, "")
	if status != http.StatusOK || shown["user_id"] != alice.ID.String() || strings.Contains(fmt.Sprint(shown), "PRIVATE") {
		t.Fatalf("%d %v", status, shown)
	}
	status, given := r.call("GET", "/api/v2/workspaceagents/me/gitsshkey", alice.agentKey, "")
	if status != http.StatusOK || given["public_key"] != shown["public_key"] || !strings.Contains(fmt.Sprint(given["private_key"]), "OPENSSH PRIVATE KEY") {
		t.Errorf("%d %v", status, given["public_key"])
	}
	if status, body := r.call("GET", "/api/v2/workspaceagents/me/gitsshkey", bob.agentKey, ""); status != http.StatusOK || body["public_key"] == shown["public_key"] {
		t.Errorf("bob's agent: %d", status)
	}
	if status, body := r.call("GET", "/api/v2/users/alice/gitsshkey", admin.token, ""); status != http.StatusOK || body["public_key"] != shown["public_key"] {
		t.Errorf("administrator: %d %v", status, body)
	}
	for name, request := range map[string][3]string{
		"bob looks": {"GET", "/api/v2/users/alice/gitsshkey", bob.token}, "bob replaces": {"PUT", "/api/v2/users/alice/gitsshkey", bob.token},
		"the administrator replaces": {"PUT", "/api/v2/users/alice/gitsshkey", admin.token},
	} {
		if status, _ := r.call(request[0], request[1], request[2], ""); status != http.StatusNotFound {
			t.Errorf("%s: %d", name, status)
		}
	}
	for name, token := range map[string]string{"a user's token": alice.token, "none": "", "a wrong one": "cwa_x_y"} {
		if status, body := r.call("GET", "/api/v2/workspaceagents/me/gitsshkey", token, ""); status != http.StatusUnauthorized || strings.Contains(fmt.Sprint(body), "PRIVATE") {
			t.Errorf("%s: %d", name, status)
		}
	}
	status, fresh := r.call("PUT", "/api/v2/users/me/gitsshkey", alice.token, "")
	if status != http.StatusOK || fresh["public_key"] == shown["public_key"] {
		t.Errorf("replaced: %d", status)
	}
	if log := r.logs.String(); strings.Contains(log, "PRIVATE") {
		t.Error("the log has a private key")
	}
}

// TestGitCredentialRoutes: write only for users, read for their agents by the
// exact host.
func TestGitCredentialRoutes(t *testing.T) {
	r := newRig(t)
	admin, alice, bob := r.person("admin"), r.person("alice"), r.person("bob")
	const path = "/api/v2/users/me/git-credentials"
	if status, body := r.call("PUT", path+"/GitHub.com", alice.token, `{"username":"al","password":"s3cret-of-alice"}`); status != http.StatusOK || body["host"] != "github.com" || strings.Contains(fmt.Sprint(body), "s3cret") {
		t.Fatalf("%d %v", status, body)
	}
	if status, body := r.call("GET", path, alice.token, ""); status != http.StatusOK || !strings.Contains(fmt.Sprint(body), "github.com") || strings.Contains(fmt.Sprint(body), "s3cret") {
		t.Errorf("%d %v", status, body)
	}
	ask := "/api/v2/workspaceagents/me/external-auth?match="
	status, body := r.call("GET", ask+"https%3A%2F%2Fgithub.com%2Fa%2Fb", alice.agentKey, "")
	if status != http.StatusOK || body["username"] != "al" || body["password"] != "s3cret-of-alice" || body["access_token"] != body["password"] {
		t.Errorf("%d %v", status, body)
	}
	for name, request := range map[string]struct {
		method, path, token, body string
		want                      int
	}{
		"another host": {"GET", ask + "https%3A%2F%2Fgitlab.com", alice.agentKey, "", 404}, "no host": {"GET", ask, alice.agentKey, "", 400},
		"another's agent": {"GET", ask + "github.com", bob.agentKey, "", 404}, "a user": {"GET", ask + "github.com", alice.token, "", 401},
		"the administrator": {"GET", "/api/v2/users/alice/git-credentials", admin.token, "", 404},
		"bob writes":        {"PUT", "/api/v2/users/alice/git-credentials/h", bob.token, `{"username":"u","password":"p"}`, 404},
		"no password":       {"PUT", path + "/h", alice.token, `{"username":"u"}`, 400}, "unknown field": {"PUT", path + "/h", alice.token, `{"user":"u"}`, 400},
		"bad host":    {"PUT", path + "/a%20b", alice.token, `{"username":"u","password":"p"}`, 400},
		"bob deletes": {"DELETE", "/api/v2/users/alice/git-credentials/github.com", bob.token, "", 404},
		"not there":   {"DELETE", path + "/h", alice.token, "", 404},
	} {
		if status, body := r.call(request.method, request.path, request.token, request.body); status != request.want || strings.Contains(fmt.Sprint(body), "s3cret") {
			t.Errorf("%s: %d %v, want %d", name, status, body, request.want)
		}
	}
	for agent, want := range map[person]uint32{alice: 1, bob: 0} {
		if manifest, _, err := r.api.manifest(t.Context(), agent.agent.ID); err != nil || manifest.GetGitAuthConfigs() != want {
			t.Errorf("%s's agents are told of %d, %v", agent.Name, manifest.GetGitAuthConfigs(), err)
		}
	}
	if status, _ := r.call("DELETE", path+"/github.com", alice.token, ""); status != http.StatusNoContent {
		t.Errorf("delete: %d", status)
	}
	if strings.Contains(r.logs.String(), "s3cret") {
		t.Error("the log has a password")
	}
}
