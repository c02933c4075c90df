package xauth

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func entry(number, cookie string) Entry {
	return Entry{Family: FamilyLocal, Address: "host", Number: number, Name: MagicCookie, Data: []byte(cookie)}
}

func file(t *testing.T) File { return File(filepath.Join(t.TempDir(), ".Xauthority")) }

func entries(t *testing.T, f File) []Entry {
	t.Helper()
	content, err := os.ReadFile(string(f))
	if err != nil {
		t.Fatal(err)
	}
	all, err := Parse(content)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestBytes: the format, byte for byte.
func TestBytes(t *testing.T) {
	got, err := Append(nil, Entry{Family: 256, Address: "ab", Number: "10", Name: "N", Data: []byte{0, 255}})
	want := "\x01\x00\x00\x02ab\x00\x0210\x00\x01N\x00\x02\x00\xff"
	if err != nil || string(got) != want {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := Append(nil, entry("1", strings.Repeat("x", 1<<16))); err == nil {
		t.Error("a field of 64 KiB was encoded")
	}
	for cut := 1; cut < len(want); cut++ {
		if _, err := Parse([]byte(want[:cut])); !errors.Is(err, errDamaged) {
			t.Errorf("the first %d bytes: %v", cut, err)
		}
	}
}

func TestAddAndRemove(t *testing.T) {
	f := file(t)
	for _, e := range []Entry{entry("10", "old"), entry("11", "b"), entry("10", "new")} {
		if err := f.Add(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	if all := entries(t, f); len(all) != 2 || !all[0].equal(entry("10", "new")) || !all[1].equal(entry("11", "b")) {
		t.Fatalf("got %v", all)
	}
	if info, err := os.Stat(string(f)); err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	// The entry of an earlier owner of the number leaves the new one alone.
	for _, e := range []Entry{entry("10", "old"), entry("11", "b")} {
		if err := f.Remove(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	if all := entries(t, f); len(all) != 1 || !all[0].equal(entry("10", "new")) {
		t.Errorf("got %v", all)
	}
	left, err := os.ReadDir(filepath.Dir(string(f)))
	if err != nil || len(left) != 1 {
		t.Errorf("files left over: %v, %v", left, err)
	}
}

func TestBadFiles(t *testing.T) {
	f := file(t)
	for name, content := range map[string][]byte{"damaged": {1}, "too large": make([]byte, fileLimit+1)} {
		if err := os.WriteFile(string(f), content, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := f.Add(t.Context(), entry("10", "a")); err == nil {
			t.Errorf("%s: it was written", name)
		}
		if now, err := os.ReadFile(string(f)); err != nil || !bytes.Equal(now, content) {
			t.Errorf("%s: it was changed, %v", name, err)
		}
	}
	if err := (File(filepath.Join(string(f), "absent", "x"))).Add(t.Context(), entry("10", "a")); err == nil {
		t.Error("written below a file")
	}
}

// TestLock: a lock is asked for each 100 ms until it is free, left behind by the
// dead after ten minutes, and not waited for longer than the caller wants.
func TestLock(t *testing.T) {
	f := file(t)
	hold := func() {
		t.Helper()
		if err := take(string(f)+"-c", string(f)+"-l"); err != nil {
			t.Fatal(err)
		}
	}
	free := func() {
		os.Remove(string(f) + "-c")
		os.Remove(string(f) + "-l")
	}
	hold()
	if err := take(string(f)+"-c", string(f)+"-l"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("taken twice: %v", err)
	}
	// The clock of the bubble stands in the year 2000, before the files' times.
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		time.AfterFunc(250*time.Millisecond, free)
		if err := f.Add(t.Context(), entry("10", "a")); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took != 300*time.Millisecond {
			t.Errorf("waited %v, want the third look after the first", took)
		}
	})
	hold()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := f.Add(ctx, entry("11", "b")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a lock that is held: %v", err)
		}
	})
	old := time.Now().Add(-lockDead - time.Second)
	if err := os.Chtimes(string(f)+"-c", old, old); err != nil {
		t.Fatal(err)
	}
	if err := f.Add(t.Context(), entry("12", "c")); err != nil {
		t.Errorf("a dead program's lock: %v", err)
	}
	if all := entries(t, f); len(all) != 2 {
		t.Errorf("got %v", all)
	}
}

// TestManyWriters: nobody's entry is lost.
func TestManyWriters(t *testing.T) {
	f := file(t)
	var work sync.WaitGroup
	for number := range 8 {
		work.Go(func() {
			if err := f.Add(t.Context(), entry(fmt.Sprint(number), "x")); err != nil {
				t.Error(err)
			}
		})
	}
	work.Wait()
	if all := entries(t, f); len(all) != 8 {
		t.Errorf("%d entries of 8", len(all))
	}
}

// TestRealXauth: the program reads what is written here, and the other way
// round, and its locks count.
func TestRealXauth(t *testing.T) {
	program, err := exec.LookPath("xauth")
	if err != nil {
		t.Skipf("xauth is not installed: %v", err)
	}
	f := file(t)
	cookie := "00112233445566778899aabbccddeeff"
	run := func(arguments ...string) string {
		t.Helper()
		out, err := exec.Command(program, append([]string{"-f", string(f)}, arguments...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("xauth %v: %v: %s", arguments, err, out)
		}
		return string(out)
	}
	data, err := hex.DecodeString(cookie)
	if err != nil {
		t.Fatal(err)
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Add(t.Context(), Entry{Family: FamilyLocal, Address: host, Number: "17", Name: MagicCookie, Data: data}); err != nil {
		t.Fatal(err)
	}
	if list := run("list", "unix:17"); !strings.Contains(list, "/unix:17  "+MagicCookie+"  "+cookie) {
		t.Errorf("xauth lists %q", list)
	}
	run("add", "unix:18", ".", strings.Repeat("ab", 16))
	if all := entries(t, f); len(all) != 2 || all[1].Number != "18" || all[1].Address != host || all[1].Family != FamilyLocal {
		t.Errorf("xauth wrote %v", all)
	}
	if err := take(string(f)+"-c", string(f)+"-l"); err != nil {
		t.Fatal(err)
	}
	// The program waits for our lock: it changes nothing within a second.
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := exec.CommandContext(ctx, program, "-f", string(f), "remove", "unix:18").Run(); err == nil {
		t.Error("xauth wrote to a file that was locked")
	}
	if all := entries(t, f); len(all) != 2 {
		t.Errorf("xauth changed a file that was locked: %v", all)
	}
}

func FuzzParse(f *testing.F) {
	seed, err := Append(nil, entry("10", "cookie"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add(append(seed, seed[:7]...))
	f.Fuzz(func(t *testing.T, content []byte) {
		all, err := Parse(content)
		if err != nil {
			return
		}
		var again []byte
		for _, e := range all {
			if again, err = Append(again, e); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(again, content) {
			t.Errorf("%x becomes %x", content, again)
		}
	})
}
