package service

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/causewayhq/causeway/localapi"
)

const stateFile = "service.json"

// state is what the users want. It is a value: who changes one clones it first.
type state struct {
	// profiles of all users, the last used first.
	profiles []Profile
	// active is the ID of the profile that has the machine's tunnel, "" for none.
	// It may be signed out.
	active string
	// operators may sign in and keep profiles, in order.
	operators []localapi.User
	up        bool
}

func (s state) clone() state {
	s.profiles, s.operators = slices.Clone(s.profiles), slices.Clone(s.operators)
	return s
}

// profile is the active one, nil for none.
func (s state) profile() *Profile {
	if i := s.index(s.active); i >= 0 {
		return &s.profiles[i]
	}
	return nil
}

// index of the profile with that ID, -1 for none.
func (s state) index(id string) int {
	return slices.IndexFunc(s.profiles, func(p Profile) bool { return p.ID == id })
}

// holder is the user who has the machine's tunnel: the active profile's owner.
func (s state) holder() (localapi.User, bool) {
	if p := s.profile(); p != nil {
		return p.Owner, true
	}
	return localapi.User{}, false
}

// heldUp is the holder whose tunnel is wanted up: nobody else gets it then.
func (s state) heldUp() (localapi.User, bool) {
	holder, held := s.holder()
	return holder, held && s.up
}

// of are the profiles of a user, the last used first.
func (s state) of(owner localapi.User) []Profile {
	var own []Profile
	for _, p := range s.profiles {
		if p.Owner == owner {
			own = append(own, p)
		}
	}
	return own
}

// named is a user's profile of that name, nil for none.
func (s state) named(owner localapi.User, name string) *Profile {
	for i, p := range s.profiles {
		if p.Owner == owner && p.Name == name {
			return &s.profiles[i]
		}
	}
	return nil
}

func (s state) operator(user localapi.User) bool { return slices.Contains(s.operators, user) }

// put keeps a profile, in the place of the one with its ID if there is one.
func (s *state) put(p Profile) {
	if i := s.index(p.ID); i >= 0 {
		s.profiles[i] = p
		return
	}
	s.profiles = append(s.profiles, p)
}

// activate gives the machine's tunnel to a profile.
func (s *state) activate(p Profile) {
	if i := s.index(p.ID); i >= 0 {
		s.profiles = slices.Delete(s.profiles, i, i+1)
	}
	s.profiles = slices.Insert(s.profiles, 0, p)
	s.active = p.ID
}

// remove forgets a profile; nobody's tunnel is up if it was the active one.
func (s *state) remove(id string) {
	s.profiles = slices.DeleteFunc(s.profiles, func(p Profile) bool { return p.ID == id })
	if s.active == id {
		s.active, s.up = "", false
	}
}

// allow makes a user an operator.
func (s *state) allow(user localapi.User) {
	if !s.operator(user) {
		s.operators = append(s.operators, user)
		slices.SortFunc(s.operators, compareUsers)
	}
}

// forbid makes a user no operator any more.
func (s *state) forbid(user localapi.User) {
	s.operators = slices.DeleteFunc(s.operators, func(u localapi.User) bool { return u == user })
}

// wantsTunnel says whether anybody wants a tunnel that can be had.
func (s state) wantsTunnel() bool {
	p := s.profile()
	return s.up && p != nil && p.signedIn()
}

// loadState reads the state. No file is the zero state; a file that cannot be
// understood is an error and stays as it is.
func loadState(dir string) (state, error) {
	path := filepath.Join(dir, stateFile)
	data, err := readPrivate(path, maxState)
	if errors.Is(err, fs.ErrNotExist) {
		return state{}, nil
	}
	if err != nil {
		return state{}, fail(FailureState, "make it readable for this user, or move it away", "read state: %w", err)
	}
	loaded, err := decodeState(data)
	var newer *newerError
	switch {
	case errors.As(err, &newer):
		return state{}, fail(FailureState, "upgrade causewayd, or move the file away and sign in again", "read state %s: %w", path, err)
	case err != nil:
		remedy := fmt.Sprintf(moveState, path, path)
		return state{}, fail(FailureState, remedy, "read state %s: corrupt: %w", path, err)
	}
	return loaded, nil
}

// saveState replaces the state on disk.
func saveState(dir string, s state) error {
	data, err := encodeState(s)
	if err != nil {
		return fmt.Errorf("encode state: %w", err)
	}
	// A daemon does not start with a state that it cannot read, and names would be
	// gone: better to refuse the wish now.
	if _, err := decodeState(data); err != nil {
		return fmt.Errorf("encode state: it could not be read again: %w", err)
	}
	return writePrivate(filepath.Join(dir, stateFile), data)
}

// writePrivate replaces a file of the state directory: whole or not at all, and
// on the disk itself when it returns. What is in its place is not followed.
func writePrivate(path string, data []byte) error {
	dir := filepath.Dir(path)
	file, err := os.CreateTemp(dir, filepath.Base(path)+".tmp-")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer os.Remove(file.Name())
	// CreateTemp makes 0600.
	if _, err = file.Write(append(data, '\n')); err == nil {
		err = file.Sync()
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return syncDirectory(dir)
}

// readPrivate reads a file of the state directory, at most one byte more than
// the limit. A symbolic link, a device or a pipe there is somebody's trick, not
// our file.
func readPrivate(path string, limit int) ([]byte, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	file, err := os.OpenFile(path, os.O_RDONLY|noFollow, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, int64(limit)+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return data, nil
}
