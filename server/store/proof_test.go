package store

import (
	"errors"
	"testing"
)

// proofOf is what a sign-in at this moment would give.
func proofOf(t *testing.T, s *Store, user User) Proof {
	t.Helper()
	changed, err := s.passwordTime(t.Context(), user.ID)
	if err != nil {
		t.Fatal(err)
	}
	return Proof{user, changed}
}

// TestProofEnds: who has shown a password, a code or a session gets nothing by it
// once the password was changed, however late the change is noticed.
func TestProofEnds(t *testing.T) {
	s := open(t, t.TempDir())
	alice := withPassword(t, s, "alice")
	exec(t, s, "UPDATE passwords SET changed_at = changed_at - 1000") // not in the millisecond of the next
	proofs := map[string]Proof{}
	show := func(name string, proof Proof, err error) {
		t.Helper()
		if err != nil || proof.User != alice {
			t.Fatalf("%s: %+v %v", name, proof, err)
		}
		proofs[name] = proof
	}
	proof, err := s.AuthenticatePassword(t.Context(), "alice", password)
	show("password", proof, err)
	in := signInAll(t, s, alice)
	proof, err = s.UseOneTimeCode(t.Context(), "alice", in.code)
	show("code", proof, err)
	proof, err = s.SessionUser(t.Context(), in.session)
	show("session", proof, err)
	for name, proof := range proofs {
		if _, err := s.CreateSession(t.Context(), proof); err != nil {
			t.Errorf("by %s: %v", name, err)
		}
		if _, _, err := s.CreateProvenToken(t.Context(), proof, name, 0); err != nil {
			t.Errorf("by %s: %v", name, err)
		}
	}
	if err := s.SetPassword(t.Context(), alice, password+"!"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.RevokeUserTokens(t.Context(), alice.ID); err != nil {
		t.Fatal(err)
	}
	session := func(name string, proof Proof) {
		t.Helper()
		if secret, err := s.CreateSession(t.Context(), proof); !errors.Is(err, ErrProofEnded) || secret != (Secret{}) {
			t.Errorf("a session by %s: %v", name, err)
		}
	}
	token := func(name string, proof Proof) {
		t.Helper()
		if _, secret, err := s.CreateProvenToken(t.Context(), proof, name, 0); !errors.Is(err, ErrProofEnded) || secret != (Secret{}) {
			t.Errorf("a token by %s: %v", name, err)
		}
	}
	for name, proof := range proofs {
		session(name, proof)
		token(name, proof)
	}
	// The change comes at the last moment.
	exec(t, s, "CREATE TRIGGER late_session AFTER INSERT ON sessions BEGIN UPDATE passwords SET changed_at = changed_at + 1; END")
	exec(t, s, "CREATE TRIGGER late_token AFTER INSERT ON tokens BEGIN UPDATE passwords SET changed_at = changed_at + 1; END")
	session("who is overtaken", proofOf(t, s, alice))
	token("who is overtaken", proofOf(t, s, alice))
	nothingIsLeft(t, s)
	if err := s.DeleteUser(t.Context(), alice.ID); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.CreateProvenToken(t.Context(), proof, "", 0); !errors.Is(err, ErrProofEnded) {
		t.Errorf("of a deleted user: %v", err)
	}
}

func nothingIsLeft(t *testing.T, s *Store) {
	t.Helper()
	var left int
	err := s.db.QueryRowContext(t.Context(), "SELECT (SELECT COUNT(*) FROM sessions) + (SELECT COUNT(*) FROM tokens WHERE revoked_at = 0)").Scan(&left)
	if err != nil || left != 0 {
		t.Errorf("%d sessions and tokens are left, %v", left, err)
	}
}
