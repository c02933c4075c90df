//go:build unix

package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func openClosed(t *testing.T, directory string) (hostKey []byte, identity string) {
	t.Helper()
	state, err := OpenState(directory)
	if err != nil {
		t.Fatal(err)
	}
	defer state.Close()
	content, err := json.Marshal(state.Identity())
	if err != nil {
		t.Fatal(err)
	}
	return state.HostKey().PublicKey().Marshal(), string(content)
}

func TestStateIsKept(t *testing.T) {
	directory := filepath.Join(t.TempDir(), "deep", "state")
	key, identity := openClosed(t, directory)
	again, identityAgain := openClosed(t, directory)
	if !bytes.Equal(key, again) || identity != identityAgain {
		t.Error("the second start has other keys")
	}
	for _, name := range []string{"", identityName, hostKeyName, lockName} {
		info, err := os.Stat(filepath.Join(directory, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%q has mode %v", name, info.Mode())
		}
	}
	state, err := OpenState(directory)
	if err != nil {
		t.Fatal(err)
	}
	moved := state.Identity()
	moved.Port = 40123
	if err := state.SetIdentity(moved); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenState(directory); !errors.Is(err, errHeld) {
		t.Errorf("second holder: %v", err)
	}
	state.Close()
	state, err = OpenState(directory)
	if err != nil {
		t.Fatal(err)
	}
	defer state.Close()
	if state.Identity().Port != 40123 {
		t.Errorf("port is %d", state.Identity().Port)
	}
}

func TestBadState(t *testing.T) {
	write := func(name, content string, mode os.FileMode) func(*testing.T, string) {
		return func(t *testing.T, directory string) {
			path := filepath.Join(directory, name)
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
		}
	}
	tests := []struct {
		name   string
		break_ func(*testing.T, string)
		says   string
	}{
		{"identity empty", write(identityName, "", 0o600), "move the file away"},
		{"identity not JSON", write(identityName, "{", 0o600), "move the file away"},
		{"identity without keys", write(identityName, "{}", 0o600), "move the file away"},
		{"identity of another kind", write(identityName, `{"node": 7}`, 0o600), "move the file away"},
		{"identity open to others", write(identityName, "{}", 0o644), "chmod go-rwx"},
		{"host key damaged", write(hostKeyName, "-----BEGIN OPENSSH PRIVATE KEY-----\nx", 0o600), "move the file away"},
		{"host key empty", write(hostKeyName, "", 0o600), "move the file away"},
		{"host key open to others", write(hostKeyName, "", 0o640), "chmod go-rwx"},
		{"directory open to others", func(t *testing.T, directory string) {
			if err := os.Chmod(directory, 0o777); err != nil {
				t.Fatal(err)
			}
		}, "chmod go-rwx"},
		{"identity is a directory", func(t *testing.T, directory string) {
			if err := os.Mkdir(filepath.Join(directory, identityName), 0o700); err != nil {
				t.Fatal(err)
			}
		}, identityName},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			directory := filepath.Join(t.TempDir(), "state")
			if err := os.Mkdir(directory, 0o700); err != nil {
				t.Fatal(err)
			}
			test.break_(t, directory)
			before, _ := os.ReadFile(filepath.Join(directory, identityName))
			_, err := OpenState(directory)
			if !errors.Is(err, ErrState) || !strings.Contains(err.Error(), test.says) || !strings.Contains(err.Error(), directory) ||
				strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v", err)
			}
			if after, _ := os.ReadFile(filepath.Join(directory, identityName)); len(before) > 0 && !bytes.Equal(before, after) {
				t.Error("the damaged file was changed")
			}
		})
	}
	t.Run("a file in the way", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenState(path); !errors.Is(err, ErrState) {
			t.Errorf("got %v", err)
		}
	})
}

// TestLeftoversOfAKill: what was being written when a process was killed is
// swept away, and nothing else.
func TestLeftoversOfAKill(t *testing.T) {
	directory := t.TempDir()
	left, other := filepath.Join(directory, ".new-12345"), filepath.Join(directory, "new-mine")
	for _, path := range []string{left, other} {
		if err := os.WriteFile(path, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	openClosed(t, directory)
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left: %v", err)
	}
	if _, err := os.Stat(other); err != nil {
		t.Error(err)
	}
}
