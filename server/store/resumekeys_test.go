package store

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var testRotation = Rotation{Every: 30 * 24 * time.Hour, Keep: 48 * time.Hour}

func TestRotationDue(t *testing.T) {
	at := time.Now()
	key := func(id string, age time.Duration) ResumeKey { return ResumeKey{ID: id, CreatedAt: at.Add(-age)} }
	const day = 24 * time.Hour
	for name, test := range map[string]struct {
		keys []ResumeKey
		add  bool
		drop string
	}{
		"none yet":                       {nil, true, ""},
		"young":                          {[]ResumeKey{key("a", day)}, false, ""},
		"a moment before its time":       {[]ResumeKey{key("a", 30*day-time.Second)}, false, ""},
		"old":                            {[]ResumeKey{key("a", 30*day)}, true, ""},
		"very old, and nothing after it": {[]ResumeKey{key("a", 3000*day)}, true, ""},
		"replaced a day ago":             {[]ResumeKey{key("b", day), key("a", 31*day)}, false, ""},
		"replaced two days ago":          {[]ResumeKey{key("b", 2*day), key("a", 31*day)}, false, "a"},
		"replaced twice in a day":        {[]ResumeKey{key("c", time.Hour), key("b", 2*time.Hour), key("a", 31*day)}, false, ""},
		"replaced twice":                 {[]ResumeKey{key("c", time.Hour), key("b", 3*day), key("a", 31*day)}, false, "a"},
		"created in the future":          {[]ResumeKey{key("a", -day)}, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			add, drop := testRotation.due(test.keys, at)
			var dropped []string
			for _, key := range drop {
				dropped = append(dropped, key.ID)
			}
			if got := strings.Join(dropped, " "); add != test.add || got != test.drop {
				t.Errorf("add %v, drop %q; want %v, %q", add, got, test.add, test.drop)
			}
		})
	}
}

// TestResumeKeysAreShared: every process sees the same keys, and one of them makes the first.
func TestResumeKeysAreShared(t *testing.T) {
	dir := t.TempDir()
	first, second := open(t, dir), open(t, dir)
	one, err := first.ResumeKeys(t.Context(), testRotation)
	if err != nil || len(one) != 1 || len(one[0].Secret) != resumeSecretSize || one[0].ID == "" {
		t.Fatalf("first key: %v, %v", one, err)
	}
	two, err := second.ResumeKeys(t.Context(), testRotation)
	if err != nil || len(two) != 1 || two[0].ID != one[0].ID || !bytes.Equal(two[0].Secret, one[0].Secret) {
		t.Errorf("second process: %v, %v", two, err)
	}
	rotated, err := second.RotateResumeKeys(t.Context(), testRotation, false)
	if err != nil || len(rotated) != 2 || bytes.Equal(rotated[0].Secret, rotated[1].Secret) {
		t.Fatalf("rotated: %v, %v", rotated, err)
	}
	left, err := first.RotateResumeKeys(t.Context(), testRotation, true)
	if err != nil || len(left) != 1 || left[0].ID == rotated[0].ID || left[0].ID == rotated[1].ID {
		t.Errorf("old ones dropped: %v, %v", left, err)
	}
}

func TestResumeKeysRotate(t *testing.T) {
	s := open(t, t.TempDir())
	keys, err := s.ResumeKeys(t.Context(), testRotation)
	if err != nil {
		t.Fatal(err)
	}
	age := func(id string, by time.Duration) {
		t.Helper()
		exec(t, s, fmt.Sprintf("UPDATE resume_keys SET created_at = created_at - %d WHERE id = '%s'", by.Milliseconds(), id))
	}
	count := func(want int) []ResumeKey {
		t.Helper()
		got, err := s.ResumeKeys(t.Context(), testRotation)
		if err != nil || len(got) != want {
			t.Fatalf("%v, %v; want %d keys", got, err, want)
		}
		return got
	}
	age(keys[0].ID, 31*24*time.Hour)
	both := count(2)
	if both[1].ID != keys[0].ID {
		t.Error("the old key is not kept")
	}
	age(both[0].ID, 47*time.Hour)
	count(2)
	age(both[0].ID, 2*time.Hour)
	if left := count(1); left[0].ID != both[0].ID {
		t.Error("the wrong key was dropped")
	}
	exec(t, s, "UPDATE resume_keys SET secret = x'00'")
	if _, err := s.ResumeKeys(t.Context(), testRotation); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a short key: %v", err)
	}
}

