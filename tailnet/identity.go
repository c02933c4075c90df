package tailnet

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"

	"go4.org/mem"
	"tailscale.com/types/key"
)

// Identity is what makes this node the same one after a restart: a peer goes
// on using its sessions with these keys, at this UDP port. The caller keeps it.
type Identity struct {
	Node  key.NodePrivate
	Disco key.DiscoPrivate
	// Port is the UDP port to listen on, 0 for any. Engine.Identity says which
	// one it became.
	Port uint16

	// discoRaw is the disco key in the form that can be written down:
	// upstream's type does not give its bytes back.
	discoRaw [32]byte
}

// NewIdentity makes new keys. The port is 0.
func NewIdentity() Identity {
	// A node key gives us 32 clamped random bytes that can be read, which is
	// what a disco key is made of.
	raw := key.NewNode().Raw32()
	return Identity{Node: key.NewNode(), Disco: key.DiscoPrivateFromRaw32(mem.B(raw[:])), discoRaw: raw}
}

// identityFile is the form on disk.
type identityFile struct {
	Node  key.NodePrivate `json:"node"`
	Disco string          `json:"disco"`
	Port  uint16          `json:"port"`
}

// MarshalJSON writes the private keys: the result belongs in a file that only
// its owner can read.
func (id Identity) MarshalJSON() ([]byte, error) {
	if id.Node.IsZero() || id.discoRaw == [32]byte{} {
		return nil, errors.New("write identity: a key is missing, or was not made by NewIdentity")
	}
	return json.Marshal(identityFile{Node: id.Node, Disco: hex.EncodeToString(id.discoRaw[:]), Port: id.Port})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (id *Identity) UnmarshalJSON(data []byte) error {
	var file identityFile
	if err := json.Unmarshal(data, &file); err != nil {
		// The cause may quote the input, which holds the keys.
		return errors.New("read identity: not the JSON of an identity")
	}
	raw, err := hex.DecodeString(file.Disco)
	if err != nil || len(raw) != 32 || file.Node.IsZero() {
		return errors.New("read identity: a key is missing or malformed")
	}
	read := Identity{Node: file.Node, Disco: key.DiscoPrivateFromRaw32(mem.B(raw)), Port: file.Port, discoRaw: [32]byte(raw)}
	if read.Disco.IsZero() {
		return errors.New("read identity: the disco key is zero")
	}
	*id = read
	return nil
}

// LogValue keeps the keys out of logs.
func (id Identity) LogValue() slog.Value {
	return slog.StringValue(id.String())
}

// String names the node by its public key only.
func (id Identity) String() string {
	if id.Node.IsZero() {
		return "identity(none)"
	}
	return fmt.Sprintf("identity(%s port %d)", id.Node.Public().ShortString(), id.Port)
}
