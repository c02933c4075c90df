package service

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"github.com/causewayhq/causeway/client"
	"github.com/causewayhq/causeway/localapi"
)

const (
	stateFile    = "service.json"
	stateVersion = 1
	// maxState bounds the state file, in bytes; it holds one profile.
	maxState = 64 << 10
)

// Profile is one deployment and the credentials for it.
type Profile struct {
	URL    *url.URL
	Token  client.Token
	User   string // user name at the deployment
	UserID string // user id at the deployment
}

// sameUser says whether a tunnel of one profile can go on as the other's: they
// differ in nothing but the token and what the user is called.
func (p Profile) sameUser(other Profile) bool {
	return p.URL.String() == other.URL.String() && p.UserID == other.UserID
}

// state is what the user wants. Profile and owner are nil before the first
// sign-in; the owner stays after signing out, so that it can sign in again
// without root.
type state struct {
	profile *Profile
	owner   *localapi.User
	up      bool
}

// storedState is the state on disk.
type storedState struct {
	Version  int            `json:"version"`
	Profile  *storedProfile `json:"profile,omitempty"`
	OwnerUID *uint32        `json:"owner_uid,omitempty"`
	OwnerSID string         `json:"owner_sid,omitempty"` // on Windows, instead of the uid
	WantedUp bool           `json:"wanted_up"`
}

type storedProfile struct {
	URL    string `json:"url"`
	Token  string `json:"token"`
	User   string `json:"user"`
	UserID string `json:"user_id"`
}

// loadState reads the state. No file is the zero state; a file that cannot be
// understood is an error and stays as it is.
func loadState(dir string) (state, error) {
	path := filepath.Join(dir, stateFile)
	data, err := readPrivate(path)
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
		remedy := fmt.Sprintf("move it away and sign in again: mv %s %s.bad && sudo causewayd run", path, path)
		return state{}, fail(FailureState, remedy, "read state %s: corrupt: %w", path, err)
	}
	return loaded, nil
}

// newerError means that a later version of the program wrote the file.
type newerError struct{ version int }

func (e *newerError) Error() string {
	return fmt.Sprintf("format %d is newer than this program's %d", e.version, stateVersion)
}

func decodeState(data []byte) (state, error) {
	if len(data) > maxState {
		return state{}, fmt.Errorf("larger than %d bytes", maxState)
	}
	var version struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(data, &version); err != nil {
		return state{}, err
	}
	if version.Version > stateVersion {
		return state{}, &newerError{version.Version}
	}
	if version.Version != stateVersion {
		return state{}, fmt.Errorf("format %d is unknown", version.Version)
	}
	var stored storedState
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&stored); err != nil {
		return state{}, err
	}
	loaded := state{up: stored.WantedUp}
	switch {
	case stored.OwnerSID != "":
		loaded.owner = &localapi.User{SID: stored.OwnerSID}
	case stored.OwnerUID != nil:
		loaded.owner = &localapi.User{UID: *stored.OwnerUID}
	}
	if stored.Profile == nil {
		return loaded, nil
	}
	access, err := url.Parse(stored.Profile.URL)
	if err != nil || access.Host == "" || stored.Profile.Token == "" {
		// The parser's own error would quote the URL, which may hold a secret.
		return state{}, errors.New("the profile has no valid URL or no token")
	}
	loaded.profile = &Profile{
		URL: access, Token: client.Token(stored.Profile.Token),
		User: stored.Profile.User, UserID: stored.Profile.UserID,
	}
	return loaded, nil
}

func encodeState(s state) ([]byte, error) {
	stored := storedState{Version: stateVersion, WantedUp: s.up}
	if s.owner != nil && s.owner.SID != "" {
		stored.OwnerSID = s.owner.SID
	} else if s.owner != nil {
		stored.OwnerUID = &s.owner.UID
	}
	if p := s.profile; p != nil {
		stored.Profile = &storedProfile{URL: p.URL.String(), Token: string(p.Token), User: p.User, UserID: p.UserID}
	}
	return json.MarshalIndent(stored, "", "  ")
}

// saveState replaces the state on disk: whole or not at all, and on the disk
// itself when it returns.
func saveState(dir string, s state) error {
	data, err := encodeState(s)
	if err != nil {
		return fmt.Errorf("encode state: %w", err)
	}
	path := filepath.Join(dir, stateFile)
	file, err := os.CreateTemp(dir, stateFile+".tmp-")
	if err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	defer os.Remove(file.Name())
	// CreateTemp makes 0600.
	if _, err = file.Write(append(data, '\n')); err == nil {
		err = file.Sync()
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("write state %s: %w", path, err)
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	return syncDirectory(dir)
}

// readPrivate reads a file of the state directory. A symbolic link, a device
// or a pipe there is somebody's trick, not our file.
func readPrivate(path string) ([]byte, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxState+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return data, nil
}
