//go:build unix

package cli

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestForeignLink: with sudo, a link of another user leads nowhere, and a file
// stays its owner's.
func TestForeignLink(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can be led astray")
	}
	dir := t.TempDir()
	file, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	if err := os.WriteFile(file, []byte("a"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("file", link); err != nil {
		t.Fatal(err)
	}
	a := &app{env: Env{LookupEnv: noEnv}}
	if path, err := a.sshConfigFile(link); err != nil || path != file {
		t.Errorf("an own link: %q, %v", path, err)
	}
	second := filepath.Join(dir, "second")
	if err := os.Symlink(link, second); err != nil {
		t.Fatal(err)
	}
	if path, err := a.sshConfigFile(second); err != nil || path != file {
		t.Errorf("a link to a link: %q, %v", path, err)
	}
	if err := os.Lchown(link, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	if path, err := a.sshConfigFile(link); err == nil || !strings.Contains(err.Error(), "the link belongs to another user (uid 12345)") {
		t.Errorf("another's link: %q, %v", path, err)
	}
	if err := os.Chown(file, 12345, 12346); err != nil {
		t.Fatal(err)
	}
	if err := replaceFile(file, []byte("a"), []byte("b")); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if stat := info.Sys().(*syscall.Stat_t); stat.Uid != 12345 || stat.Gid != 12346 {
		t.Errorf("it belongs to %d:%d now", stat.Uid, stat.Gid)
	}
}

// TestMadeForTheUser: what root makes in a user's home is the user's.
func TestMadeForTheUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root makes what is another's")
	}
	home := t.TempDir()
	if err := os.Chown(home, 12345, 12346); err != nil {
		t.Fatal(err)
	}
	deep := filepath.Join(home, ".config", "causeway")
	for range 2 { // it may be there
		if err := makeDir(deep); err != nil {
			t.Fatal(err)
		}
	}
	for dir := deep; dir != home; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			t.Fatal(err)
		}
		if stat := info.Sys().(*syscall.Stat_t); stat.Uid != 12345 || stat.Gid != 12346 || info.Mode().Perm() != 0o700 {
			t.Errorf("%s belongs to %d:%d, mode %v", dir, stat.Uid, stat.Gid, info.Mode())
		}
	}
	public := filepath.Join(t.TempDir(), "tmp")
	if err := os.Mkdir(public, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Chmod(public, 0o777|os.ModeSticky), os.Chown(public, 12345, 12345), makeDir(filepath.Join(public, "x"))); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(public, "x")); err != nil || info.Sys().(*syscall.Stat_t).Uid != 0 {
		t.Errorf("in a place that all share: %v, %v", info, err)
	}
	if err := os.WriteFile(filepath.Join(home, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{filepath.Join(home, "file"), filepath.Join(home, "file", "x")} {
		if err := makeDir(bad); err == nil {
			t.Errorf("makeDir(%s): no error", bad)
		}
	}
}
