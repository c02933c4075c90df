package netcfg

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
)

var (
	route   = Change{Kind: "route", Interface: "causeway0", Index: 7, Value: "fd60:627a:a42b::/48", Epoch: "boot"}
	section = Change{Kind: "hosts", Value: "/etc/hosts"}
)

func open(t *testing.T, path string) *Journal {
	t.Helper()
	j, err := OpenJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func expect(t *testing.T, j *Journal, want ...Change) {
	t.Helper()
	if got := j.Entries(); len(got) != len(want) || len(want) > 0 && !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestJournalOutlivesTheProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.json")
	j := open(t, path)
	expect(t, j)
	if err := j.Record(route, section, route); err != nil {
		t.Fatal(err)
	}
	expect(t, j, route, section)
	expect(t, open(t, path), route, section)
	if err := j.Done(route); err != nil {
		t.Fatal(err)
	}
	expect(t, open(t, path), section)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	if err := j.Done(route, section); err != nil {
		t.Fatal(err)
	}
	expect(t, open(t, path))
	onlyFile(t, path)
}

// onlyFile: the journal leaves nothing beside itself.
func onlyFile(t *testing.T, path string) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*"))
	if err != nil || len(found) != 1 || found[0] != path {
		t.Errorf("files: %v %v; want %s alone", found, err, path)
	}
}

// TestCrashInTheMidstOfWriting leaves half a file, which the next write takes
// over, with none of its bytes.
func TestCrashInTheMidstOfWriting(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.json")
	if err := os.WriteFile(path+".new", bytes.Repeat([]byte("half "), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := open(t, path).Record(section); err != nil {
		t.Fatal(err)
	}
	expect(t, open(t, path), section)
	onlyFile(t, path)
}

func TestRecordingAgainWritesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.json")
	j := open(t, path)
	if err := j.Record(route); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(j.Record(route), j.Done(section)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Error("the file was written again")
	}
}

func TestUnwritableJournalForbidsTheChange(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	j := open(t, filepath.Join(dir, "journal.json"))
	if err := j.Record(route); err == nil {
		t.Fatal("recorded in a directory that is not there")
	}
	expect(t, j) // the memory must not run ahead of the disk
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := j.Record(route); err != nil {
		t.Fatal(err)
	}
	expect(t, j, route)
}

func TestCorruptJournalIsKeptAside(t *testing.T) {
	for name, content := range map[string]string{
		"empty": "", "text": "hello", "torn": `{"version":1,"changes":[{"kind":"ro`, "newer": `{"version":2,"changes":[]}`,
		"no version": `{"changes":[]}`, "no kind": `{"version":1,"changes":[{}]}`, "other shape": `[1,2]`,
		"huge": `{"version":1,"x":"` + strings.Repeat("x", maxJournal) + `"}`, "zeros": strings.Repeat("\x00", 4096),
		"two in one": `{"version":1,"changes":[]}{"version":1}`, "zeros behind": `{"version":1,"changes":[]}` + strings.Repeat("\x00", 64),
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "journal.json")
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			j, err := OpenJournal(path)
			var corrupt *CorruptJournalError
			if !errors.As(err, &corrupt) || j == nil {
				t.Fatalf("%v %v", j, err)
			}
			if kept, err := os.ReadFile(corrupt.Aside); err != nil || string(kept) != content {
				t.Errorf("kept aside: %v", err)
			}
			if err := j.Record(section); err != nil {
				t.Fatal(err)
			}
			expect(t, open(t, path), section)
		})
	}
}

func TestUnreadableJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.json")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if j, err := OpenJournal(path); err == nil || j != nil {
		t.Errorf("%v %v", j, err)
	}
}

func TestJournalConcurrently(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.json")
	j := open(t, path)
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			c := Change{Kind: "route", Index: i}
			for range 3 {
				if err := errors.Join(j.Record(c), j.Done(c), j.Record(c)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if got := open(t, path).Entries(); len(got) != 8 {
		t.Errorf("%+v", got)
	}
}

func FuzzJournal(f *testing.F) {
	f.Add([]byte(`{"version":1,"changes":[{"kind":"hosts","value":"/etc/hosts"}]}`))
	f.Add([]byte(`{"version":1}`))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, content []byte) {
		changes, err := decodeJournal(content)
		if err != nil && changes != nil {
			t.Error("changes beside an error")
		}
		for _, c := range changes {
			if c.Kind == "" {
				t.Errorf("took %+v", c)
			}
		}
		if err == nil && !bytes.Contains(content, []byte("1")) {
			t.Errorf("took %q as version 1", content)
		}
	})
}