// TestNewestResumeKeySigns: also after a clock that was set back, and twice in a moment.
func TestNewestResumeKeySigns(t *testing.T) {
	s := open(t, t.TempDir())
	if _, err := s.ResumeKeys(t.Context(), testRotation); err != nil {
		t.Fatal(err)
	}
	exec(t, s, fmt.Sprintf("UPDATE resume_keys SET created_at = created_at + %d", time.Hour.Milliseconds()))
	known := map[string]bool{}
	for range 5 {
		keys, err := s.RotateResumeKeys(t.Context(), testRotation, false)
		if err != nil || known[keys[0].ID] {
			t.Fatalf("an old key signs: %v, %v", keys, err)
		}
		for _, key := range keys {
			known[key.ID] = true
		}
	}
}

// TestOldResumeKeyIsKept migrates a database of the first schema: clients keep their peers.
func TestOldResumeKeyIsKept(t *testing.T) {
	dir := t.TempDir()
	db, err := sql.Open("sqlite", filepath.Join(dir, FileName))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	steps, err := loadMigrations(migrationFiles)
	if err != nil {
		t.Fatal(err)
	}
	if err := applyMigration(t.Context(), db, steps[0]); err != nil {
		t.Fatal(err)
	}
	old := bytes.Repeat([]byte{7}, resumeSecretSize)
	if _, err := db.ExecContext(t.Context(), "INSERT INTO server_secrets (name, value, created_at) VALUES ('resume-signing-key', $1, $2)", old, millis(now())); err != nil {
		t.Fatal(err)
	}
	keys, err := open(t, dir).ResumeKeys(t.Context(), testRotation)
	if err != nil || len(keys) != 1 || keys[0].ID != "1" || !bytes.Equal(keys[0].Secret, old) {
		t.Errorf("%v, %v", keys, err)
	}
}

func TestResumeSecretHides(t *testing.T) {
	key := ResumeKey{ID: "a", Secret: ResumeSecret("topsecret")}
	encoded, err := json.Marshal(key)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{fmt.Sprintf("%v %+v %s %#v", key, key, key, key), string(encoded)} {
		if strings.Contains(text, "topsecret") || strings.Contains(text, "116") || strings.Contains(text, "dG9wc2Vj") {
			t.Errorf("shown: %s", text)
		}
	}
}

func TestPruneTokens(t *testing.T) {
	s := open(t, t.TempDir())
	user, _, _ := sample(t, s, "alice")
	ctx := t.Context()
	ids := map[string]string{}
	for _, name := range []string{"lasting", "revoked", "revoked long ago", "expired", "expired long ago"} {
		token, _, err := s.CreateUserToken(ctx, user.ID, name, 0)
		if err != nil {
			t.Fatal(err)
		}
		ids[name] = token.ID
	}
	long, lately := millis(now().Add(-100*time.Hour)), millis(now().Add(-time.Hour))
	for name, set := range map[string]string{
		"revoked": fmt.Sprintf("revoked_at = %d", lately), "revoked long ago": fmt.Sprintf("revoked_at = %d", long),
		"expired": fmt.Sprintf("expires_at = %d", lately), "expired long ago": fmt.Sprintf("expires_at = %d", long),
	} {
		exec(t, s, "UPDATE tokens SET "+set+" WHERE id = '"+ids[name]+"'")
	}
	if err := s.PruneTokens(ctx, time.Now().Add(-50*time.Hour)); err != nil {
		t.Fatal(err)
	}
	for name, id := range ids {
		_, err := s.Token(ctx, id)
		if gone := errors.Is(err, ErrNotFound); gone != strings.HasSuffix(name, "long ago") {
			t.Errorf("%s: gone %v, %v", name, gone, err)
		}
	}
}
