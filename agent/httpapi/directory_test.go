//go:build unix

package httpapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func (s *testServer) askList(relativity string, path ...string) (listing, int, string) {
	s.t.Helper()
	body, err := json.Marshal(listRequest{Path: path, Relativity: relativity})
	if err != nil {
		s.t.Fatal(err)
	}
	answer := s.ask("POST", "/api/v0/list-directory", string(body))
	var got listing
	if answer.Code == 200 {
		if err := json.Unmarshal(answer.Body.Bytes(), &got); err != nil {
			s.t.Fatal(err)
		}
	}
	return got, answer.Code, answer.Body.String()
}

// homeTree is a home directory with a bit of everything.
func homeTree(t *testing.T) string {
	t.Helper()
	home := t.TempDir()
	t.Setenv("HOME", home)
	for _, err := range []error{
		os.MkdirAll(filepath.Join(home, "b", "inner dir"), 0o700),
		os.WriteFile(filepath.Join(home, "a.txt"), nil, 0o600),
		os.Symlink(filepath.Join(home, "b"), filepath.Join(home, "link")),
		os.Symlink("nowhere", filepath.Join(home, "dangling")),
		os.WriteFile(filepath.Join(home, "back\\slash: ..\n"), nil, 0o600),
		syscall.Mkfifo(filepath.Join(home, "pipe"), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return home
}

func TestListDirectory(t *testing.T) {
	home := homeTree(t)
	s := newServer(t)
	got, code, text := s.askList("home")
	if code != 200 {
		t.Fatal(code, text)
	}
	if got.AbsolutePathString != home || !slices.Equal(got.AbsolutePath, strings.Split(home[1:], "/")) || got.Truncated || got.Limit != maxEntries {
		t.Errorf("got %+v", got)
	}
	want := []entry{{"a.txt", "", false}, {"b", "", true}, {"back\\slash: ..\n", "", false}, {"dangling", "", false}, {"link", "", true}, {"pipe", "", false}}
	for i := range want {
		want[i].AbsolutePathString = filepath.Join(home, want[i].Name)
	}
	if !slices.Equal(got.Contents, want) {
		t.Errorf("got  %v\nwant %v", got.Contents, want)
	}
	// What is answered can be asked for.
	if deeper, code, _ := s.askList("root", append(got.AbsolutePath, "b")...); code != 200 || deeper.Contents[0].Name != "inner dir" {
		t.Errorf("%d %+v", code, deeper)
	}
	if linked, code, _ := s.askList("home", "link"); code != 200 || linked.AbsolutePathString != filepath.Join(home, "link") || len(linked.Contents) != 1 {
		t.Errorf("%d %+v", code, linked)
	}
	if root, code, _ := s.askList("root"); code != 200 || root.AbsolutePathString != "/" || root.AbsolutePath == nil || len(root.AbsolutePath) != 0 || len(root.Contents) == 0 {
		t.Errorf("%d %+v", code, root)
	}
	if empty, code, text := s.askList("home", "b", "inner dir"); code != 200 || empty.Contents == nil || len(empty.Contents) != 0 {
		t.Errorf("%d %s", code, text)
	}
}

// TestPathTraversal: no element of a path leads anywhere but one step down.
func TestPathTraversal(t *testing.T) {
	home := homeTree(t)
	s := newServer(t)
	long := slices.Repeat([]string{"b"}, maxDepth+1)
	for _, path := range [][]string{
		{".."}, {"b", ".."}, {"b", "..", ".."}, {"."}, {""}, {"b", ""}, {"/etc"}, {"b/.."}, {"../" + filepath.Base(home)}, {"b/inner dir"},
		{"b\x00"}, {"\x00"}, {strings.Repeat("x", maxName+1)}, {"/"}, {"b", "/"}, long,
	} {
		for _, relativity := range []string{"home", "root"} {
			got, code, text := s.askList(relativity, path...)
			if code != 400 {
				t.Errorf("%s %.60q: %d %.200s %v", relativity, path, code, text, got)
			}
		}
	}
	for name, test := range map[string]struct {
		body   string
		status int
	}{
		"other relativity": {`{"relativity":"/etc","path":[]}`, 400},
		"no relativity":    {`{"path":[]}`, 400},
		"no JSON":          {`path=/etc`, 400},
		"other types":      {`{"relativity":"home","path":"b"}`, 400},
		"numbers":          {`{"relativity":"home","path":[1]}`, 400},
		"no path":          {`{"relativity":"home"}`, 200},
		"null":             {`null`, 400},
	} {
		if answer := s.ask("POST", "/api/v0/list-directory", test.body); answer.Code != test.status {
			t.Errorf("%s: %d %s", name, answer.Code, answer.Body)
		}
	}
	for path, status := range map[string]int{"a.txt": 400, "pipe": 400, "nothing": 404, "dangling": 404, "..b": 404, "..": 400, `C:\`: 404} {
		if _, code, text := s.askList("home", path); code != status {
			t.Errorf("%q: %d %s, want %d", path, code, text, status)
		}
	}
}

func TestForbiddenDirectory(t *testing.T) {
	if got := statusOf(fmt.Errorf("open directory: %w", &fs.PathError{Op: "open", Path: "/x", Err: syscall.EACCES})); got != 403 {
		t.Errorf("status %d", got)
	}
	if got := statusOf(errors.New("input/output error")); got != 500 {
		t.Errorf("status %d", got)
	}
}

// TestManyEntries: a listing has a limit, and says so.
func TestManyEntries(t *testing.T) {
	directory := t.TempDir()
	for number := range 30 {
		if err := os.WriteFile(filepath.Join(directory, fmt.Sprint(number)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for limit, want := range map[int]int{20: 20, 29: 29, 30: 30, 31: 30} {
		got, err := read(directory, limit)
		if err != nil || len(got.Contents) != want || got.Truncated != (limit < 30) || got.Limit != limit {
			t.Errorf("limit %d: %d entries, truncated %v, %v", limit, len(got.Contents), got.Truncated, err)
		}
	}
}

// TestManyListings: file systems that hang keep no more than their places.
func TestManyListings(t *testing.T) {
	s := newServer(t)
	for range maxListings {
		s.lists <- struct{}{}
	}
	if _, code, text := s.askList("root"); code != 503 {
		t.Errorf("%d %s", code, text)
	}
	<-s.lists
	if _, code, text := s.askList("root"); code != 200 {
		t.Errorf("%d %s", code, text)
	}
}

// FuzzListPath: whatever a path holds, it means something below where it begins.
func FuzzListPath(f *testing.F) {
	for _, seed := range []string{"a", "..", "a/..", "a\x00b", "/", "", ".", "a//b", "...", "C:\\", "%2e%2e", "․․"} {
		f.Add(seed, "x")
	}
	f.Fuzz(func(t *testing.T, first, second string) {
		for _, base := range []string{"/", "/home/alice"} {
			path, err := below(base, []string{first, second})
			if err != nil {
				continue
			}
			rest, err := filepath.Rel(base, path)
			if err != nil || rest != first+"/"+second || filepath.Dir(filepath.Dir(path)) != base {
				t.Errorf("%q, %q below %s is %q", first, second, base, path)
			}
			if base == "/" && !slices.Equal(split(path), []string{first, second}) {
				t.Errorf("%q is split into %q", path, split(path))
			}
		}
	})
}
