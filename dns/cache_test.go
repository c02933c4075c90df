package dns

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var owner = CacheOwner{Deployment: "https://causeway.example", User: "2f1b8d2c"}

func testNames() Names { return Names{Suffixes: []string{"coder"}, Hosts: testHosts()} }

func newCache(t *testing.T, path string, owner CacheOwner) *Cache {
	t.Helper()
	c := NewCache(path, owner, slog.New(slog.DiscardHandler))
	t.Cleanup(func() { c.Close() })
	return c
}

func same(a, b Names) bool {
	return slices.Equal(a.Suffixes, b.Suffixes) && maps.Equal(a.Hosts, b.Hosts)
}

func TestCacheRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "names")
	c := newCache(t, path, owner)
	if _, err := c.Load(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a file: %v", err)
	}
	for _, names := range []Names{testNames(), {Suffixes: []string{"a.b", "c"}, Hosts: map[string]netip.Addr{}}, {Suffixes: []string{"coder"}, Hosts: hostsOf(3000)}} {
		if err := c.Save(names); err != nil {
			t.Fatal(err)
		}
		if got, err := c.Load(); err != nil || !same(got, names) {
			t.Errorf("got %d hosts, %v, %v", len(got.Hosts), got.Suffixes, err)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Save(Names{Suffixes: []string{"coder"}, Hosts: hostsOf(3000)}); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
		t.Errorf("the same was written again (%v)", err)
	}
	if err := c.Remove(); err != nil {
		t.Fatal(err)
	}
	if err := c.Remove(); err != nil {
		t.Error("second Remove:", err)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 0 {
		t.Errorf("%v is left (%v)", entries, err)
	}
}

func TestCacheIsIgnoredAsAWhole(t *testing.T) {
	good, err := encodeCache(testNames(), owner)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(good), "\n")
	header, body, _ := strings.Cut(rest, "\n")
	// changed has a right sum over a header that nobody should have written,
	// signed one over such names.
	changed := func(old, new string) string {
		if !strings.Contains(header, old) {
			t.Fatalf("no %s in %s", old, header)
		}
		return string(signCache(strings.Replace(header, old, new, 1) + "\n" + body))
	}
	signed := func(body string) string {
		return string(signCache(strings.Replace(header, `"count":6`, fmt.Sprintf(`"count":%d`, strings.Count(body, "\n")), 1) + "\n" + body))
	}
	if got, err := decodeCache([]byte(signed(body)), owner); err != nil || !same(got, testNames()) {
		t.Fatalf("%v %v", got, err)
	}
	cases := []struct {
		title, content string
		want           error
	}{
		{"empty", "", ErrCacheCorrupt},
		{"zeros, after a power cut", string(make([]byte, len(good))), ErrCacheCorrupt},
		{"first line only", cacheMagic + "\n", ErrCacheCorrupt},
		{"header without a line end", string(signCache(header)), ErrCacheCorrupt},
		{"header only", string(signCache(header + "\n")), ErrCacheCorrupt},
		{"cut", string(good[:len(good)-10]), ErrCacheCorrupt},
		{"last byte missing", string(good[:len(good)-1]), ErrCacheCorrupt},
		{"more", string(good) + "x.coder fd60::1\n", ErrCacheCorrupt},
		{"not JSON", string(signCache("names\n" + body)), ErrCacheCorrupt},
		{"newer version", changed(`"version":1`, `"version":2`), ErrCacheVersion},
		{"other user", changed(owner.User, "somebody"), ErrCacheForeign},
		{"other deployment", changed(owner.Deployment, "https://other.example"), ErrCacheForeign},
		{"negative count", changed(`"count":6`, `"count":-6`), ErrCacheCorrupt},
		{"huge count", changed(`"count":6`, `"count":1000000000`), ErrCacheTooLarge},
		{"not an address", signed("x.coder nothing\n"), ErrCacheCorrupt},
		{"IPv4", signed("x.coder 192.0.2.1\n"), ErrCacheCorrupt},
		{"bad name", signed("x..coder fd60::1\n"), ErrCacheCorrupt},
		{"no address", signed("x.coder\n"), ErrCacheCorrupt},
		{"twice", signed("x.coder fd60::1\nx.coder fd60::2\n"), ErrCacheCorrupt},
		{"too long", strings.Repeat("x", maxCacheBytes+1), ErrCacheTooLarge},
	}
	for _, c := range cases {
		path := filepath.Join(t.TempDir(), "names")
		if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		names, err := newCache(t, path, owner).Load()
		if !errors.Is(err, c.want) || !same(names, Names{}) {
			t.Errorf("%s: %v, want %v", c.title, err, c.want)
		}
	}
	for at := range good {
		bad := bytes.Clone(good)
		bad[at] ^= 1 << (at % 8)
		if _, err := decodeCache(bad, owner); !errors.Is(err, ErrCacheCorrupt) {
			t.Fatalf("byte %d flipped: %v", at, err)
		}
	}
	if _, err := newCache(t, t.TempDir(), owner).Load(); !errors.Is(err, ErrCacheCorrupt) {
		t.Errorf("a directory: %v", err)
	}
}

