package platform

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/causewayhq/causeway/netcfg"
	netwatch "github.com/causewayhq/causeway/netcfg/watch"
)

func TestHops(t *testing.T) {
	dir := t.TempDir()
	for link, target := range map[string]string{"a": "sub/b", "sub/b": "../c", "c": dir + "/file", "round": "round"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, link)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{dir + "/a", dir + "/sub/b", dir + "/c", dir + "/file"}
	if got := hops(dir + "/a"); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if got := hops(dir + "/round"); len(got) != maxLinks+1 {
		t.Errorf("%d", len(got))
	}
}

// TestFileWatch changes a file in each way in which programs do.
func TestFileWatch(t *testing.T) {
	o := &OS{}
	dir, other := t.TempDir(), t.TempDir()
	path, late := filepath.Join(dir, "file"), filepath.Join(dir, "late", "file")
	w, err := openFileWatch(map[string]netwatch.Notice{
		path: netwatch.Unfinished, late: netwatch.Unfinished, filepath.Join(other, anyFile): netwatch.Own,
	})
	if err != nil {
		t.Fatal(err)
	}
	notices := make(chan netwatch.Notice)
	ended := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { o.watchFiles(ctx, w, notices); close(ended) }()
	t.Cleanup(func() { cancel(); _ = w.file.Close(); <-ended })
	elsewhere := filepath.Join(t.TempDir(), "real")
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"made", func() error { return os.WriteFile(path, nil, 0o600) }},
		{"written", func() error { return os.WriteFile(path, []byte("x"), 0o600) }},
		{"replaced", func() error { return errors.Join(os.WriteFile(path+"2", nil, 0o600), os.Rename(path+"2", path)) }},
		{"deleted", func() error { return os.Remove(path) }},
		{"made a link", func() error { return os.Symlink(elsewhere, path) }},
		{"changed behind the link", func() error { return os.WriteFile(elsewhere, nil, 0o600) }},
		{"any file", func() error { return os.WriteFile(filepath.Join(other, "7"), nil, 0o600) }},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		select {
		case n := <-notices:
			if (n == netwatch.Own) != (step.name == "any file") {
				t.Errorf("%s: %v", step.name, n)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%s: not noticed", step.name)
		}
		quiet(notices)
	}
	if err := os.WriteFile(filepath.Join(dir, "another"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if quiet(notices) != 0 {
		t.Error("told of a file that is none of ours")
	}
	if err := os.Mkdir(filepath.Dir(late), 0o700); err != nil {
		t.Fatal(err)
	}
	w.refresh()
	if err := os.WriteFile(late, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if quiet(notices) == 0 {
		t.Error("a directory that came later is not watched")
	}
}

// quiet takes what comes until nothing has for a while, and counts it.
func quiet(notices <-chan netwatch.Notice) (n int) {
	for {
		select {
		case <-notices:
			n++
		case <-time.After(200 * time.Millisecond):
			return n
		}
	}
}

func FuzzFileChanges(f *testing.F) {
	event := func(wd int32, name string) []byte {
		b := binary.NativeEndian.AppendUint32(nil, uint32(wd))
		b = append(b, make([]byte, 8)...)
		b = binary.NativeEndian.AppendUint32(b, 16)
		return append(append(b, name...), make([]byte, 16-len(name))...)
	}
	if got := fileChanges(append(event(1, "resolv.conf"), event(-1, "")...)); !slices.Equal(got, []fileChange{{1, "resolv.conf"}, {-1, ""}}) {
		f.Errorf("%v", got)
	}
	f.Add(event(1, "resolv.conf"))
	f.Add(event(-1, "")[:20])
	f.Fuzz(func(t *testing.T, batch []byte) {
		if n := len(fileChanges(batch)); n > len(batch)/16 {
			t.Errorf("%d events in %d bytes", n, len(batch))
		}
	})
}

// TestLogindTellsOfWaking: not of falling asleep, and names are sent again.
func TestLogindTellsOfWaking(t *testing.T) {
	needNest(t)
	stubFiles(t)
	bus := startBus(t)
	fake := newFake().start(t, bus)
	o, _ := newTestOS(t, t.TempDir(), bus)
	openTUN(t, "cwwake0")
	var seen events
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- o.Watch(ctx, seen.add) }()
	t.Cleanup(func() { cancel(); <-done })
	if err := o.Apply(t.Context(), testConfig("cwwake0")); err != nil {
		t.Fatal(err)
	}
	emit := func(asleep bool) {
		t.Helper()
		if err := fake.conn.Emit("/org/freedesktop/login1", loginManager+"."+prepareForSleep, asleep); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the watch listens", func() bool { // it may not yet
		emit(false)
		time.Sleep(50 * time.Millisecond)
		return seen.count(netcfg.Woke) > 0
	})
	eventually(t, "all has been sent again", fake.configured)
	before := seen.count(netcfg.Woke)
	emit(true)
	fake.transcript()
	emit(false)
	eventually(t, "the wake is told", func() bool { return seen.count(netcfg.Woke) > before })
	eventually(t, "all is sent again", fake.configured)
	if n := seen.count(netcfg.Woke); n != before+1 {
		t.Errorf("%d wakes for one", n-before)
	}
	if n := busNotice(nmName+".Something", nil); n != 0 {
		t.Errorf("%v", n)
	}
	if n := busNotice(busName+".NameOwnerChanged", []any{nmName, "", ":1.5"}); n != netwatch.Resolver {
		t.Errorf("%v", n)
	}
}
