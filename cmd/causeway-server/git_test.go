package main

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/causewayhq/causeway/server/store"
)

// TestGit: keys are made once and replaced on demand; a password goes in by
// standard input and is never printed.
func TestGit(t *testing.T) {
	dir := t.TempDir()
	if got := cli(t, nil, "user", "create", "alice", "--create", "--data-dir", dir); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	first := cli(t, nil, "git", "key", "alice", "--data-dir", dir)
	if first.code != 0 || !strings.HasPrefix(first.stdout, "ssh-ed25519 ") || strings.Count(first.stdout, "\n") != 1 {
		t.Errorf("%+v", first)
	}
	if got := cli(t, nil, "git", "key", "alice", "--data-dir", dir); got.stdout != first.stdout {
		t.Errorf("another key: %+v", got)
	}
	var shown struct {
		Version   int
		PublicKey string `json:"public_key"`
	}
	got := cli(t, nil, "git", "key", "alice", "--replace", "--json", "--data-dir", dir)
	if err := json.Unmarshal([]byte(got.stdout), &shown); err != nil || shown.Version != 1 || shown.PublicKey+"\n" == first.stdout || !strings.HasPrefix(shown.PublicKey, "ssh-ed25519 ") {
		t.Errorf("%+v, %v", got, err)
	}
	const secret = "s3cret-token"
	got = typed(t, secret+"\nnot this line\n", "git", "set", "ALICE", "https://GitHub.com/", "--username", "al", "--stdin", "--data-dir", dir)
	if got.code != 0 || got.stdout != "Git in the workspaces of alice signs in at github.com as al.\nIt is the user's first: agents that are connected learn of it when they connect the next time.\nTo have it now, restart them. It is for sessions that begin after that.\n" || strings.Contains(got.stderr, secret) {
		t.Errorf("%+v", got)
	}
	s := opened(t, dir)
	user, err := s.UserByName(t.Context(), "alice")
	if err != nil {
		t.Fatal(err)
	}
	if kept, err := s.GitCredentialFor(t.Context(), user.ID, "github.com"); err != nil || kept.Password.Reveal() != secret {
		t.Errorf("%v, %v", kept, err)
	}
	for _, form := range [][]string{{"--json"}, nil} {
		got = cli(t, nil, append([]string{"git", "list", "alice", "--data-dir", dir}, form...)...)
		if got.code != 0 || !strings.Contains(got.stdout, "github.com") || strings.Contains(got.stdout, secret) {
			t.Errorf("%+v", got)
		}
	}
	for name, test := range map[string]struct {
		typed string
		args  []string
		code  int
		says  string
	}{
		"no user name":   {"x", []string{"set", "alice", "h", "--stdin"}, exitUsage, "--username"},
		"bad host":       {"x", []string{"set", "alice", "a b", "--username", "u", "--stdin"}, exitUsage, "is not a host"},
		"path":           {"x", []string{"set", "alice", "github.com/alice", "--username", "u", "--stdin"}, exitUsage, "it has a path, and a password is for all of a host; give only github.com\nSee: causeway-server git set --help"},
		"path of a URL":  {"x", []string{"set", "alice", "https://u:hunter2@h:8443/a/b", "--username", "u", "--stdin"}, exitUsage, "give only h:8443\n"},
		"query":          {"x", []string{"set", "alice", "h?x", "--username", "u", "--stdin"}, exitUsage, "give only h\n"},
		"deleted path":   {"", []string{"delete", "alice", "github.com/alice"}, exitUsage, "give only github.com\n"},
		"empty password": {"\n", []string{"set", "alice", "h", "--username", "u", "--stdin"}, exitUsage, "git password: it is empty"},
		"long password":  {strings.Repeat("p", 9000), []string{"set", "alice", "h", "--username", "u", "--stdin"}, exitUsage, "4096"},
		"no terminal":    {"x", []string{"set", "alice", "h", "--username", "u"}, exitUsage, "--stdin"},
		"no such user":   {"", []string{"key", "bob"}, exitNotFound, "user list"},
		"no such host":   {"", []string{"delete", "alice", "h"}, exitNotFound, "git credential for h"},
	} {
		got := typed(t, test.typed, append(append([]string{"git"}, test.args...), "--data-dir", dir)...)
		if got.code != test.code || !strings.Contains(got.stderr, test.says) || strings.Contains(got.stderr, "hunter2") {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if got := cli(t, nil, "git", "delete", "alice", "github.com", "--data-dir", dir); got.code != 0 {
		t.Errorf("%+v", got)
	}
	if _, err := s.GitCredentialFor(t.Context(), user.ID, "github.com"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("still there: %v", err)
	}
}
