//go:build unix

package hosts

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const modeOfNew = newMode

func TestModeIsKept(t *testing.T) {
	for _, mode := range []fs.FileMode{0o644, 0o600, 0o664, 0o444} {
		path := hostsFile(t, localhost)
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		mustSet(t, path, one)
		if info, err := os.Stat(path); err != nil || info.Mode() != mode {
			t.Errorf("mode %v became %v (%v)", mode, info.Mode(), err)
		}
	}
}

func TestSymbolicLinks(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"etc", "run"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	path, real := filepath.Join(dir, "etc", "hosts"), filepath.Join(dir, "run", "hosts")
	if err := os.Symlink("../run/hosts", path); err != nil {
		t.Fatal(err)
	}
	mustSet(t, path, one) // dangling
	if got := contentOf(t, real); !strings.Contains(got, "main.myws.me.coder") {
		t.Errorf("got %q", got)
	}
	mustSet(t, path, nil)
	if err := os.WriteFile(real, []byte(localhost), 0o644); err != nil {
		t.Fatal(err)
	}
	mustSet(t, path, one)
	if got := contentOf(t, real); got != localhost+section(t, one) {
		t.Errorf("got %q", got)
	}
	if info, err := os.Lstat(path); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link is gone: %v %v", info, err)
	}
	onlyFiles(t, filepath.Dir(path), "hosts")
	onlyFiles(t, filepath.Dir(real), "hosts")
	loop := filepath.Join(dir, "loop")
	if err := os.Symlink("loop", loop); err != nil {
		t.Fatal(err)
	}
	if err := (File{Path: loop}).Set(one); err == nil || !strings.Contains(err.Error(), loop) {
		t.Errorf("loop: %v", err)
	}
}

func TestReaderHoldsTheFile(t *testing.T) {
	path := hostsFile(t, localhost)
	reader, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	mustSet(t, path, one)
	if got := contentOf(t, path); got != localhost+section(t, one) {
		t.Errorf("got %q", got)
	}
}
