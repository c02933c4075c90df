package store

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
)

const password = "correct horse battery staple"

func withPassword(t *testing.T, s *Store, name string) User {
	t.Helper()
	user, err := s.CreateUser(t.Context(), name, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SetPassword(t.Context(), user, password); err != nil {
		t.Fatal(err)
	}
	return user
}

func TestPassword(t *testing.T) {
	s := open(t, t.TempDir())
	alice := withPassword(t, s, "alice")
	if proof, err := s.AuthenticatePassword(t.Context(), "ALICE", password); err != nil || proof.User != alice {
		t.Errorf("%+v %v", proof.User, err)
	}
	for _, wrong := range []string{"", password + " ", strings.ToUpper(password), strings.Repeat("x", PasswordMost+1)} {
		if _, err := s.AuthenticatePassword(t.Context(), "alice", wrong); !errors.Is(err, ErrWrongPassword) {
			t.Errorf("%.20q: %v", wrong, err)
		}
	}
	changed, err := s.passwordTime(t.Context(), alice.ID)
	if err != nil || time.Since(fromMillis(changed)) > time.Minute {
		t.Errorf("%d %v", changed, err)
	}
	if _, err := s.passwordTime(t.Context(), uuid.New()); !errors.Is(err, ErrProofEnded) {
		t.Errorf("of nobody: %v", err)
	}
	if err := s.SetPassword(t.Context(), User{ID: uuid.New(), Name: "gone"}, password); err == nil {
		t.Error("a password for nobody")
	}
}

// signedIn is all that a user can be signed in by.
type signedIn struct{ session, token, code string }

func signInAll(t *testing.T, s *Store, user User) signedIn {
	t.Helper()
	session, err := s.CreateSession(t.Context(), proofOf(t, s, user))
	if err != nil {
		t.Fatal(err)
	}
	_, token, err := s.CreateUserToken(t.Context(), user.ID, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	code, _, err := s.CreateOneTimeCode(t.Context(), user)
	if err != nil {
		t.Fatal(err)
	}
	return signedIn{session.Reveal(), token.Reveal(), code.Reveal()}
}

// good says which of them still work. It spends the code.
func (in signedIn) good(t *testing.T, s *Store, name string) string {
	t.Helper()
	var list []string
	if _, err := s.SessionUser(t.Context(), in.session); err == nil {
		list = append(list, "session")
	}
	if _, _, err := s.AuthenticateUser(t.Context(), in.token); err == nil {
		list = append(list, "token")
	}
	if _, err := s.UseOneTimeCode(t.Context(), name, in.code); err == nil {
		list = append(list, "code")
	}
	return strings.Join(list, " ")
}

func TestWhatEndsWhat(t *testing.T) {
	s := open(t, t.TempDir())
	alice, bob := withPassword(t, s, "alice"), withPassword(t, s, "bob")
	other := signInAll(t, s, bob)
	in := signInAll(t, s, alice)
	if good := in.good(t, s, "alice"); good != "session token code" {
		t.Errorf("at first: %s", good)
	}
	in = signInAll(t, s, alice)
	if err := s.SetPassword(t.Context(), alice, password+"!"); err != nil {
		t.Fatal(err)
	}
	if good := in.good(t, s, "alice"); good != "token" {
		t.Errorf("after a change of the password: %s", good)
	}
	in = signInAll(t, s, alice)
	if count, err := s.RevokeUserTokens(t.Context(), alice.ID); err != nil || count != 3 {
		t.Errorf("%d revoked, %v", count, err)
	}
	if good := in.good(t, s, "alice"); good != "session code" {
		t.Errorf("after all tokens were revoked: %s", good)
	}
	in = signInAll(t, s, alice)
	if err := s.EndSession(t.Context(), in.session); err != nil {
		t.Fatal(err)
	}
	if good := in.good(t, s, "alice"); good != "token code" {
		t.Errorf("signed out: %s", good)
	}
	in = signInAll(t, s, alice)
	if err := s.DeleteUser(t.Context(), alice.ID); err != nil {
		t.Fatal(err)
	}
	if good := in.good(t, s, "alice"); good != "" {
		t.Errorf("of a deleted user: %s", good)
	}
	withPassword(t, s, "alice")
	if good := in.good(t, s, "alice"); good != "" {
		t.Errorf("of another user of the same name: %s", good)
	}
	if good := other.good(t, s, "bob"); good != "session token code" {
		t.Errorf("of somebody else all the while: %s", good)
	}
}

func TestOneTimeCode(t *testing.T) {
	s := open(t, t.TempDir())
	alice, _ := withPassword(t, s, "alice"), withPassword(t, s, "bob")
	make := func() string {
		code, expires, err := s.CreateOneTimeCode(t.Context(), alice)
		if left := time.Until(expires); err != nil || left < 9*time.Minute || left > OneTimeLife {
			t.Fatalf("good for %s, %v", left, err)
		}
		return code.Reveal()
	}
	first := make()
	second := make()
	tests := []struct {
		name, user, code string
		good             bool
	}{
		{"replaced by another", "alice", first, false},
		{"of another user", "bob", second, false},
		{"of nobody", "nobody", second, false},
		{"too short", "alice", second[:11], false},
		{"as people type it", "Alice", " " + strings.ToLower(strings.ReplaceAll(second, "-", " ")) + " ", true},
		{"a second time", "alice", second, false},
		{"of nothing", "alice", "", false},
	}
	for _, test := range tests {
		proof, err := s.UseOneTimeCode(t.Context(), test.user, test.code)
		if test.good != (err == nil && proof.User.ID == alice.ID) || err != nil && !errors.Is(err, ErrWrongPassword) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	code := make()
	exec(t, s, "UPDATE one_time_codes SET expires_at = expires_at - 600000")
	if _, err := s.UseOneTimeCode(t.Context(), "alice", code); !errors.Is(err, ErrWrongPassword) {
		t.Errorf("after ten minutes: %v", err)
	}
	code = make()
	var good atomic.Int32
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if _, err := s.UseOneTimeCode(t.Context(), "alice", code); err == nil {
				good.Add(1)
			}
		})
	}
	all.Wait()
	if good.Load() != 1 {
		t.Errorf("one code worked %d times", good.Load())
	}
}

