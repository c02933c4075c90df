package service

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/causewayhq/causeway/localapi"
)

// userFile writes a user's file the way logind does.
func userFile(t *testing.T, dir, name, state string) {
	t.Helper()
	temporary := filepath.Join(dir, "."+name+"tmp")
	if err := os.WriteFile(temporary, []byte("# This is private data. Do not parse.\nNAME=alice\nSTATE="+state+"\nSTOPPING=no\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(temporary, filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

func TestLogindSessions(t *testing.T) {
	dir := t.TempDir()
	user := localapi.User{UID: aliceUID}
	if _, _, err := logindSessions(t.Context(), filepath.Join(dir, "none"), user); !errors.Is(err, errNoSessions) {
		t.Errorf("without logind: %v", err)
	}
	for _, test := range []struct {
		state string
		want  bool
	}{{"", false}, {"active", true}, {"closing", false}, {"online", true}, {"lingering", false}, {"opening", false}} {
		ctx, cancel := context.WithCancel(t.Context())
		if test.state != "" {
			userFile(t, dir, "4321", test.state)
		}
		present, changed, err := logindSessions(ctx, dir, user)
		if err != nil || present != test.want {
			t.Errorf("state %q: %v, %v", test.state, present, err)
		}
		userFile(t, dir, "4322", "active") // somebody else
		select {
		case <-changed:
			t.Errorf("state %q: woken by another user", test.state)
		case <-time.After(20 * time.Millisecond):
		}
		userFile(t, dir, "4321", "active")
		select {
		case <-changed:
		case <-time.After(10 * time.Second):
			t.Errorf("state %q: a change was missed", test.state)
		}
		cancel()
	}
	if err := os.Remove(filepath.Join(dir, "4321")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, changed, err := logindSessions(ctx, dir, user)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	select {
	case <-changed:
	case <-time.After(10 * time.Second):
		t.Error("the end of the context is no change")
	}
}
