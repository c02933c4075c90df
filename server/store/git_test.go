package store

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
)

// TestGitKey: one key for a user, whoever asks first; a new one on demand; its
// halves belong together.
func TestGitKey(t *testing.T) {
	s := open(t, t.TempDir())
	alice, _, _ := sample(t, s, "alice")
	bob, _, _ := sample(t, s, "bob")
	keys := make([]GitKey, 8)
	var asking sync.WaitGroup
	for i := range keys {
		asking.Go(func() {
			var err error
			if keys[i], err = s.GitSSHKey(t.Context(), alice); err != nil {
				t.Error(err)
			}
		})
	}
	asking.Wait()
	for _, each := range keys[1:] {
		if each.PublicKey != keys[0].PublicKey || each.PrivateKey != keys[0].PrivateKey {
			t.Error("two who asked got two keys")
		}
	}
	signer, err := ssh.ParsePrivateKey([]byte(keys[0].PrivateKey.Reveal()))
	if err != nil {
		t.Fatal(err)
	}
	public, comment, _, _, err := ssh.ParseAuthorizedKey([]byte(keys[0].PublicKey))
	if err != nil || comment != "alice@causeway" || string(public.Marshal()) != string(signer.PublicKey().Marshal()) {
		t.Errorf("public key %q: %v", keys[0].PublicKey, err)
	}
	other, err := s.GitSSHKey(t.Context(), bob)
	if err != nil || other.PublicKey == keys[0].PublicKey {
		t.Errorf("bob: %v", err)
	}
	fresh, err := s.ReplaceGitSSHKey(t.Context(), alice)
	again, againErr := s.GitSSHKey(t.Context(), alice)
	if err != nil || againErr != nil || fresh.PublicKey == keys[0].PublicKey || again.PublicKey != fresh.PublicKey || !fresh.CreatedAt.Equal(keys[0].CreatedAt) {
		t.Errorf("replaced: %v, %v", err, againErr)
	}
	if text := fmt.Sprintf("%v %+v %#v", fresh, fresh, fresh); strings.Contains(text, "PRIVATE KEY") {
		t.Error("the private key prints")
	}
}

func TestGitHost(t *testing.T) {
	for text, want := range map[string]string{
		"github.com": "github.com", "GitHub.com": "github.com", "https://alice@github.com/a/b.git": "github.com", "github.com:443": "github.com",
		"http://git.example": "git.example:80", "https://git.example:8443/x": "git.example:8443", "git.example:8443": "git.example:8443",
		"[::1]": "[::1]", "http://[::1]:3000": "", "http://[::1]:80/x": "[::1]:80", "https://[::1]:3000": "[::1]:3000", "": "", "https://": "", "ssh://git@github.com": "", "a b": "", "git.example:0": "",
		"git.example:70000": "", "git\n.example": "", "gi\x00t": "", "bücher.example": "", strings.Repeat("a", 300): "", "https://s3cret@": "",
	} {
		got, err := GitHost(text)
		var bad *GitCredentialError
		if got != want || (want == "") != errors.As(err, &bad) {
			t.Errorf("%q: %q, %v", text, got, err)
		}
		if err != nil && strings.Contains(err.Error(), "s3cret") {
			t.Errorf("the error repeats what may be a password: %v", err)
		}
	}
}

// FuzzGitHost: what comes out goes in again, and stays.
func FuzzGitHost(f *testing.F) {
	for _, seed := range []string{"github.com", "https://a@b:1/c", "[::1]:3", "http://x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		host, err := GitHost(text)
		if err != nil {
			return
		}
		if again, err := GitHost(host); err != nil || again != host || strings.ContainsAny(host, "/@ \n") {
			t.Errorf("%q: %q, then %q, %v", text, host, again, err)
		}
	})
}

// TestGitCredentials: each is for one host of one user, bounded, and gone with it.
func TestGitCredentials(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	alice, _, _ := sample(t, s, "alice")
	bob, _, _ := sample(t, s, "bob")
	set := func(host, user, password string) error {
		_, err := s.SetGitCredential(t.Context(), alice, host, user, password)
		return err
	}
	for name, bad := range map[string][3]string{
		"no host": {"", "u", "p"}, "no user": {"h", "", "p"}, "no password": {"h", "u", ""}, "line break": {"h", "u", "a\nb"},
		"long user": {"h", strings.Repeat("u", 256), "p"}, "long password": {"h", "u", strings.Repeat("p", 4097)}, "zero": {"h", "u\x00", "p"},
	} {
		var refusal *GitCredentialError
		if err := set(bad[0], bad[1], bad[2]); !errors.As(err, &refusal) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, password := range []string{"first", "second"} {
		if err := set("https://GitHub.com/", "alice", password); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.GitCredentialFor(t.Context(), alice.ID, "https://x@github.com/a/b")
	if err != nil || got.Username != "alice" || got.Password.Reveal() != "second" {
		t.Errorf("%v, %v", got, err)
	}
	for _, target := range []string{"https://gist.github.com", "https://github.com:8443", "http://github.com", "https://github.com.evil.example"} {
		if _, err := s.GitCredentialFor(t.Context(), alice.ID, target); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", target, err)
		}
	}
	if _, err := s.GitCredentialFor(t.Context(), bob.ID, "github.com"); !errors.Is(err, ErrNotFound) {
		t.Errorf("bob's: %v", err)
	}
	for i := range gitHostsMost - 1 {
		if err := set(fmt.Sprintf("h%d.example", i), "u", "p"); err != nil {
			t.Fatal(err)
		}
	}
	var full *GitCredentialError
	if err := set("one-more.example", "u", "p"); !errors.As(err, &full) {
		t.Errorf("one more than there may be: %v", err)
	}
	if err := set("github.com", "u", "third"); err != nil {
		t.Errorf("another password for a host that is there: %v", err)
	}
	if list, err := s.GitCredentials(t.Context(), alice.ID); err != nil || len(list) != gitHostsMost {
		t.Errorf("%d, %v", len(list), err)
	}
	if err := s.DeleteGitCredential(t.Context(), alice.ID, "github.com"); err != nil {
		t.Error(err)
	}
	if err := s.DeleteGitCredential(t.Context(), alice.ID, "github.com"); !errors.Is(err, ErrNotFound) {
		t.Errorf("deleted twice: %v", err)
	}
	if err := s.DeleteUser(t.Context(), alice.ID); err != nil {
		t.Fatal(err)
	}
	if list, err := s.GitCredentials(t.Context(), alice.ID); err != nil || len(list) != 0 {
		t.Errorf("after its user: %d, %v", len(list), err)
	}
}
