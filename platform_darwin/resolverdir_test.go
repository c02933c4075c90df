//go:build unix

package platform

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/causewayhq/causeway/netcfg"
)

// bench is a directory of resolver files, which need not exist, with its journal.
type bench struct {
	t       *testing.T
	path    string
	journal string
}

func newBench(t *testing.T) *bench {
	t.Helper()
	dir := t.TempDir()
	return &bench{t, filepath.Join(dir, "resolver"), filepath.Join(dir, "journal.json")}
}

// open plays a process that has just started.
func (b *bench) open() *resolverDir {
	b.t.Helper()
	journal, err := netcfg.OpenJournal(b.journal)
	if err != nil {
		b.t.Fatal(err)
	}
	return &resolverDir{path: b.path, journal: journal, log: slog.New(slog.DiscardHandler)}
}

func (b *bench) put(name, text string) {
	b.t.Helper()
	if err := os.MkdirAll(b.path, 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(b.path, name), []byte(text), 0o640); err != nil {
		b.t.Fatal(err)
	}
}

// show is the directory as text: mode, name and content of each file.
func (b *bench) show() string {
	b.t.Helper()
	info, err := os.Stat(b.path)
	if errors.Is(err, fs.ErrNotExist) {
		return "none"
	}
	if err != nil {
		b.t.Fatal(err)
	}
	lines := []string{info.Mode().String()}
	entries, err := os.ReadDir(b.path)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			b.t.Fatal(err)
		}
		var text []byte
		if info.Mode().IsRegular() {
			if text, err = os.ReadFile(filepath.Join(b.path, entry.Name())); err != nil {
				b.t.Fatal(err)
			}
		}
		lines = append(lines, fmt.Sprintf("%s %s %q", info.Mode(), entry.Name(), text))
	}
	return strings.Join(lines, "\n")
}

func (b *bench) apply(suffixes ...string) resolverResult {
	b.t.Helper()
	result, err := b.open().apply(suffixes, []netip.Addr{ourServer})
	if err != nil {
		b.t.Fatal(err)
	}
	return result
}