func TestCacheRefusesToSave(t *testing.T) {
	path := filepath.Join(t.TempDir(), "names")
	c := newCache(t, path, owner)
	if err := c.Save(testNames()); err != nil {
		t.Fatal(err)
	}
	many := make(map[string]netip.Addr, maxCacheEntries+1)
	for i := range maxCacheEntries + 1 {
		many[fmt.Sprintf("w%d.coder", i)] = agentAddr
	}
	if err := c.Save(Names{Hosts: many}); !errors.Is(err, ErrCacheTooLarge) {
		t.Errorf("too many: %v", err)
	}
	if err := c.Save(Names{Hosts: map[string]netip.Addr{"a\nb.coder": agentAddr}}); err == nil {
		t.Error("a line break was accepted")
	}
	if got, err := c.Load(); err != nil || !same(got, testNames()) {
		t.Errorf("the earlier names are gone: %v", err)
	}
	missing := newCache(t, filepath.Join(t.TempDir(), "none", "names"), owner)
	missing.Put(testNames())
	if err := missing.Close(); !errors.Is(err, fs.ErrNotExist) || !errors.Is(missing.Err(), fs.ErrNotExist) {
		t.Errorf("missing directory: %v", err)
	}
}

func TestCacheGathersChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "names")
	synctest.Test(t, func(t *testing.T) {
		c := NewCache(path, owner, slog.New(slog.DiscardHandler))
		for range 10 {
			c.Put(Names{Hosts: map[string]netip.Addr{"old.coder": agentAddr}})
			time.Sleep(50 * time.Millisecond)
		}
		hosts := testHosts()
		c.Put(Names{Suffixes: []string{"coder"}, Hosts: hosts})
		clear(hosts) // the caller's own
		time.Sleep(cacheDelay - 501*time.Millisecond)
		synctest.Wait()
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("written before a second has passed (%v)", err)
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if got, err := c.Load(); err != nil || !same(got, testNames()) {
			t.Errorf("after a second: %v %v", got, err)
		}
		c.Put(Names{Suffixes: []string{"last"}, Hosts: map[string]netip.Addr{}})
		if err := c.Close(); err != nil { // at once, without the pause
			t.Error(err)
		}
		if got, err := c.Load(); err != nil || len(got.Suffixes) != 1 || got.Suffixes[0] != "last" {
			t.Errorf("after Close: %v %v", got, err)
		}
	})
}

func TestCacheOverwritesWhatACrashLeft(t *testing.T) {
	path := filepath.Join(t.TempDir(), "names")
	if err := os.WriteFile(cacheTemp(path), []byte("half"), 0o644); err != nil {
		t.Fatal(err)
	}
	c := newCache(t, path, owner)
	if err := c.Save(testNames()); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("%v %v", entries, err)
	}
}

func FuzzCacheLoad(f *testing.F) {
	good, err := encodeCache(testNames(), owner)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add([]byte("{}\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		// Give the bytes a right sum, so that the fuzzer gets behind it.
		if _, rest, ok := bytes.Cut(content, []byte("\n")); ok {
			content = signCache(string(rest))
		}
		names, err := decodeCache(content, owner)
		if err != nil {
			if !same(names, Names{}) {
				t.Fatal("names in spite of an error")
			}
			return
		}
		// What can be read can be written, and means the same.
		again, err := encodeCache(names, owner)
		if err != nil {
			t.Fatalf("encode what was decoded: %v", err)
		}
		if got, err := decodeCache(again, owner); err != nil || !same(got, names) {
			t.Fatalf("%v became %v (%v)", names, got, err)
		}
		NewTable(names.Suffixes, names.Hosts, nil)
	})
}
