package hosts

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

const localhost = "127.0.0.1 localhost\n::1 localhost\n"

func hostsFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func contentOf(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func mustSet(t *testing.T, path string, entries []Entry) {
	t.Helper()
	if err := (File{Path: path}).Set(entries); err != nil {
		t.Fatal(err)
	}
}

// onlyFiles checks that nothing but these is left in the directory.
func onlyFiles(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("directory holds %v, want %v", got, want)
	}
}

func TestSetAndRemove(t *testing.T) {
	path := hostsFile(t, localhost)
	mustSet(t, path, two)
	if got := contentOf(t, path); got != localhost+section(t, two) {
		t.Errorf("got %q", got)
	}
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	mustSet(t, path, two)
	if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) || !after.ModTime().Equal(before.ModTime()) {
		t.Error("setting the same wrote the file again")
	}
	mustSet(t, path, nil)
	if got := contentOf(t, path); got != localhost {
		t.Errorf("got %q", got)
	}
	mustSet(t, path, nil)
	onlyFiles(t, filepath.Dir(path), "hosts")
}

func TestMissingFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hosts")
	mustSet(t, path, nil)
	onlyFiles(t, filepath.Dir(path))
	mustSet(t, path, one)
	if info, err := os.Stat(path); err != nil || info.Mode() != modeOfNew {
		t.Errorf("%v %v", info, err)
	}
	mustSet(t, path, two)
	mustSet(t, path, nil)
	onlyFiles(t, filepath.Dir(path)) // as it was
	mustSet(t, path, one)
	if err := os.WriteFile(path, []byte(contentOf(t, path)+localhost), 0o644); err != nil {
		t.Fatal(err)
	}
	mustSet(t, path, nil)
	if got := contentOf(t, path); got != localhost {
		t.Errorf("got %q", got)
	}
}

func TestNotAFile(t *testing.T) {
	dir := t.TempDir()
	if err := (File{Path: dir}).Set(one); !errors.Is(err, errNotRegular) {
		t.Errorf("directory: %v", err)
	}
	if err := (File{Path: filepath.Join(dir, "none", "hosts")}).Set(one); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing directory: %v", err)
	}
	onlyFiles(t, dir)
}

// TestReplacedUnderUs has another program edit or replace the file at the worst
// moment: its change must survive, and so must ours.
func TestReplacedUnderUs(t *testing.T) {
	for title, meddle := range map[string]func(path string) error{
		"edited in place, same size": func(path string) error {
			return os.WriteFile(path, bytes.Replace([]byte(localhost), []byte("localhost"), []byte("hostlocal"), 1), 0o644)
		},
		"replaced": func(path string) error {
			if err := os.WriteFile(path+".new", []byte("192.0.2.1 printer\n"), 0o644); err != nil {
				return err
			}
			return os.Rename(path+".new", path)
		},
		"deleted": os.Remove,
	} {
		path := hostsFile(t, localhost)
		var once sync.Once
		file := File{Path: path, beforeRename: func() {
			once.Do(func() {
				if err := meddle(path); err != nil {
					t.Error(err)
				}
			})
		}}
		if err := file.Set(one); err != nil {
			t.Fatalf("%s: %v", title, err)
		}
		got := contentOf(t, path)
		if !strings.Contains(got, one[0].Name) || strings.Contains(got, localhost) {
			t.Errorf("%s: got %q", title, got)
		}
		onlyFiles(t, filepath.Dir(path), "hosts")
	}
}

func TestChangedAllTheTime(t *testing.T) {
	path := hostsFile(t, "0")
	count := 0
	file := File{Path: path, beforeRename: func() {
		count++
		if err := os.WriteFile(path, []byte(strings.Repeat("#", count)), 0o644); err != nil {
			t.Error(err)
		}
	}}
	if err := file.Set(one); !errors.Is(err, errRaced) {
		t.Errorf("got %v", err)
	}
	onlyFiles(t, filepath.Dir(path), "hosts")
}

func TestConcurrentWriters(t *testing.T) {
	path := hostsFile(t, localhost)
	var running sync.WaitGroup
	for i := range 4 {
		entries := [][]Entry{one, two}[i%2]
		running.Go(func() {
			for range 50 {
				if err := (File{Path: path}).Set(entries); err != nil && !errors.Is(err, errBusy) && !errors.Is(err, errRaced) {
					t.Error(err)
				}
			}
		})
	}
	running.Wait()
	if got := contentOf(t, path); got != localhost+section(t, one) && got != localhost+section(t, two) {
		t.Errorf("got %q", got)
	}
	onlyFiles(t, filepath.Dir(path), "hosts")
}
