//go:build unix

package agent

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/causewayhq/causeway/proto/agentv2"
)

// TestSecretFiles: each gets its file, private and whole, whatever stands there,
// and one that cannot be written costs no other and is said without its value.
func TestSecretFiles(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("WHERE", filepath.Join(home, "by-variable"))
	for path, mode := range map[string]os.FileMode{"open": 0o644, "right": 0o600, "longer": 0o600} {
		content := "hunter2"
		if path == "longer" {
			content += " and more"
		}
		if err := os.WriteFile(filepath.Join(home, path), []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
	elsewhere := filepath.Join(home, "elsewhere")
	for _, err := range []error{
		syscall.Mkfifo(filepath.Join(home, "pipe"), 0o600), os.Mkdir(filepath.Join(home, "taken"), 0o700),
		os.WriteFile(elsewhere, []byte("not ours"), 0o600), os.Symlink(elsewhere, filepath.Join(home, "link")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	before, err := os.Stat(filepath.Join(home, "right"))
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	a := &agent{log: slog.New(slog.NewTextHandler(&log, nil))}
	paths := []string{"taken", "~/a/b", "relative", "$WHERE/x", filepath.Join(home, "absolute"), "open", "right", "longer", "pipe", "link"}
	secrets := []*agentv2.WorkspaceSecret{{EnvName: "ONLY", Value: []byte("x")}}
	for _, path := range paths {
		secrets = append(secrets, &agentv2.WorkspaceSecret{FilePath: path, Value: []byte("hunter2")})
	}
	a.putSecrets(secrets)
	for _, path := range []string{"a/b", "relative", "by-variable/x", "absolute", "open", "right", "longer", "pipe", "link"} {
		info, err := os.Lstat(filepath.Join(home, path))
		if err != nil || !info.Mode().IsRegular() || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path, info, err)
			continue
		}
		if content, err := os.ReadFile(filepath.Join(home, path)); err != nil || string(content) != "hunter2" {
			t.Errorf("%s: %q, %v", path, content, err)
		}
	}
	if info, err := os.Stat(filepath.Join(home, "a")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("directory: %v, %v", info, err)
	}
	if content, err := os.ReadFile(elsewhere); err != nil || string(content) != "not ours" {
		t.Errorf("written through a link: %q, %v", content, err)
	}
	if after, err := os.Stat(filepath.Join(home, "right")); err != nil || !os.SameFile(before, after) {
		t.Errorf("what was right was written again: %v", err)
	}
	if !strings.Contains(log.String(), filepath.Join(home, "taken")) || strings.Count(log.String(), "\n") != 1 || strings.Contains(log.String(), "hunter2") {
		t.Errorf("log:\n%s", log.String())
	}
	left, err := filepath.Glob(filepath.Join(home, ".*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}
