package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/causewayhq/causeway/config"
)

var update = flag.Bool("update", false, "write the golden file anew")

func TestHelpIsAsPublished(t *testing.T) {
	t.Setenv("CAUSEWAY_SOCKET", "")
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"--help"}, &stdout, &stderr); code != 0 || stderr.Len() > 0 {
		t.Fatalf("code %d, %s", code, &stderr)
	}
	got := strings.ReplaceAll(stdout.String(), config.DefaultSocket, "SOCKET")
	golden := filepath.Join("testdata", "help.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil || got != string(want) {
		t.Errorf("%v; go test ./cmd/causeway-tray -update; the help is\n%s", err, got)
	}
}

func TestCommandLine(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir())
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent")
	for _, c := range []struct {
		args           string
		code           int
		stdout, stderr string
	}{
		{"--version", 0, "causeway-tray dev\n", ""},
		{"version", 0, "causeway-tray dev\n", ""},
		{"--theme pink", 2, "", "causeway-tray: --theme \"pink\": want one of auto, dark, light\n  remedy: see: causeway-tray --help\n"},
		{"--no-such-flag", 2, "", "causeway-tray: unknown flag: --no-such-flag\n  remedy: see: causeway-tray --help\n"},
		{"word", 2, "", "causeway-tray: unknown command \"word\" for \"causeway-tray\"\n  remedy: see: causeway-tray --help\n"},
		{"--install-autostart", 0, "the tray starts when you log in from now on\n", ""},
		{"--remove-autostart", 0, "the tray does not start any more when you log in\n", ""},
		{"--remove-autostart", 0, "the tray does not start any more when you log in\n", ""},
	} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), strings.Fields(c.args), &stdout, &stderr)
		if code != c.code || stdout.String() != c.stdout || stderr.String() != c.stderr {
			t.Errorf("%s: code %d, %q, %q", c.args, code, &stdout, &stderr)
		}
	}
}
