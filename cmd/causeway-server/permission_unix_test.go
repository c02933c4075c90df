//go:build unix

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/causewayhq/causeway/server/store"
)

// packaged puts the packaged server's data elsewhere; nowhere without a place.
func packaged(dir string) {
	packagedDataDir = "/nonexistent/causeway-server"
	if dir != "" {
		packagedDataDir = dir
	}
}

const nobody = 65534

// asNobody makes the command one of nobody's, where the test is root's; base is
// a directory of the test's own.
func asNobody(t *testing.T, cmd *exec.Cmd, base string) {
	t.Helper()
	program := filepath.Join(base, "causeway-server")
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
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
}

// TestNoPermission runs the program as nobody on a directory of root's.
func TestNoPermission(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "data")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := command(t, nil, "user", "list", "--data-dir", dir)
	if os.Geteuid() == 0 {
		asNobody(t, cmd, base)
	} else if err := os.Chmod(dir, 0); err != nil {
		t.Fatal(err)
	}
	got := finish(t, cmd)
	if got.code != exitPermission || !strings.Contains(got.stderr, filepath.Join(dir, "server.db")) || !strings.Contains(got.stderr, "permission denied") || !strings.Contains(got.stderr, "--data-dir") {
		t.Errorf("%+v", got)
	}
}

// TestPackagedServer: beside a packaged server nobody gets a database of his own
// by mistake, which no server would know: the command that works is named. Root
// and the server's own user are on its data without saying so.
func TestPackagedServer(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to be other users")
	}
	base := t.TempDir()
	dir, home := filepath.Join(base, "system"), filepath.Join(base, "home")
	env := []string{asPackaged + "=" + dir, "HOME=" + home}
	for _, path := range []string{dir, home} {
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(home, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	if got := cli(t, env, "user", "create", "alice", "--create"); got.code != 0 || !strings.Contains(got.stderr, dir) {
		t.Fatalf("root: %+v", got)
	}
	byNobody := func(args string) result {
		t.Helper()
		cmd := command(t, env, strings.Fields(args)...)
		asNobody(t, cmd, base)
		return finish(t, cmd)
	}
	for _, args := range []string{"agent create alice/a/b --with-user", "user create bob", "user list", "health"} {
		got := byNobody(args)
		want := "no database in " + home + "/.local/share/causeway-server; the server runs as another user or with another --data-dir?\n" +
			"The packaged server's data is in " + dir + "; run: sudo causeway-server " + args + "\n"
		if got.code != exitNotFound || got.stdout != "" || !strings.HasSuffix(got.stderr, want) {
			t.Errorf("%s: %+v", args, got)
		}
	}
	if left, err := os.ReadDir(home); err != nil || len(left) != 0 {
		t.Errorf("made in the home directory: %v, %v", left, err)
	}
	if got := byNobody("user create bob --create"); got.code != 0 || !strings.Contains(got.stderr, "created a new database: "+home) {
		t.Errorf("one of his own: %+v", got)
	}
	for _, path := range []string{dir, filepath.Join(dir, store.FileName)} {
		if err := os.Chown(path, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	if got := byNobody("user list"); got.code != 0 || !strings.Contains(got.stdout, "alice") || strings.Contains(got.stdout, "bob") {
		t.Errorf("the server's own user: %+v", got)
	}
	if got := cli(t, env, "user", "create", "carol"); got.code != 0 || !strings.Contains(got.stdout, "Next: causeway-server agent create carol/") {
		t.Errorf("root, later: %+v", got)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if info, err := file.Info(); err != nil || info.Sys().(*syscall.Stat_t).Uid != nobody {
			t.Errorf("%s is not the server's any more: %v", file.Name(), err)
		}
	}
}
