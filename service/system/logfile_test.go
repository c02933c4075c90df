//go:build unix

package system

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLogIsBounded(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "Logs")
	log, err := OpenLog(dir, "d.log")
	if err != nil {
		t.Fatal(err)
	}
	log.full = 100
	for n := range 100 {
		if _, err := fmt.Fprintf(log, "entry number %3d\n", n); err != nil { // 17 bytes
			t.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1+logKept {
		t.Fatalf("%v: %v", entries, err)
	}
	var all string
	for _, name := range []string{"d.log.2", "d.log.1", "d.log"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || len(text) > 100 {
			t.Errorf("%s has %d bytes (%v)", name, len(text), err)
		}
		all += string(text)
	}
	// The newest entries, without a gap.
	want := strings.Count(all, "\n")
	for n := 100 - want; n < 100; n++ {
		if !strings.Contains(all, fmt.Sprintf("entry number %3d\n", n)) {
			t.Errorf("entry %d is lost", n)
		}
	}
	if want < 11 {
		t.Errorf("only %d entries are kept", want)
	}
	if info, err := os.Stat(filepath.Join(dir, "d.log")); err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("%v %v", info.Mode(), err)
	}

	// The next process goes on with it.
	log, err = OpenLog(dir, "d.log")
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if log.size == 0 {
		t.Error("it begins anew")
	}
}
