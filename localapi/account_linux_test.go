package localapi

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// useGetent has users of a directory service that a script knows.
func useGetent(t *testing.T, script string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "getent")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	before := getents
	getents = []string{filepath.Join(t.TempDir(), "missing"), path}
	t.Cleanup(func() { getents = before })
}

const people = `[ "$#" = 2 ] && [ "$1" = passwd ] || exit 1
case $2 in
ann@corp|70001) echo 'ann@corp:x:70001:70001:Ann:/home/ann:/bin/bash';;
odd) echo nonsense;;
*) exit 2;;
esac
`

// TestUsersOfADirectory: those whom /etc/passwd does not have are asked for.
func TestUsersOfADirectory(t *testing.T) {
	useGetent(t, people)
	for name, want := range map[string]User{"root": {UID: 0}, "ann@corp": {UID: 70001}, "70001": {UID: 70001}, "70002": {UID: 70002}} {
		if got, err := UserNamed(t.Context(), name); err != nil || got != want {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	for name, text := range map[string]string{"nobody-such": "does not know it", "odd": "no line of passwd(5)", "--help": "no name of a user"} {
		if got, err := UserNamed(t.Context(), name); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if name, err := (User{UID: 70001}).Name(t.Context()); name != "ann@corp" || err != nil {
		t.Errorf("%q, %v", name, err)
	}
	if name, err := (User{UID: 70002}).Name(t.Context()); err == nil {
		t.Errorf("%q", name)
	}
}

// TestDirectoryIsAway: a question ends with who asks.
func TestDirectoryIsAway(t *testing.T) {
	useGetent(t, "exec sleep 60\n")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	begun := time.Now()
	if _, err := UserNamed(ctx, "ann@corp"); !errors.Is(err, context.Canceled) || time.Since(begun) > 20*time.Second {
		t.Errorf("%v after %s", err, time.Since(begun))
	}
}
