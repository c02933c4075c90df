package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestBackupWhileWriting(t *testing.T) {
	dir, target := t.TempDir(), filepath.Join(t.TempDir(), "backup.db")
	s := open(t, dir)
	sample(t, s, "alice")
	ctx, stop := context.WithCancel(t.Context())
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			if _, err := s.CreateUser(context.Background(), fmt.Sprintf("user%d", i), ""); err != nil {
				t.Error(err)
				return
			}
		}
	})
	err := s.Backup(t.Context(), target)
	stop()
	writer.Wait()
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(target)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if err := Verify(t.Context(), target); err != nil {
		t.Error(err)
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(target), "*"))
	if err != nil || len(left) != 1 {
		t.Errorf("files beside the backup: %v, %v", left, err)
	}
}

func TestBackupNeverOverwrites(t *testing.T) {
	s := open(t, t.TempDir())
	target := filepath.Join(t.TempDir(), "backup.db")
	if err := os.WriteFile(target, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Backup(t.Context(), target); !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), target) {
		t.Errorf("got %v", err)
	}
	if content, err := os.ReadFile(target); err != nil || string(content) != "precious" {
		t.Errorf("content %q, %v", content, err)
	}
	missing := filepath.Join(t.TempDir(), "no", "such", "dir")
	if err := s.Backup(t.Context(), missing); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing directory: %v", err)
	}
}

func TestRestore(t *testing.T) {
	dir, backup := t.TempDir(), filepath.Join(t.TempDir(), "backup.db")
	s := open(t, dir)
	alice, _, _ := sample(t, s, "alice")
	_, secret, err := s.CreateUserToken(t.Context(), alice.ID, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Backup(t.Context(), backup); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateUser(t.Context(), "later", ""); err != nil {
		t.Fatal(err)
	}
	s.Close()

	kept, err := Restore(t.Context(), dir, backup)
	if err != nil {
		t.Fatal(err)
	}
	restored := open(t, dir)
	if _, _, err := restored.AuthenticateUser(t.Context(), secret.Reveal()); err != nil {
		t.Errorf("token of the backup: %v", err)
	}
	if _, err := restored.UserByName(t.Context(), "later"); !errors.Is(err, ErrNotFound) {
		t.Errorf("user created after the backup: %v", err)
	}
	if err := Verify(t.Context(), kept); err != nil {
		t.Errorf("kept database: %v", err)
	}
	if info, err := os.Stat(filepath.Join(dir, FileName)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info, err)
	}
	// Into an empty directory there is nothing to keep.
	if kept, err := Restore(t.Context(), filepath.Join(t.TempDir(), "new"), backup); err != nil || kept != "" {
		t.Errorf("kept %q, %v", kept, err)
	}
}

func TestRestoreOverDamagedDatabase(t *testing.T) {
	source, dir, backup := t.TempDir(), t.TempDir(), filepath.Join(t.TempDir(), "backup.db")
	s := open(t, source)
	sample(t, s, "alice")
	if err := s.Backup(t.Context(), backup); err != nil {
		t.Fatal(err)
	}
	damage(t, dir)
	if _, err := Restore(t.Context(), dir, backup); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, dir).UserByName(t.Context(), "alice"); err != nil {
		t.Error(err)
	}
}

func TestRestoreRefuses(t *testing.T) {
	good := filepath.Join(t.TempDir(), "good.db")
	source := open(t, t.TempDir())
	if err := source.Backup(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	bad := func(name string, content []byte) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	tests := []struct {
		name, backup string
		locked       bool
		want         error
	}{
		{"server runs", good, true, ErrInUse},
		{"missing", filepath.Join(t.TempDir(), "none"), false, fs.ErrNotExist},
		{"empty", bad("empty", nil), false, ErrCorrupt},
		{"text", bad("text", []byte(strings.Repeat("x", 5000))), false, ErrCorrupt},
		{"cut short", bad("short", content[:len(content)/2]), false, ErrCorrupt},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir)
			sample(t, s, "alice")
			if test.locked {
				lock, err := LockDir(dir)
				if err != nil {
					t.Fatal(err)
				}
				defer lock.Close()
			}
			if _, err := Restore(t.Context(), dir, test.backup); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if _, err := s.UserByName(t.Context(), "alice"); err != nil {
				t.Errorf("the old database has suffered: %v", err)
			}
			left, err := filepath.Glob(filepath.Join(dir, "*restore*"))
			if err != nil || len(left) != 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

func TestLockDir(t *testing.T) {
	dir := t.TempDir()
	first, err := LockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = LockDir(dir)
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), fmt.Sprintf("pid %d", os.Getpid())) {
		t.Errorf("second lock: %v", err)
	}
	first.Close()
	second, err := LockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	second.Close()
}
