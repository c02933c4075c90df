package tray

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestAutostartEntry(t *testing.T) {
	for _, everybody := range []bool{false, true} {
		dir := t.TempDir()
		user, system := filepath.Join(dir, "autostart", entryName), filepath.Join(dir, "system.desktop")
		if everybody {
			if err := os.WriteFile(system, []byte(entry("/usr/bin/causeway-tray")), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got := autostartOf(user, system); got != everybody {
			t.Errorf("system entry %v: starts at login: %v", everybody, got)
		}
		for _, on := range []bool{true, false, false, true} {
			if err := writeEntry(user, system, "/opt/my \"apps\"/100%/causeway-tray", on); err != nil {
				t.Fatal(err)
			}
			if got := autostartOf(user, system); got != on {
				t.Errorf("system entry %v: wanted %v, and it is %v", everybody, on, got)
			}
		}
		data, err := os.ReadFile(user)
		if err != nil || !strings.Contains(string(data), `Exec="/opt/my \\"apps\\"/100%%/causeway-tray"`+"\n") {
			t.Errorf("entry %q, %v", data, err)
		}
	}
}

// TestDesktopFilesAreValid holds the files of the packages and the one that is
// written to the checker of freedesktop.org, where it is installed.
func TestDesktopFilesAreValid(t *testing.T) {
	checker, err := exec.LookPath("desktop-file-validate")
	if err != nil {
		t.Skip("desktop-file-validate is not installed: apt install desktop-file-utils")
	}
	written := filepath.Join(t.TempDir(), entryName)
	if err := os.WriteFile(written, []byte(entry(`/opt/my "apps"/causeway-tray`)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{written, "../packaging/linux/causeway-tray.desktop", "../packaging/linux/causeway-tray-autostart.desktop"} {
		if output, err := exec.CommandContext(t.Context(), checker, path).CombinedOutput(); err != nil || len(output) > 0 {
			t.Errorf("%s: %v\n%s", path, err, output)
		}
	}
}