// TestSessionEnds holds both ends of a session to the clock.
func TestSessionEnds(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := open(t, dir)
		defer s.Close()
		alice := withPassword(t, s, "alice")
		begin := func() string {
			session, err := s.CreateSession(t.Context(), proofOf(t, s, alice))
			if err != nil {
				t.Fatal(err)
			}
			return session.Reveal()
		}
		idle := begin()
		time.Sleep(SessionIdle - time.Second)
		if proof, err := s.SessionUser(t.Context(), idle); err != nil || proof.User.ID != alice.ID {
			t.Fatalf("just before: %v", err)
		}
		time.Sleep(SessionIdle)
		if _, err := s.SessionUser(t.Context(), idle); !errors.Is(err, ErrNotFound) {
			t.Errorf("unused for two hours: %v", err)
		}
		used, started := begin(), time.Now()
		for time.Since(started) < SessionLife {
			if _, err := s.SessionUser(t.Context(), used); err != nil {
				t.Fatalf("used after %s: %v", time.Since(started), err)
			}
			time.Sleep(time.Hour)
		}
		if _, err := s.SessionUser(t.Context(), used); !errors.Is(err, ErrNotFound) {
			t.Errorf("used for twelve hours: %v", err)
		}
		if err := s.PruneSignIn(t.Context()); err != nil {
			t.Fatal(err)
		}
		var left int
		if err := s.db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM sessions").Scan(&left); err != nil || left != 0 {
			t.Errorf("%d rows left, %v", left, err)
		}
		first := begin()
		for range sessionsEach {
			time.Sleep(time.Second)
			begin()
		}
		if _, err := s.SessionUser(t.Context(), first); !errors.Is(err, ErrNotFound) {
			t.Errorf("the oldest of %d: %v", sessionsEach+1, err)
		}
	})
}

// TestNothingToReadBack looks for the secrets in the files of the database.
func TestNothingToReadBack(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	alice := withPassword(t, s, "alice")
	in := signInAll(t, s, alice)
	planted, _, err := s.CreateUserToken(t.Context(), alice.ID, "planted in the clear", 0)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	var all []byte
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, content...)
	}
	if !bytes.Contains(all, []byte(planted.Name)) {
		t.Fatal("the search does not find what is there")
	}
	for _, secret := range []string{password, in.session, in.code, strings.ReplaceAll(in.code, "-", ""), in.token} {
		if bytes.Contains(all, []byte(secret)) {
			t.Error("a secret is in the database")
		}
	}
}

func TestRestoreSignsOut(t *testing.T) {
	dir, backup := t.TempDir(), filepath.Join(t.TempDir(), "backup.db")
	s := open(t, dir)
	in := signInAll(t, s, withPassword(t, s, "alice"))
	if err := s.Backup(t.Context(), backup); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := Restore(t.Context(), dir, backup); err != nil {
		t.Fatal(err)
	}
	if good := in.good(t, open(t, dir), "alice"); good != "token" {
		t.Errorf("after a restore: %s", good)
	}
}

func TestCodeForms(t *testing.T) {
	for typed, want := range map[string]string{
		"WDJB-MJHT": "WDJBMJHT", "wdjbmjht": "WDJBMJHT", " w d j b – m j h t\n": "WDJBMJHT", "WDJB_MJHT": "WDJBMJHT", "W.D.J.B.M.J.H.T": "WDJBMJHT",
		"": "", "WDJB-MJH": "", "WDJB-MJHTT": "", "WDJB-MJHA": "", "WDJB-MJH1": "", "WDJB/MJHT": "", "ＷＤＪＢＭＪＨＴ": "", strings.Repeat(" ", 100) + "WDJBMJHT": "",
	} {
		if got := NormalizeCode(typed, 8); got != want {
			t.Errorf("%q: %q, want %q", typed, got, want)
		}
	}
	seen := map[string]bool{}
	for range 100 {
		code := NewCode(8)
		if len(code) != 9 || code[4] != '-' || len(NormalizeCode(code, 8)) != 8 || seen[code] {
			t.Errorf("%s", code)
		}
		seen[code] = true
	}
}

// FuzzNormalizeCode: whatever is typed, the result is a code or nothing, and
// reading it again changes nothing.
func FuzzNormalizeCode(f *testing.F) {
	for _, seed := range []string{"WDJB-MJHT", "wdjb mjht", "\xff\xfe", "ſſſſſſſſ", "K", strings.Repeat("-", 200)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, typed string) {
		code := NormalizeCode(typed, 8)
		if code == "" {
			return
		}
		if len(code) != 8 || strings.Trim(code, CodeAlphabet) != "" || NormalizeCode(code, 8) != code || NormalizeCode(strings.ToLower(code), 8) != code {
			t.Errorf("%q: %q", typed, code)
		}
	})
}
