package store

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestUnknownUserCostsTheSame counts the work and does not time it: a name that
// does not exist, one without a password and a wrong password cost one hash each,
// of the same cost.
func TestUnknownUserCostsTheSame(t *testing.T) {
	s := open(t, t.TempDir())
	withPassword(t, s, "alice")
	if _, err := s.CreateUser(t.Context(), "bare", ""); err != nil {
		t.Fatal(err)
	}
	var costs []argonCost
	s.hasher.derive = func(password, salt []byte, cost argonCost, size int) []byte {
		costs = append(costs, cost)
		return deriveArgon(password, salt, cost, size)
	}
	for _, name := range []string{"alice", "bare", "nobody", "", "not a name"} {
		costs = nil
		if _, err := s.AuthenticatePassword(t.Context(), name, "a wrong password"); !errors.Is(err, ErrWrongPassword) {
			t.Errorf("%q: %v", name, err)
		}
		if len(costs) != 1 || costs[0] != currentCost {
			t.Errorf("%q cost %v", name, costs)
		}
	}
	// The zero hash that stands in for none is nobody's password.
	s.hasher.derive = func(_, _ []byte, _ argonCost, size int) []byte { return make([]byte, size) }
	if _, err := s.AuthenticatePassword(t.Context(), "bare", "anything"); !errors.Is(err, ErrWrongPassword) {
		t.Errorf("a user without a password: %v", err)
	}
}

// TestHashIsRenewed: a hash of another cost works, and is replaced by one of
// today's when its password is shown. No session ends by that.
func TestHashIsRenewed(t *testing.T) {
	s := open(t, t.TempDir())
	alice := withPassword(t, s, "alice")
	session, err := s.CreateSession(t.Context(), proofOf(t, s, alice))
	if err != nil {
		t.Fatal(err)
	}
	weak, salt := argonCost{memory: 64, passes: 1, threads: 1}, bytes.Repeat([]byte{1}, saltBytes)
	old := encodePHC(weak, salt, deriveArgon([]byte(password), salt, weak, hashBytes))
	exec(t, s, "UPDATE passwords SET hash = '"+old+"'")
	read := func() (hash string) {
		if err := s.db.QueryRowContext(t.Context(), "SELECT hash FROM passwords").Scan(&hash); err != nil {
			t.Fatal(err)
		}
		return hash
	}
	if _, err := s.AuthenticatePassword(t.Context(), "alice", "a wrong password"); !errors.Is(err, ErrWrongPassword) || read() != old {
		t.Errorf("by a wrong password: %v", err)
	}
	work := countWork(s)
	if _, err := s.AuthenticatePassword(t.Context(), "alice", password); err != nil || work.Load() != 2 || !strings.HasPrefix(read(), "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("%s after %d hashes, %v", read(), work.Load(), err)
	}
	if _, err := s.AuthenticatePassword(t.Context(), "alice", password); err != nil || work.Load() != 3 {
		t.Errorf("the new one: %d hashes, %v", work.Load(), err)
	}
	if _, err := s.SessionUser(t.Context(), session.Reveal()); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"$argon2i$v=19$m=64,t=1,p=1$AAAAAAAAAAA$" + strings.Repeat("A", 43), "plain", "$argon2id$v=19$m=99999999,t=1,p=1$AAAAAAAAAAA$" + strings.Repeat("A", 43), "$argon2id$v=19$m=64,t=0,p=1$AAAAAAAAAAA$" + strings.Repeat("A", 43), "$argon2id$v=19$m=64,t=1,p=1$$"} {
		exec(t, s, "UPDATE passwords SET hash = '"+bad+"'")
		if _, err := s.AuthenticatePassword(t.Context(), "alice", password); !errors.Is(err, errHashForm) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// TestHashesTakeTurns: however many sign in at once, few hashes are made at a
// time, and whoever waits too long is told.
func TestHashesTakeTurns(t *testing.T) {
	h := newHasher()
	var running, most atomic.Int32
	release := make(chan struct{})
	h.derive = func(_, _ []byte, _ argonCost, size int) []byte {
		most.Store(max(most.Load(), running.Add(1)))
		<-release
		running.Add(-1)
		return make([]byte, size)
	}
	var all sync.WaitGroup
	for range 3 * hashTurns {
		all.Go(func() {
			if _, err := h.hash(context.Background(), password); err != nil {
				t.Error(err)
			}
		})
	}
	for running.Load() < hashTurns {
		time.Sleep(time.Millisecond) // until the turns are taken
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := h.check(ctx, "", password); !errors.Is(err, context.Canceled) {
		t.Errorf("a turn that never came: %v", err)
	}
	close(release)
	all.Wait()
	if most.Load() != hashTurns {
		t.Errorf("%d at a time", most.Load())
	}
}

// countWork counts the hashes that are made, and of which cost.
func countWork(s *Store) *atomic.Int32 {
	var count atomic.Int32
	s.hasher.derive = func(password, salt []byte, cost argonCost, size int) []byte {
		count.Add(1)
		return deriveArgon(password, salt, cost, size)
	}
	return &count
}

func TestPasswordRules(t *testing.T) {
	for bad, say := range map[string]string{
		"":                      "0 characters",
		"eleven char":           "11 characters",
		"äöüäöüäöüäö":           "11 characters",
		strings.Repeat("a", 20): "one character",
		strings.Repeat("a", 513) + strings.Repeat("b", 512): "1025 bytes",
		"two lines\nof text":   "control",
		"alicealice12":         "user's name",
		"Alice-2026-12":        "user's name",
		"\xff\xfe not text ..": "UTF-8",
	} {
		var problem *PasswordError
		if err := CheckPassword("alice", bad); !errors.As(err, &problem) || !strings.Contains(err.Error(), say) || len(bad) > 9 && strings.Contains(err.Error(), bad) {
			t.Errorf("%.30q: %v", bad, err)
		}
	}
	for _, good := range []string{password, "malice and more", strings.Repeat("ab", 512), "пароль из слов"} {
		if err := CheckPassword("alice", good); err != nil {
			t.Errorf("%.30q: %v", good, err)
		}
	}
}
