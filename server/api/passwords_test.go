package api

import (
	"database/sql"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

const password = "correct horse battery staple"

// TestTokenByID: a user sees when a token of its own ends, and nobody else does.
func TestTokenByID(t *testing.T) {
	r := newRig(t)
	alice, bob := r.person("alice"), r.person("bob")
	path := "/api/v2/users/me/keys/"
	status, body := r.call("GET", path+alice.tokenID, alice.token, "")
	expires, err := time.Parse(time.RFC3339, fmt.Sprint(body["expires_at"]))
	if status != http.StatusOK || body["id"] != alice.tokenID || body["lifetime_seconds"] != 3600.0 || err != nil || time.Until(expires) > time.Hour || time.Until(expires) < 50*time.Minute {
		t.Errorf("%d %v %v", status, body, err)
	}
	if strings.Contains(fmt.Sprint(body), strings.Split(alice.token, "_")[2]) {
		t.Error("the answer has the secret")
	}
	forever, _, err := r.store.CreateUserToken(t.Context(), alice.ID, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	if status, body := r.call("GET", "/api/v2/users/alice/keys/"+forever.ID, alice.token, ""); status != http.StatusOK || body["expires_at"] != "0001-01-01T00:00:00Z" {
		t.Errorf("one that never ends: %d %v", status, body)
	}
	if err := r.store.RevokeToken(t.Context(), forever.ID); err != nil {
		t.Fatal(err)
	}
	for name, request := range map[string][2]string{
		"bob's token by alice, the administrator": {path + bob.tokenID, alice.token}, "by the name of its owner": {"/api/v2/users/bob/keys/" + bob.tokenID, alice.token},
		"alice's token by bob": {path + alice.tokenID, bob.token}, "a revoked one": {path + forever.ID, alice.token}, "none": {path + "nope", alice.token},
	} {
		if status, body := r.call("GET", request[0], request[1], ""); status != http.StatusNotFound {
			t.Errorf("%s: %d %v", name, status, body)
		}
	}
}

// TestSetPassword: oneself by the old one or a one-time code, others as an
// administrator; sessions end, tokens only when asked for.
func TestSetPassword(t *testing.T) {
	r := newRig(t)
	admin, alice := r.person("admin"), r.person("alice")
	code := func() string {
		secret, _, err := r.store.CreateOneTimeCode(t.Context(), alice.User)
		if err != nil {
			t.Fatal(err)
		}
		return secret.Reveal()
	}
	tests := []struct {
		name, user, token, body string
		status                  int
	}{
		{"no old one yet", "me", alice.token, `{"password":"` + password + `"}`, http.StatusBadRequest},
		{"a short one", "me", alice.token, `{"password":"short","old_password":"` + code() + `"}`, http.StatusBadRequest},
		{"by a one-time code", "me", alice.token, `{"password":"` + password + `","old_password":"CODE"}`, http.StatusNoContent},
		{"a wrong old one", "me", alice.token, `{"password":"another good password","old_password":"x"}`, http.StatusBadRequest},
		{"by the old one", "alice", alice.token, `{"password":"` + password + `!","old_password":"` + password + `"}`, http.StatusNoContent},
		{"another's", "admin", alice.token, `{"password":"` + password + `","old_password":"` + password + `!"}`, http.StatusNotFound},
		{"as an administrator", "alice", admin.token, `{"password":"` + password + `?"}`, http.StatusNoContent},
		{"one's own as an administrator", "me", admin.token, `{"password":"` + password + `?"}`, http.StatusBadRequest},
		{"of nobody", "nobody", admin.token, `{"password":"` + password + `"}`, http.StatusNotFound},
		{"without a token", "alice", "", `{"password":"` + password + `"}`, http.StatusUnauthorized},
		{"unknown field", "alice", admin.token, `{"password":"` + password + `","x":1}`, http.StatusBadRequest},
	}
	for _, test := range tests {
		proof, err := r.store.UseOneTimeCode(t.Context(), "alice", code())
		if err != nil {
			t.Fatal(err)
		}
		session, err := r.store.CreateSession(t.Context(), proof)
		if err != nil {
			t.Fatal(err)
		}
		body := strings.Replace(test.body, "CODE", code(), 1)
		status, answer := r.call("PUT", "/api/v2/users/"+test.user+"/password", test.token, body)
		if status != test.status || strings.Contains(fmt.Sprint(answer), password) {
			t.Errorf("%s: %d %v", test.name, status, answer)
		}
		_, err = r.store.SessionUser(t.Context(), session.Reveal())
		if ended := err != nil; ended != (test.status == http.StatusNoContent) {
			t.Errorf("%s: session ended %v", test.name, ended)
		}
	}
	if _, err := r.store.AuthenticatePassword(t.Context(), "alice", password+"?"); err != nil {
		t.Error(err)
	}
	if status, _ := r.call("GET", "/api/v2/users/me", alice.token, ""); status != http.StatusOK {
		t.Errorf("the token after a change: %d", status)
	}
	if status, _ := r.call("PUT", "/api/v2/users/alice/password", admin.token, `{"password":"`+password+`","revoke_tokens":true}`); status != http.StatusNoContent {
		t.Errorf("with revocation: %d", status)
	}
	if status, _ := r.call("GET", "/api/v2/users/me", alice.token, ""); status != http.StatusUnauthorized {
		t.Errorf("the token after revocation: %d", status)
	}
	if strings.Contains(r.logs.String(), password) {
		t.Error("a password is in the log")
	}
}

// TestOldPasswordIsNotGuessed: whoever has a token has a few guesses.
func TestOldPasswordIsNotGuessed(t *testing.T) {
	r := newRig(t)
	alice := r.person("alice")
	if err := r.store.SetPassword(t.Context(), alice.User, password); err != nil {
		t.Fatal(err)
	}
	refused := 0
	for range guessBurst + 3 {
		if status, _ := r.call("PUT", "/api/v2/users/me/password", alice.token, `{"password":"another good password","old_password":"x"}`); status == http.StatusTooManyRequests {
			refused++
		}
	}
	if refused < 2 {
		t.Errorf("%d of %d were refused", refused, guessBurst+3)
	}
}

// TestFirstUserWithPassword: the first user may sign in on the pages at once, and
// a bad password leaves no user behind.
func TestFirstUserWithPassword(t *testing.T) {
	r := newRig(t)
	body := `{"username":"alice","email":"","setup_code":"` + setupCode + `","password":"%s"}`
	if status, answer := r.call("POST", "/api/v2/users/first", "", fmt.Sprintf(body, "short")); status != http.StatusBadRequest {
		t.Errorf("%d %v", status, answer)
	}
	if count, err := r.store.UserCount(t.Context()); err != nil || count != 0 {
		t.Errorf("%d users, %v", count, err)
	}
	if status, answer := r.call("POST", "/api/v2/users/first", "", fmt.Sprintf(body, password)); status != http.StatusCreated || answer["key"] == "" {
		t.Errorf("%d %v", status, answer)
	}
	if _, err := r.store.AuthenticatePassword(t.Context(), "alice", password); err != nil {
		t.Error(err)
	}
}

// TestTokenOvertaken: a token that is asked for with one that is revoked at the
// same time, with all others of the user, is worth nothing.
func TestTokenOvertaken(t *testing.T) {
	r := newRig(t)
	alice := r.person("alice")
	db, err := sql.Open("sqlite", r.store.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), "CREATE TRIGGER late AFTER INSERT ON tokens BEGIN UPDATE tokens SET revoked_at = 1 WHERE id = '"+alice.tokenID+"'; END"); err != nil {
		t.Fatal(err)
	}
	status, body := r.call("POST", "/api/v2/users/me/keys/tokens", alice.token, `{"token_name":"kept"}`)
	if status != http.StatusUnauthorized || body["key"] != nil {
		t.Errorf("%d %v", status, body)
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
