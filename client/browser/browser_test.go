//go:build unix

package browser

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func opener(env map[string]string) Opener {
	return Opener{LookupEnv: func(name string) (string, bool) {
		value, ok := env[name]
		return value, ok
	}}
}

// script is a program for tests, in a directory that every user may enter.
func script(t *testing.T, body string) (program, output string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "cwbrowser")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	program, output = filepath.Join(dir, "browser"), filepath.Join(dir, "output")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"+strings.ReplaceAll(body, "OUTPUT", output)+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return program, output
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

const hostile = "https://cw.example.com/a?b=$(touch${IFS}x)&c=%60x%60;x|y'\"&d=%25s"

func TestOpen(t *testing.T) {
	program, output := script(t, `printf '%s\n' $# "$1" "$2" >OUTPUT`)
	for name, c := range map[string]struct {
		env  map[string]string
		want string
	}{
		"ours":        {map[string]string{"CAUSEWAY_BROWSER": program, "BROWSER": "/nonexistent"}, "1\n" + hostile},
		"others":      {map[string]string{"BROWSER": "/nonexistent:" + program}, "1\n" + hostile},
		"with a flag": {map[string]string{"BROWSER": program + " -new %s"}, "2\n-new\n" + hostile},
	} {
		os.Remove(output)
		if err := opener(c.env).Open(hostile); err != nil {
			t.Errorf("%s: Open() = %v", name, err)
		} else if got := read(t, output); got != c.want {
			t.Errorf("%s: run with\n%s\nwant\n%s", name, got, c.want)
		}
	}
}

func TestOpenFails(t *testing.T) {
	program, _ := script(t, "echo cannot open display >&2; exit 4")
	t.Setenv("PATH", t.TempDir())
	err := opener(map[string]string{"CAUSEWAY_BROWSER": program}).Open("https://x")
	if err == nil || !strings.Contains(err.Error(), "exit status 4: cannot open display") {
		t.Errorf("Open() = %v", err)
	}
	if err := opener(nil).Open("https://x"); systemOpener == "xdg-open" && !errors.Is(err, ErrNone) {
		t.Errorf("Open() = %v, want %v", err, ErrNone)
	}
	for _, page := range []string{"file:///etc/passwd", "javascript:alert(1)", "https://", "-x", "http:opaque"} {
		if err := opener(map[string]string{"CAUSEWAY_BROWSER": "true"}).Open(page); err == nil || !strings.Contains(err.Error(), "no page") {
			t.Errorf("Open(%q) = %v", page, err)
		}
	}
}

// A browser that stays is left alone.
func TestOpenStays(t *testing.T) {
	program, output := script(t, `echo $$ >OUTPUT; exec sleep 60`)
	if err := opener(map[string]string{"CAUSEWAY_BROWSER": program}).Open("https://x"); err != nil {
		t.Fatal(err)
	}
	process := read(t, output)
	if _, err := os.Stat("/proc/" + process); err != nil {
		t.Skipf("look for the browser's process: %v", err)
	}
	kill(t, process)
}

func TestOpenAsInvoker(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: it becomes another user")
	}
	program, output := script(t, `{ id -u; id -g; echo "$HOME" "$XDG_RUNTIME_DIR" "$SUDO_UID"; } >OUTPUT`)
	if err := opener(map[string]string{"CAUSEWAY_BROWSER": program, "SUDO_UID": "65534"}).Open("https://x"); err != nil {
		t.Fatal(err)
	}
	if got := read(t, output); !strings.HasPrefix(got, "65534\n65534\n") || !strings.Contains(got, " /run/user/65534") {
		t.Errorf("the browser runs as\n%s", got)
	}
	if err := opener(map[string]string{"CAUSEWAY_BROWSER": program, "SUDO_UID": "987654"}).Open("https://x"); err == nil {
		t.Error("opened for a user who does not exist")
	}
}

func TestAvailable(t *testing.T) {
	if systemOpener != "xdg-open" {
		t.Skip("a Mac's desktop is another")
	}
	t.Setenv("PATH", t.TempDir())
	for name, c := range map[string]struct {
		env  map[string]string
		want bool
	}{
		"nothing":              {nil, false},
		"ours":                 {map[string]string{"CAUSEWAY_BROWSER": "x"}, true},
		"a screen, no program": {map[string]string{"DISPLAY": ":0"}, false},
		"a screen, a program":  {map[string]string{"WAYLAND_DISPLAY": "w", "BROWSER": "x"}, true},
		"no screen, a program": {map[string]string{"BROWSER": "x"}, false},
	} {
		if got := opener(c.env).Available(); got != c.want {
			t.Errorf("%s: Available() = %t, want %t", name, got, c.want)
		}
	}
}

func kill(t *testing.T, pid string) {
	t.Helper()
	number, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatal(err)
	}
	process, err := os.FindProcess(number)
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Kill(); err != nil {
		t.Fatal(err)
	}
}
