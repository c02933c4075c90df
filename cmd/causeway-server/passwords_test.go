package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/causewayhq/causeway/server/store"
)

const goodPassword = "correct horse battery staple"

// typed runs an invocation with a text on standard input.
func typed(t *testing.T, text string, args ...string) result {
	t.Helper()
	cmd := command(t, nil, args...)
	cmd.Stdin = strings.NewReader(text)
	return finish(t, cmd)
}

func opened(t *testing.T, dir string) *store.Store {
	t.Helper()
	s, err := store.OpenExisting(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// TestUserPassword: a password comes by standard input, works, is never printed,
// ends sessions, and ends tokens only when that is asked for.
func TestUserPassword(t *testing.T) {
	dir := t.TempDir()
	got := typed(t, goodPassword+"\r\n", "user", "create", "alice", "--password-stdin", "--create", "--data-dir", dir)
	token := regexp.MustCompile(`cwu_\w+`).FindString(got.stdout)
	if got.code != 0 || token == "" || strings.Contains(got.stdout+got.stderr, goodPassword) {
		t.Fatalf("%+v", got)
	}
	s := opened(t, dir)
	works := func(password string) bool {
		_, err := s.AuthenticatePassword(t.Context(), "alice", password)
		if err != nil && !errors.Is(err, store.ErrWrongPassword) {
			t.Fatal(err)
		}
		return err == nil
	}
	if !works(goodPassword) {
		t.Error("the first password does not work")
	}
	proof, err := s.AuthenticatePassword(t.Context(), "alice", goodPassword)
	if err != nil {
		t.Fatal(err)
	}
	session, err := s.CreateSession(t.Context(), proof)
	if err != nil {
		t.Fatal(err)
	}
	if got := typed(t, "short\n", "user", "password", "alice", "--stdin", "--data-dir", dir); got.code != exitUsage || !works(goodPassword) {
		t.Errorf("a short one: %+v", got)
	}
	got = typed(t, goodPassword+"!\nnot this line", "user", "password", "ALICE", "--stdin", "--data-dir", dir)
	if got.code != 0 || got.stdout != "Set the password of user alice. Its browser sessions have ended.\n" || got.stderr != "" || !works(goodPassword+"!") || works(goodPassword) {
		t.Errorf("%+v", got)
	}
	if _, err := s.SessionUser(t.Context(), session.Reveal()); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the session: %v", err)
	}
	if _, _, err := s.AuthenticateUser(t.Context(), token); err != nil {
		t.Errorf("the token: %v", err)
	}
	got = typed(t, goodPassword, "user", "password", "alice", "--stdin", "--revoke-tokens", "--json", "--data-dir", dir)
	var body struct {
		Version       int
		User          struct{ Name string }
		RevokedTokens int `json:"revoked_tokens"`
	}
	if err := json.Unmarshal([]byte(got.stdout), &body); err != nil || body.Version != outputVersion || body.User.Name != "alice" || body.RevokedTokens != 1 {
		t.Errorf("%+v %v", got, err)
	}
	if _, _, err := s.AuthenticateUser(t.Context(), token); !errors.Is(err, store.ErrTokenRevoked) {
		t.Errorf("the token after its revocation: %v", err)
	}
}

// TestUserCode prints a code that works, once.
func TestUserCode(t *testing.T) {
	dir := t.TempDir()
	if got := cli(t, nil, "user", "create", "alice", "--create", "--data-dir", dir); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	out := ok(t, "user", "code", "alice", "--data-dir", dir)
	code := regexp.MustCompile(`(?m)^  ([B-Z]{4}-[B-Z]{4}-[B-Z]{4})$`).FindStringSubmatch(out)
	if code == nil || !strings.Contains(out, "/login") || !strings.Contains(out, "good until") {
		t.Fatalf("%s", out)
	}
	s := opened(t, dir)
	if proof, err := s.UseOneTimeCode(t.Context(), "alice", code[1]); err != nil || proof.User.Name != "alice" {
		t.Error(err)
	}
	if _, err := s.UseOneTimeCode(t.Context(), "alice", code[1]); !errors.Is(err, store.ErrWrongPassword) {
		t.Errorf("again: %v", err)
	}
}

// TestLockedDatabase: another process that holds the database is named as what it
// is, with an exit code and what to do.
func TestLockedDatabase(t *testing.T) {
	dir := t.TempDir()
	if got := cli(t, nil, "user", "create", "alice", "--create", "--data-dir", dir); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	release := lockDatabase(t, filepath.Join(dir, store.FileName))
	defer release()
	got := cli(t, nil, "user", "create", "bob", "--data-dir", dir)
	if got.code != exitDatabase || !strings.Contains(got.stderr, "another process holds the database locked for more than 5s") || !strings.Contains(got.stderr, "Try again when") {
		t.Errorf("%+v", got)
	}
}

// lockDatabase takes the writer's turn and keeps it.
func lockDatabase(t *testing.T, path string) (release func()) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	return func() {
		_, err := conn.ExecContext(context.Background(), "ROLLBACK")
		if err := errors.Join(err, conn.Close(), db.Close()); err != nil {
			t.Error(err)
		}
	}
}
