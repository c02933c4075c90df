//go:build unix

package sshd

import (
	"crypto/rand"
	"crypto/sha256"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCopyFiles(t *testing.T) {
	r := newRig(t)
	content := make([]byte, 3<<20)
	if _, err := rand.Read(content); err != nil {
		t.Fatal(err)
	}
	source := filepath.Join(t.TempDir(), "source")
	if err := os.WriteFile(source, content, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []string{"-s", "-O"} {
		t.Run("scp "+mode, func(t *testing.T) {
			back := filepath.Join(t.TempDir(), "back")
			for _, pair := range [][2]string{{source, "127.0.0.1:copy" + mode}, {"127.0.0.1:copy" + mode, back}} {
				if output, err := r.command("scp", mode, pair[0], pair[1]).CombinedOutput(); err != nil {
					t.Fatalf("scp %v: %v: %s", pair, err, output)
				}
			}
			sameContent(t, filepath.Join(r.directory, "copy"+mode), content)
			sameContent(t, back, content)
		})
	}
	t.Run("sftp", func(t *testing.T) {
		back := filepath.Join(t.TempDir(), "back")
		cmd := r.command("sftp", "-b", "-", "127.0.0.1")
		cmd.Stdin = strings.NewReader("pwd\nput " + source + " up\nget up " + back + "\nrename up moved\n")
		output, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(output), "Remote working directory: "+r.directory) {
			t.Fatalf("sftp: %v: %s", err, output)
		}
		sameContent(t, back, content)
		sameContent(t, filepath.Join(r.directory, "moved"), content)
	})
	t.Run("absent file", func(t *testing.T) {
		if output, err := r.command("scp", "127.0.0.1:absent", t.TempDir()).CombinedOutput(); err == nil {
			t.Errorf("copied nothing without an error: %s", output)
		}
	})
	t.Run("unknown subsystem", func(t *testing.T) {
		_, stderr, status := r.ssh("", "-s", "127.0.0.1", "no-such")
		if status != 1 || !strings.Contains(stderr, `unknown subsystem "no-such"`) {
			t.Errorf("got %q, status %d", stderr, status)
		}
	})
}

func sameContent(t *testing.T, path string, want []byte) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if sha256.Sum256(got) != sha256.Sum256(want) {
		t.Errorf("%s has %d bytes and another content than the %d sent", path, len(got), len(want))
	}
}
