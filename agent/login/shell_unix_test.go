//go:build unix

package login

import (
	"os"
	"path/filepath"
	"testing"
)

func TestShellOfDatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "passwd")
	if err := os.WriteFile(path, []byte("broken\na:x:7:7::/:/bin/zsh\nb:x:8:8::/:\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for uid, want := range map[string]string{"7": "/bin/zsh", "8": "", "9": "", "": ""} {
		if got := shellFromDatabase(path, uid); got != want {
			t.Errorf("%q: got %q, want %q", uid, got, want)
		}
	}
	if got := shellFromDatabase(path+".absent", "7"); got != "" {
		t.Errorf("absent: %q", got)
	}
}
