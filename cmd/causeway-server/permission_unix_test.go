//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestNoPermission runs the program as nobody on a directory of root's.
func TestNoPermission(t *testing.T) {
	base := t.TempDir()
	program, dir := filepath.Join(base, "causeway-server"), filepath.Join(base, "data")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := command(t, nil, "user", "list", "--data-dir", dir)
	if os.Geteuid() == 0 {
		// The test binary is in a directory that only root can enter.
		content, err := os.ReadFile(os.Args[0])
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(program, content, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Dir(base), 0o755); err != nil {
			t.Fatal(err)
		}
		cmd.Path, cmd.Dir = program, "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	} else if err := os.Chmod(dir, 0); err != nil {
		t.Fatal(err)
	}
	got := finish(t, cmd)
	if got.code != exitPermission || !strings.Contains(got.stderr, filepath.Join(dir, "server.db")) || !strings.Contains(got.stderr, "permission denied") || !strings.Contains(got.stderr, "--data-dir") {
		t.Errorf("%+v", got)
	}
}
