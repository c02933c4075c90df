package service

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/client"
	"github.com/causewayhq/causeway/localapi"
)

const (
	// stateVersion 1 held one profile and its owner; 2 holds many of many users.
	// A daemon of format 1 refuses a file of format 2 as newer and leaves it.
	stateVersion = 2
	// maxState bounds the state file, in bytes: 64 profiles of at most 16 KiB of
	// headers and 64 KiB of certificates are 5 MiB.
	maxState = 8 << 20
)

// storedState is the state on disk.
type storedState struct {
	Version   int             `json:"version"`
	Profiles  []storedProfile `json:"profiles,omitempty"`
	Active    string          `json:"active,omitempty"`
	Operators []storedUser    `json:"operators,omitempty"`
	WantedUp  bool            `json:"wanted_up"`
}

type storedUser struct {
	UID *uint32 `json:"uid,omitempty"`
	SID string  `json:"sid,omitempty"` // on Windows, instead of the uid
}

type storedProfile struct {
	ID           string      `json:"id"`
	Name         string      `json:"name"`
	Owner        storedUser  `json:"owner"`
	URL          string      `json:"url"`
	Token        string      `json:"token,omitempty"`
	User         string      `json:"user,omitempty"`
	UserID       string      `json:"user_id,omitempty"`
	Headers      http.Header `json:"headers,omitempty"`
	CA           string      `json:"ca_pem,omitempty"`
	Proxy        string      `json:"proxy,omitempty"`
	ConnectAt    string      `json:"connect_at,omitempty"`
	TokenExpires *time.Time  `json:"token_expires_at,omitempty"`
}

// connectAtLogin is the one value of connect_at that is not the default.
const connectAtLogin = "login"

// storedState1 is format 1.
type storedState1 struct {
	Version int `json:"version"`
	Profile *struct {
		URL    string `json:"url"`
		Token  string `json:"token"`
		User   string `json:"user"`
		UserID string `json:"user_id"`
	} `json:"profile,omitempty"`
	OwnerUID *uint32 `json:"owner_uid,omitempty"`
	OwnerSID string  `json:"owner_sid,omitempty"`
	WantedUp bool    `json:"wanted_up"`
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
	switch {
	case version.Version > stateVersion:
		return state{}, &newerError{version.Version}
	case version.Version == 1:
		return decodeState1(data)
	case version.Version != stateVersion:
		return state{}, fmt.Errorf("format %d is unknown", version.Version)
	}
	var stored storedState
	if err := decodeStrictly(data, &stored); err != nil {
		return state{}, err
	}
	return stored.state()
}

func decodeStrictly(data []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	return decoder.Decode(into)
}

// decodeState1 takes over what format 1 kept: its one profile, called after its
// host and active, and its owner as an operator.
func decodeState1(data []byte) (state, error) {
	var stored storedState1
	if err := decodeStrictly(data, &stored); err != nil {
		return state{}, err
	}
	owner, known := storedUser{UID: stored.OwnerUID, SID: stored.OwnerSID}.user()
	loaded := state{up: stored.WantedUp}
	if known {
		loaded.allow(owner)
	}
	if stored.Profile == nil {
		loaded.up = false
		return loaded, nil
	}
	p, err := storedProfile{
		ID: uuid.NewString(), Name: "x", Owner: userToStore(owner), URL: stored.Profile.URL, Token: stored.Profile.Token,
		User: stored.Profile.User, UserID: stored.Profile.UserID,
	}.profile()
	if err != nil || !p.signedIn() {
		return state{}, errors.New("the profile has no valid URL or no token")
	}
	// Without an owner, as nobody ever wrote it, the profile is root's.
	p.Name = nameFor(p.URL, func(string) bool { return false })
	loaded.activate(p)
	return loaded, nil
}

func (u storedUser) user() (localapi.User, bool) {
	switch {
	case u.SID != "":
		return localapi.User{SID: u.SID}, true
	case u.UID != nil:
		return localapi.User{UID: *u.UID}, true
	}
	return localapi.User{}, false
}

