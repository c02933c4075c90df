package tunnel

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/causewayhq/causeway/client"
	"github.com/causewayhq/causeway/control"
	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/tailnetv2"
	"github.com/causewayhq/causeway/tailnet"
	"github.com/causewayhq/causeway/workspace"
)

const (
	stateFile = "tunnel.json"
	// Names of files that are there only for a moment.
	tempPattern  = "." + stateFile + "-*"
	probePattern = ".probe-*"
	// fileVersion is raised when an older reader would misread the file.
	fileVersion = 1
	// fileLimit bounds what is read: ten thousand agents need 3 MB.
	fileLimit = 64 << 20
)

// errCorrupt marks a file that is ignored as a whole.
var errCorrupt = errors.New("state file is corrupt")

// saved is what outlives the process. It belongs to one user of one
// deployment.
type saved struct {
	URL      string
	TokenSum string // to recognise the same token; not the token
	User     client.User

	// ClientID gives us a stable address and node id. It is not the peer id
	// that the control plane chooses, which lives in the resume token.
	ClientID uuid.UUID
	Identity tailnet.Identity

	Suffix          string
	DisableDirect   bool
	ForceWebsockets bool
	Resume          control.ResumeToken
	Relays          relays

	Workspaces *workspace.State // nil: never heard
	AsOf       time.Time        // when the workspaces were last heard
	// Active peers go on using their sessions while we restart. Nodes are the
	// last that was heard of them, in wire form, so that even without a
	// control plane the sessions go on.
	Active []uuid.UUID
	Nodes  map[uuid.UUID][]byte
	// Places are the addresses of the control plane and of the relays.
	Places map[string]place
}

// relays gives a relay map the JSON form of its wire message.
type relays struct{ proto.RelayMap }

func (r relays) MarshalJSON() ([]byte, error) {
	if r.DERPMap == nil {
		return []byte("null"), nil
	}
	return protojson.Marshal(r.Proto())
}

func (r *relays) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return nil
	}
	var message tailnetv2.DERPMap
	if err := protojson.Unmarshal(data, &message); err != nil {
		return fmt.Errorf("decode relay map: %w", err)
	}
	r.RelayMap = proto.RelayMapFromProto(&message)
	return nil
}

// envelope shows damage that still is JSON.
type envelope struct {
	Version int             `json:"version"`
	Sum     string          `json:"sha256"`
	Body    json.RawMessage `json:"body"`
}

// store keeps one saved in a directory.
type store struct{ dir string }

// openStore makes the directory and closes it to other users.
func openStore(dir string) (store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return store{}, fmt.Errorf("%w: make %s: %w", ErrStateDir, dir, err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return store{}, fmt.Errorf("%w: %w", ErrStateDir, err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		if err := os.Chmod(dir, 0o700); err != nil {
			return store{}, fmt.Errorf("%w: close %s to other users: %w", ErrStateDir, dir, err)
		}
	}
	removeLeftovers(dir)
	probe, err := os.CreateTemp(dir, probePattern)
	if err != nil {
		return store{}, fmt.Errorf("%w: write in %s: %w", ErrStateDir, dir, err)
	}
	probe.Close()
	if err := os.Remove(probe.Name()); err != nil {
		return store{}, fmt.Errorf("%w: write in %s: %w", ErrStateDir, dir, err)
	}
	return store{dir}, nil
}

// removeLeftovers takes away what a process that was killed while it wrote has
// left; what cannot be removed is no reason not to start.
func removeLeftovers(dir string) {
	for _, pattern := range []string{probePattern, tempPattern} {
		left, _ := filepath.Glob(filepath.Join(dir, pattern))
		for _, path := range left {
			_ = os.Remove(path)
		}
	}
}

func (s store) path() string { return filepath.Join(s.dir, stateFile) }

// load reads the file. errCorrupt says that there was one of no use; a missing
// file is no error.
func (s store) load() (saved, bool, error) {
	file, err := os.Open(s.path())
	if errors.Is(err, fs.ErrNotExist) {
		return saved{}, false, nil
	}
	if err != nil {
		return saved{}, false, fmt.Errorf("%w: %w", ErrStateDir, err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return saved{}, false, fmt.Errorf("%w: %w", ErrStateDir, err)
	}
	if !info.Mode().IsRegular() || info.Size() > fileLimit {
		return saved{}, false, fmt.Errorf("read %s: %w: not a regular file of at most %d bytes", s.path(), errCorrupt, fileLimit)
	}
	data, err := os.ReadFile(s.path())
	if err != nil {
		return saved{}, false, fmt.Errorf("%w: %w", ErrStateDir, err)
	}
	kept, err := decodeSaved(data)
	if err != nil {
		return saved{}, false, fmt.Errorf("read %s: %w: %w", s.path(), errCorrupt, err)
	}
	return kept, true, nil
}

func decodeSaved(data []byte) (saved, error) {
	var outer envelope
	if err := json.Unmarshal(data, &outer); err != nil {
		// The causes of JSON errors may quote the input, which holds keys.
		return saved{}, errors.New("not JSON")
	}
	if outer.Version != fileVersion {
		return saved{}, fmt.Errorf("version %d, want %d", outer.Version, fileVersion)
	}
	if outer.Sum != sum(outer.Body) {
		return saved{}, errors.New("checksum does not match")
	}
	var kept saved
	if err := json.Unmarshal(outer.Body, &kept); err != nil {
		return saved{}, errors.New("fields do not decode")
	}
	if kept.ClientID == uuid.Nil || kept.Identity.Node.IsZero() || kept.User.ID == uuid.Nil || kept.Suffix == "" {
		return saved{}, errors.New("fields are missing")
	}
	if err := checkPlaces(kept.Places); err != nil {
		return saved{}, err
	}
	return kept, nil
}

// save replaces the file in one step, which a power cut does not undo.
func (s store) save(kept saved) error {
	body, err := json.Marshal(kept)
	if err != nil {
		return fmt.Errorf("encode state: %w", err)
	}
	data, err := json.Marshal(envelope{Version: fileVersion, Sum: sum(body), Body: body})
	if err != nil {
		return fmt.Errorf("encode state: %w", err)
	}
	file, err := os.CreateTemp(s.dir, tempPattern)
	if err != nil {
		return fmt.Errorf("save state: %w", err)
	}
	defer os.Remove(file.Name()) // fails after the rename, as it should
	_, writeErr := file.Write(data)
	if err := errors.Join(writeErr, file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("save state: %w", err)
	}
	if err := os.Rename(file.Name(), s.path()); err != nil {
		return fmt.Errorf("save state: %w", err)
	}
	if err := syncDir(s.dir); err != nil {
		return fmt.Errorf("save state: sync directory: %w", err)
	}
	return nil
}

func sum(data []byte) string {
	digest := sha256.Sum256(data)
	return hex.EncodeToString(digest[:])
}

// tokenSum recognises a token without keeping it. A session token has far too
// many bits to be guessed from its hash.
func tokenSum(token Token) string { return sum([]byte("causeway token\x00" + string(token))) }

// belongs says whether what was kept is of this profile.
func (k saved) belongs(profile Profile) bool {
	if k.URL != profile.URL.String() {
		return false
	}
	if profile.User.ID != uuid.Nil {
		return k.User.ID == profile.User.ID
	}
	return k.TokenSum == tokenSum(profile.Token)
}

// fresh is a new identity for a profile.
func fresh(profile Profile) saved {
	return saved{URL: profile.URL.String(), TokenSum: tokenSum(profile.Token), ClientID: uuid.New(), Identity: tailnet.NewIdentity()}
}
