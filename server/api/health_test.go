package api

import (
	"database/sql"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/causewayhq/causeway/proto/tailnetv2"
	"github.com/causewayhq/causeway/server/store"
)

func TestHealth(t *testing.T) {
	r := newRig(t)
	for _, path := range []string{"/healthz", "/readyz", "/api/v2/buildinfo", "/"} {
		if status, body := r.call("GET", path, "", ""); status != http.StatusOK {
			t.Errorf("%s: %d %v", path, status, body)
		}
	}
	_, build := r.call("GET", "/api/v2/buildinfo", "", "")
	if build["version"] != "v1.2.3" || build["external_url"] != "http://causeway.example.com" {
		t.Errorf("build info %v", build)
	}
	// Somebody holds the database: it can be read, and not written.
	other, err := sql.Open("sqlite", filepath.Join(r.dir, store.FileName))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	other.SetMaxOpenConns(1)
	if _, err := other.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "not ready while the database is locked", func() bool {
		status, _ := r.call("GET", "/readyz", "", "")
		return status == http.StatusServiceUnavailable
	})
	if _, err := other.ExecContext(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "ready again", func() bool {
		status, _ := r.call("GET", "/readyz", "", "")
		return status == http.StatusOK
	})
	r.store.Close()
	eventually(t, "not ready without a database", func() bool {
		status, _ := r.call("GET", "/readyz", "", "")
		return status == http.StatusServiceUnavailable
	})
	if status, body := r.call("GET", "/healthz", "", ""); status != http.StatusOK || body["database"] != "not usable" {
		t.Errorf("healthz without a database: %d %v", status, body)
	}
	status, body := r.call("GET", "/api/v2/users/me", "cwu_"+strings.Repeat("a", 16)+"_"+strings.Repeat("a", 52), "")
	if status != http.StatusInternalServerError || body["message"] != databaseUnreachable {
		t.Errorf("without a database: %d %v", status, body)
	}
}

func TestDebugIsForAdministrators(t *testing.T) {
	r := newRig(t)
	first, err := r.store.CreateFirstUser(t.Context(), "root", "")
	if err != nil {
		t.Fatal(err)
	}
	_, secret, err := r.store.CreateUserToken(t.Context(), first.ID, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	alice := r.person("alice")
	const path = "/api/v2/debug/coordinator"
	for name, token := range map[string]string{"nobody": "", "a member": alice.token, "an agent": alice.agentKey} {
		if status, _ := r.call("GET", path, token, ""); status != http.StatusUnauthorized && status != http.StatusForbidden {
			t.Errorf("%s: %d", name, status)
		}
	}
	for range 2 { // the second takes over
		_, client := r.open(agentPath, alice.agentKey)
		if err := r.coordinate(client).Send(&tailnetv2.CoordinateRequest{}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "agent connected", func() bool { return r.api.config.Coordinator.Connected(alice.agent.ID) })
	}
	eventually(t, "the takeover is shown", func() bool {
		status, body := r.call("GET", path, secret.Reveal(), "")
		if status != http.StatusOK {
			t.Fatalf("administrator: %d %v", status, body)
		}
		peers := body["peers"].([]any)
		return len(peers) == 1 && peers[0].(map[string]any)["name"] == "alice/myws/main" && body["overwrites"].(float64) == 1
	})
}