func userToStore(user localapi.User) storedUser {
	if user.SID != "" {
		return storedUser{SID: user.SID}
	}
	return storedUser{UID: &user.UID}
}

func compareUsers(a, b localapi.User) int {
	return cmp.Or(cmp.Compare(a.SID, b.SID), cmp.Compare(a.UID, b.UID))
}

// state checks what was read, so that nothing later has to.
func (stored storedState) state() (state, error) {
	loaded := state{up: stored.WantedUp, active: stored.Active}
	if len(stored.Profiles) > maxProfiles || len(stored.Operators) > maxOperators {
		return state{}, fmt.Errorf("%d profiles and %d operators are too many", len(stored.Profiles), len(stored.Operators))
	}
	for _, one := range stored.Profiles {
		p, err := one.profile()
		if err != nil {
			return state{}, err
		}
		if loaded.index(p.ID) >= 0 || loaded.named(p.Owner, p.Name) != nil {
			return state{}, fmt.Errorf("profile %q is there twice", p.Name)
		}
		loaded.profiles = append(loaded.profiles, p)
	}
	if stored.Active != "" && loaded.index(stored.Active) < 0 {
		return state{}, errors.New("the active profile is missing")
	}
	for _, one := range stored.Operators {
		user, known := one.user()
		if !known {
			return state{}, errors.New("an operator is nobody")
		}
		loaded.allow(user)
	}
	return loaded, nil
}

// profile checks one profile. Its errors do not quote what may hold a secret.
func (stored storedProfile) profile() (Profile, error) {
	owner, known := stored.Owner.user()
	if stored.ID == "" || !known || checkName(stored.Name) != nil {
		return Profile{}, errors.New("a profile has no id, no owner or no valid name")
	}
	p := Profile{
		ID: stored.ID, Name: stored.Name, Owner: owner, Token: client.Token(stored.Token), User: stored.User, UserID: stored.UserID,
		CA: stored.CA, AtLogin: stored.ConnectAt == connectAtLogin,
	}
	var err error
	if p.URL, err = url.Parse(stored.URL); err != nil || p.URL.Host == "" {
		return Profile{}, fmt.Errorf("profile %q has no valid URL", stored.Name)
	}
	if p.Headers, err = headersOf(stored.Headers); err != nil {
		return Profile{}, fmt.Errorf("profile %q: %w", stored.Name, err)
	}
	if p.Proxy, err = parseProxy(stored.Proxy); err != nil {
		return Profile{}, fmt.Errorf("profile %q: %w", stored.Name, err)
	}
	if err := checkCA(stored.CA); err != nil {
		return Profile{}, fmt.Errorf("profile %q: %w", stored.Name, err)
	}
	if stored.ConnectAt != "" && stored.ConnectAt != connectAtLogin {
		return Profile{}, fmt.Errorf("profile %q: connect_at is none that is known", stored.Name)
	}
	if stored.TokenExpires != nil {
		p.Expires = *stored.TokenExpires
	}
	return p, nil
}

func encodeState(s state) ([]byte, error) {
	stored := storedState{Version: stateVersion, WantedUp: s.up, Active: s.active}
	for _, user := range s.operators {
		stored.Operators = append(stored.Operators, userToStore(user))
	}
	for _, p := range s.profiles {
		one := storedProfile{
			ID: p.ID, Name: p.Name, Owner: userToStore(p.Owner), URL: p.URL.String(), Token: string(p.Token), User: p.User, UserID: p.UserID,
			Headers: http.Header(p.Headers), CA: p.CA, Proxy: p.proxyText(),
		}
		if p.AtLogin {
			one.ConnectAt = connectAtLogin
		}
		if !p.Expires.IsZero() {
			expires := p.Expires.UTC()
			one.TokenExpires = &expires
		}
		stored.Profiles = append(stored.Profiles, one)
	}
	data, err := json.MarshalIndent(stored, "", "  ")
	if err == nil && len(data) >= maxState {
		err = fmt.Errorf("%d bytes are more than %d", len(data), maxState)
	}
	return data, err
}
