//go:build unix

package cli

import (
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
