//go:build unix

package service

import (
	"context"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// script makes a program of a shell script.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "helper")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestHeaderCommand(t *testing.T) {
	access := &url.URL{Scheme: "https", Host: "corp.example"}
	got, err := headerCommand(t.Context(), script(t, `echo "X-Access=secret=1"; echo; echo "X-For = $CAUSEWAY_URL $1 $2"`)+" a  b$HOME", access)
	if err != nil || got["X-Access"][0] != "secret=1" || got["X-For"][0] != "https://corp.example a b$HOME" || len(got) != 2 {
		t.Errorf("headers %v, %v", map[string][]string(got), err)
	}
	for name, test := range map[string]struct{ text, want string }{
		"fails":           {"echo X=hunter2; echo hunter2 >&2; exit 3", "exit status 3"},
		"no header":       {"echo X=1; echo hunter2", "line 2 is not Name=Value"},
		"header of ours":  {"echo Host=hunter2", "line 1: header Host cannot be set"},
		"carriage return": {`printf 'X=a\rhunter2: b\n'`, "line 1"},
		"too much":        {"exec yes X=hunter2", "it prints too much"},
	} {
		began := time.Now()
		_, err := headerCommand(t.Context(), script(t, test.text), access)
		if took := time.Since(began); took > headerLimit/2 {
			t.Errorf("%s: it took %v", name, took)
		}
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestHeaderCommandThatHangs is ended, and what holds its output is not waited for.
func TestHeaderCommandThatHangs(t *testing.T) {
	const limit = 500 * time.Millisecond
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	began := time.Now()
	_, err := headerCommand(ctx, script(t, "sleep 5 & wait"), &url.URL{Scheme: "https", Host: "h"})
	if took := time.Since(began); err == nil || !strings.Contains(err.Error(), "not done after") || took > limit+2*headerGrace {
		t.Errorf("%v after %v", err, took)
	}
}

// TestProgramOfOthersIsNotRun: whoever can change the file, or put another in its
// place, would run as root.
func TestProgramOfOthersIsNotRun(t *testing.T) {
	good := script(t, "true")
	if err := checkProgram(good); err != nil {
		t.Errorf("own program: %v", err)
	}
	for name, damage := range map[string]func(path string) error{
		"others write it":           func(path string) error { return os.Chmod(path, 0o722) },
		"others write its place":    func(path string) error { return os.Chmod(filepath.Dir(path), 0o777) },
		"group writes its place":    func(path string) error { return os.Chmod(filepath.Dir(path), 0o770) },
		"it is a directory":         func(path string) error { return os.Remove(path) },
		"it belongs to another":     func(path string) error { return os.Chown(path, 4321, -1) },
		"its place is of another's": func(path string) error { return os.Chown(filepath.Dir(path), 4321, -1) },
	} {
		if strings.Contains(name, "another") && os.Geteuid() != 0 {
			continue
		}
		path := script(t, "true")
		if err := damage(path); err != nil {
			t.Fatal(err)
		}
		if err := checkProgram(path); err == nil {
			t.Errorf("%s: it would be run", name)
		}
	}
	link := filepath.Join(t.TempDir(), "link")
	target := script(t, "true")
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(target, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := checkProgram(link); err == nil {
		t.Error("a link hides what others can write")
	}
}
