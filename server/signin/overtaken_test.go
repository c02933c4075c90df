package signin

import (
	"database/sql"
	"net/http"
	"strings"
	"testing"
)

// TestOvertaken: a password that is changed between a sign-in and what comes of it
// leaves no session and no token.
func TestOvertaken(t *testing.T) {
	r := newRig(t, plainURL)
	alice := r.user("alice")
	in, out, program := r.signIn("alice", "192.0.2.1"), r.browser("192.0.2.2"), r.browser("192.0.2.1")
	code := in.code(request())
	in.get("/cli-auth")
	db, err := sql.Open("sqlite", r.store.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, table := range []string{"sessions", "tokens"} {
		if _, err := db.ExecContext(t.Context(), "CREATE TRIGGER late_"+table+" AFTER INSERT ON "+table+" BEGIN UPDATE passwords SET changed_at = changed_at + 1; END"); err != nil {
			t.Fatal(err)
		}
	}
	if got := in.post("/cli-auth"); got.status != http.StatusForbidden || strings.Contains(got.body, "cwu_") || !strings.Contains(got.body, "password was changed") {
		t.Errorf("a token on a page: %d %s", got.status, got.body)
	}
	if got := program.exchange(code); got.oauth(t) != "invalid_grant" {
		t.Errorf("a token for a code: %d %s", got.status, got.body)
	}
	out.get("/login")
	if got := out.post("/login", "username", "alice", "password", goodPassword); got.status != http.StatusUnauthorized || got.cookie(sessionCookie) != nil {
		t.Errorf("a session: %d %v", got.status, got.header)
	}
	tokens, err := r.store.UserTokens(t.Context(), alice.ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, token := range tokens {
		if token.RevokedAt.IsZero() {
			t.Errorf("token %q is good", token.Name)
		}
	}
}

// TestRefusalsInTheLog name a user who is there, and nothing else that was typed:
// it may be a password in the wrong field. The page ties its error to both fields.
func TestRefusalsInTheLog(t *testing.T) {
	r := newRig(t, plainURL)
	r.user("alice")
	b := r.browser("192.0.2.1")
	b.get("/login")
	b.post("/login", "username", goodPassword, "password", "alice")
	if logs := r.logs.String(); strings.Contains(logs, goodPassword) || !strings.Contains(logs, `msg="sign-in refused"`) {
		t.Errorf("%s", logs)
	}
	got := b.post("/login", "username", "Alice", "password", "not the password")
	if logs := r.logs.String(); !strings.Contains(logs, "user=alice") || strings.Contains(logs, "not the password") {
		t.Errorf("%s", logs)
	}
	if strings.Count(got.body, `aria-describedby="problem`) != 2 || !strings.Contains(got.body, `id="problem" role="alert"`) {
		t.Errorf("%s", got.body)
	}
}
