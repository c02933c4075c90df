package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestOpenRefuses(t *testing.T) {
	tests := []struct {
		name    string
		prepare func(t *testing.T, dir string)
		want    error
		text    string
	}{
		{"text file", func(t *testing.T, dir string) { write(t, dir, strings.Repeat("not a database ", 100)) }, ErrCorrupt, "restore a backup"},
		{"damaged pages", damage, ErrCorrupt, "restore a backup"},
		{"another program's", func(t *testing.T, dir string) {
			s := open(t, dir)
			exec(t, s, "PRAGMA application_id = 1")
			s.Close()
		}, ErrCorrupt, "another program"},
		{"newer schema", func(t *testing.T, dir string) {
			s := open(t, dir)
			exec(t, s, "INSERT INTO schema_migrations VALUES (999, 0)")
			s.Close()
		}, ErrNewerSchema, "999"},
		{"directory in its place", func(t *testing.T, dir string) {
			if err := os.Mkdir(filepath.Join(dir, FileName), 0o700); err != nil {
				t.Fatal(err)
			}
		}, nil, "is a directory"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			test.prepare(t, dir)
			before, _ := os.ReadFile(filepath.Join(dir, FileName))
			_, err := Open(t.Context(), dir)
			if err == nil || test.want != nil && !errors.Is(err, test.want) {
				t.Fatalf("got %v, want %v", err, test.want)
			}
			for _, part := range []string{filepath.Join(dir, FileName), test.text} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not say %q", err, part)
				}
			}
			if after, _ := os.ReadFile(filepath.Join(dir, FileName)); string(before) != string(after) {
				t.Error("the file has changed")
			}
		})
	}
}

func write(t *testing.T, dir, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, FileName), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func exec(t *testing.T, s *Store, query string) {
	t.Helper()
	if _, err := s.db.ExecContext(t.Context(), query); err != nil {
		t.Fatal(err)
	}
}

// damage overwrites every page but the first.
func damage(t *testing.T, dir string) {
	t.Helper()
	s := open(t, dir)
	sample(t, s, "alice")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, FileName)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := 4096; i < len(content); i++ {
		content[i] ^= 0x5a
	}
	write(t, dir, string(content))
}

func TestModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "data")
	s := open(t, dir)
	sample(t, s, "alice")
	for name, want := range map[string]fs.FileMode{".": 0o700, FileName: 0o600, FileName + "-wal": 0o600, FileName + "-shm": 0o600} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %o, want %o", name, info.Mode().Perm(), want)
		}
	}
}

func TestMigrationsAreNumbered(t *testing.T) {
	steps, err := loadMigrations(migrationFiles)
	if err != nil || len(steps) == 0 {
		t.Fatalf("%d steps, %v", len(steps), err)
	}
	s := open(t, t.TempDir())
	version, err := schemaVersion(t.Context(), s.db)
	if err != nil || version != len(steps) {
		t.Errorf("version %d, %v, want %d", version, err, len(steps))
	}
	// Opening again changes nothing.
	if err := migrate(t.Context(), s.db); err != nil {
		t.Error(err)
	}
}