func (b *bench) expect(want string) {
	b.t.Helper()
	if got := b.show(); got != want {
		b.t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func (b *bench) expectJournal(values ...string) {
	b.t.Helper()
	var got []string
	for _, c := range b.open().entries() {
		got = append(got, c.Kind+" "+strings.TrimPrefix(c.Value, filepath.Dir(b.path)+"/"))
	}
	if strings.Join(got, ", ") != strings.Join(values, ", ") {
		b.t.Errorf("journal: %q, want %q", got, values)
	}
}

// withUmask is for hosts whose service hides what it writes.
func withUmask(t *testing.T, mask int) {
	t.Helper()
	old := syscall.Umask(mask)
	t.Cleanup(func() { syscall.Umask(old) })
}

func TestResolverFilesComeAndGo(t *testing.T) {
	withUmask(t, 0o077)
	b := newBench(t)
	if !b.apply("coder", "me.example").changed {
		t.Error("not told that names changed")
	}
	b.expect(fmt.Sprintf("drwxr-xr-x\n-rw-r--r-- coder %q\n-rw-r--r-- me.example %q", content, content))
	b.expectJournal("resolver-dir resolver", "resolver resolver/coder", "resolver resolver/me.example")
	before, err := os.Stat(filepath.Join(b.path, "coder"))
	if err != nil {
		t.Fatal(err)
	}
	if b.apply("coder").changed != true || b.apply("coder").changed {
		t.Error("a change that is none, or none that is")
	}
	after, err := os.Stat(filepath.Join(b.path, "coder"))
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("what was right was written again: %v", err)
	}
	b.expectJournal("resolver-dir resolver", "resolver resolver/coder")
	b.apply()
	b.apply()
	b.expect("none")
	b.expectJournal()
}

func TestForeignResolverFilesStay(t *testing.T) {
	b := newBench(t)
	b.put("coder", "nameserver 192.0.2.1\n")
	b.put("corp", "nameserver 192.0.2.2\n")
	if err := os.Symlink("../journal.json", filepath.Join(b.path, "link")); err != nil {
		t.Fatal(err)
	}
	before := b.show()
	result := b.apply("coder", "link", "mine")
	if want := b.path + "/coder " + b.path + "/link"; strings.Join(result.foreign, " ") != want {
		t.Errorf("in the way: %q, want %s", result.foreign, want)
	}
	if content, err := os.ReadFile(filepath.Join(b.path, "mine")); err != nil || !isOurs(content) {
		t.Errorf("ours: %q %v", content, err)
	}
	b.apply()
	b.expect(before)
	b.expectJournal()
}

// TestEscapes: neither a suffix nor a link leads out of the directory.
func TestEscapes(t *testing.T) {
	b := newBench(t)
	outside := filepath.Join(filepath.Dir(b.path), "outside")
	if err := os.WriteFile(outside, content, 0o600); err != nil { // it looks like ours
		t.Fatal(err)
	}
	b.put("corp", "")
	for _, link := range []string{"escape", tempFile} {
		if err := os.Symlink(outside, filepath.Join(b.path, link)); err != nil {
			t.Fatal(err)
		}
	}
	_, err := b.open().apply([]string{"../outside", "escape", "coder"}, []netip.Addr{netip.MustParseAddr("192.0.2.9")})
	if err == nil || !strings.Contains(err.Error(), `"../outside"`) {
		t.Errorf("got %v", err)
	}
	b.apply()
	if got, err := os.ReadFile(outside); err != nil || string(got) != string(content) {
		t.Errorf("the file outside became %q, %v", got, err)
	}
	if _, err := os.Lstat(filepath.Join(b.path, "escape")); err != nil {
		t.Error("the foreign link went:", err)
	}
}

// TestFailedWriteDeletesNothing: rule 1 of a stale set.
func TestFailedWriteDeletesNothing(t *testing.T) {
	b := newBench(t)
	b.apply("old", "coder")
	before := b.show()
	d := b.open()
	d.step = func(operation string) {
		if operation == "link new" { // somebody else was quicker
			b.put("new", "nameserver 192.0.2.1\n")
		}
	}
	if _, err := d.apply([]string{"coder", "new"}, []netip.Addr{ourServer}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v", err)
	}
	if err := os.Remove(filepath.Join(b.path, "new")); err != nil {
		t.Fatal(err)
	}
	b.expect(before)
}

// TestForeignMeanwhile: a file of ours that somebody makes theirs while we work
// is theirs.
func TestForeignMeanwhile(t *testing.T) {
	b := newBench(t)
	b.apply("old")
	d := b.open()
	d.step = func(operation string) {
		if operation == "link new" {
			b.put("old", "nameserver 192.0.2.1\n")
		}
	}
	if _, err := d.apply([]string{"new"}, []netip.Addr{ourServer}); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(b.path, "old")); err != nil || string(text) != "nameserver 192.0.2.1\n" {
		t.Errorf("it became %q, %v", text, err)
	}
	b.expectJournal("resolver-dir resolver", "resolver resolver/new")
}

// TestLostJournal: the mark finds what no list names.
func TestLostJournal(t *testing.T) {
	b := newBench(t)
	b.put("corp", "nameserver 192.0.2.2\n")
	before := b.show()
	b.apply("coder", "old")
	if err := os.Remove(b.journal); err != nil {
		t.Fatal(err)
	}
	b.apply()
	b.expect(before)
}

// crash is what a step panics with to end a process.
type crash struct{}

// crashAt applies and dies before the n-th operation; it reports whether there
// was one.
func (b *bench) crashAt(n int, suffixes []string, server string) (died bool) {
	b.t.Helper()
	d := b.open()
	d.step = func(string) {
		if n--; n < 0 {
			panic(crash{})
		}
	}
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(crash); !ok {
				panic(r)
			}
			died = true
		}
	}()
	if _, err := d.apply(suffixes, []netip.Addr{netip.MustParseAddr(server)}); err != nil {
		b.t.Fatal(err)
	}
	return false
}

