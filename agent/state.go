package agent

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/crypto/ssh"

	"github.com/causewayhq/causeway/tailnet"
)

// Files of the state directory.
const (
	lockName     = "lock"
	identityName = "identity.json"
	hostKeyName  = "ssh_host_ed25519_key"
	newFiles     = ".new-*" // before they get their names
)

var (
	// ErrState is wrapped by every failure of the state directory.
	ErrState = errors.New("state directory cannot be used")
	// errHeld is what lockFile says when another process has the lock.
	errHeld = errors.New("another causeway-agent is using it; stop that one, or give this one its own --state-dir")
)

// State is what makes the agent the same one after a restart: its keys and
// its UDP port in the tailnet, and its SSH host key. It holds a lock on its
// directory until Close.
type State struct {
	directory string
	lock      *os.File
	hostKey   ssh.Signer

	mu       sync.Mutex
	identity tailnet.Identity
}

// OpenState opens the directory, and makes it and what is missing in it. A
// file that is damaged is reported and left alone.
func OpenState(directory string) (*State, error) {
	s := &State{directory: directory}
	if err := s.open(); err != nil {
		s.Close()
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	return s, nil
}

func (s *State) open() error {
	if err := os.MkdirAll(s.directory, 0o700); err != nil {
		return fmt.Errorf("%w; name a directory that this user can write with --state-dir", err)
	}
	if err := checkMode(s.directory, 0o022); err != nil {
		return err
	}
	lock, err := os.OpenFile(s.path(lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	s.lock = lock
	if err := lockFile(lock); err != nil {
		return fmt.Errorf("lock %s: %w", s.directory, err)
	}
	s.sweep()
	if err := s.loadIdentity(); err != nil {
		return err
	}
	return s.loadHostKey()
}

// Close gives the directory free for another process.
func (s *State) Close() error {
	if s.lock == nil {
		return nil
	}
	return s.lock.Close()
}

// HostKey is the SSH server's key.
func (s *State) HostKey() ssh.Signer { return s.hostKey }

// Identity is the agent's identity in the tailnet.
func (s *State) Identity() tailnet.Identity {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.identity
}

// SetIdentity stores the identity with the UDP port that came to be used.
func (s *State) SetIdentity(identity tailnet.Identity) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if identity.Port == s.identity.Port {
		return nil
	}
	if err := s.storeIdentity(identity); err != nil {
		return err
	}
	s.identity = identity
	return nil
}

func (s *State) storeIdentity(identity tailnet.Identity) error {
	content, err := json.Marshal(identity)
	if err != nil {
		return err
	}
	return writeFile(s.path(identityName), append(content, '\n'))
}

func (s *State) loadIdentity() error {
	content, err := s.read(identityName)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.identity = tailnet.NewIdentity()
		return s.storeIdentity(s.identity)
	case err != nil:
		return err
	}
	if err := json.Unmarshal(content, &s.identity); err != nil {
		return s.damaged(identityName, err)
	}
	return nil
}

func (s *State) loadHostKey() error {
	content, err := s.read(hostKeyName)
	if errors.Is(err, fs.ErrNotExist) {
		content, err = newHostKey()
		if err == nil {
			err = writeFile(s.path(hostKeyName), content)
		}
	}
	if err != nil {
		return err
	}
	if s.hostKey, err = ssh.ParsePrivateKey(content); err != nil {
		return s.damaged(hostKeyName, err)
	}
	return nil
}

func newHostKey() ([]byte, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make ssh host key: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(private, "causeway-agent")
	if err != nil {
		return nil, fmt.Errorf("make ssh host key: %w", err)
	}
	return pem.EncodeToMemory(block), nil
}

// read refuses a secret that others can read: it is no secret any more.
func (s *State) read(name string) ([]byte, error) {
	if err := checkMode(s.path(name), 0o077); err != nil {
		return nil, err
	}
	return os.ReadFile(s.path(name))
}

func (s *State) damaged(name string, err error) error {
	return fmt.Errorf("read %s: %w; move the file away to start with a new one", s.path(name), err)
}

func (s *State) path(name string) string { return filepath.Join(s.directory, name) }

// sweep removes what a process left that was killed while it wrote.
func (s *State) sweep() {
	left, _ := filepath.Glob(s.path(newFiles)) // the pattern is a good one
	for _, path := range left {
		os.Remove(path)
	}
}

// writeFile replaces the file whole or not at all.
func writeFile(path string, content []byte) error {
	file, err := os.CreateTemp(filepath.Dir(path), newFiles)
	if err != nil {
		return err
	}
	_, writeErr := file.Write(content)
	err = errors.Join(writeErr, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		os.Remove(file.Name())
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