// valid says that a file has one whole content or the other.
func (b *bench) valid(name string) bool {
	text, err := os.ReadFile(filepath.Join(b.path, name))
	return err == nil && (string(text) == string(content) || string(text) == strings.Replace(string(content), "fd60:627a:a42b::53", "192.0.2.53", 1))
}

// TestCrashAtEachStep: after any prefix of the operations no wanted suffix that
// had a file lacks one, nothing foreign changed, and the next start converges;
// so does the cleanup, with the journal or without.
func TestCrashAtEachStep(t *testing.T) {
	cells := 0
	for variant := range 8 {
		c := crashCell{foreign: variant&1 != 0, lost: variant&2 != 0, stop: variant&4 != 0}
		for n := 0; c.run(t, n); n++ {
			cells++
		}
	}
	t.Logf("%d crashes", cells)
	if cells < 8*8 {
		t.Errorf("%d crashes are too few: the steps are not counted", cells)
	}
}

// crashCell says what is special in a run of the crash test.
type crashCell struct {
	foreign bool // the directory exists, with a file of others
	lost    bool // the journal is lost in the crash
	stop    bool // the crash comes while all is taken away
}

// foreignFile sorts before all of ours.
const foreignFile = "-rw-r----- another.corp \"nameserver 192.0.2.1\\n\"\n"

// run lets the very first apply and a later one die before operation n, and
// reports whether one of them did.
func (c crashCell) run(t *testing.T, n int) bool {
	t.Helper()
	first, second := []string{"coder", "keep.example", "old.example"}, []string{"coder", "keep.example", "new.example"}
	if c.stop {
		second = nil
	}
	b := newBench(t)
	left := ""
	if c.foreign {
		b.put("another.corp", "nameserver 192.0.2.1\n")
		left = foreignFile
	}
	before := b.show()
	died := b.crashAt(n, first, "192.0.2.53")
	b.apply(first...)
	died = b.crashAt(n, second, "192.0.2.53") || died
	for _, name := range second[:min(2, len(second))] {
		if !b.valid(name) {
			t.Errorf("%+v, operation %d: no whole file for %s:\n%s", c, n, name, b.show())
		}
	}
	if !strings.Contains(b.show()+"\n", left) {
		t.Errorf("%+v, operation %d: foreign file changed:\n%s", c, n, b.show())
	}
	if c.lost {
		_ = os.Remove(b.journal)
	}
	if !c.stop {
		b.apply(second...)
		b.expect(fmt.Sprintf("drwxr-xr-x\n%s-rw-r--r-- coder %q\n-rw-r--r-- keep.example %q\n-rw-r--r-- new.example %q", left, content, content, content))
	}
	b.apply()
	b.apply()
	if c.lost && !c.foreign {
		_ = os.Remove(b.path) // that we made the directory carries no mark
	}
	b.expect(before)
	b.expectJournal()
	return died
}

// TestForeignFileComesMeanwhile: one of ours became another program's after the
// directory was listed.
func TestForeignFileComesMeanwhile(t *testing.T) {
	b := newBench(t)
	b.apply("coder")
	d := b.open()
	d.step = func(operation string) {
		if operation == "fill" {
			b.put("coder", "nameserver 192.0.2.1\n")
		}
	}
	if _, err := d.apply([]string{"coder"}, []netip.Addr{netip.MustParseAddr("fd60:627a:a42b::54")}); !errors.Is(err, errForeign) {
		t.Errorf("error %v", err)
	}
	if got := b.show(); !strings.Contains(got, "192.0.2.1") || strings.Contains(got, tempFile) {
		t.Errorf("the directory is\n%s", got)
	}
}
