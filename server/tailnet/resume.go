package tailnetsvc

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/causewayhq/causeway/proto/tailnetv2"
)

const (
	// ResumeLife is how long a resume token is good for.
	ResumeLife = 24 * time.Hour
	// resumeSecretSize is the size of a secret in bytes: the block of HS512.
	resumeSecretSize = 64
	// resumeTokenLimit bounds, in bytes, what is parsed at all.
	resumeTokenLimit = 4 << 10
)

var (
	// ErrResumeTooOld is what Verify answers to a token without a key id. Such
	// a client is not refused: it quietly gets a fresh peer id.
	ErrResumeTooOld = errors.New("resume token has no key id")
	// ErrResumeToken is wrapped by every other refusal of a token.
	ErrResumeToken = errors.New("invalid resume token")
)

// Key signs resume tokens. The caller persists it, or tokens end with the process.
type Key struct {
	ID     string
	Secret []byte // 64 random bytes
}

// String hides the secret.
func (k Key) String() string { return "resume key " + k.ID }

// GoString hides the secret.
func (k Key) GoString() string { return k.String() }

// NewKey makes a random key.
func NewKey() Key {
	secret := make([]byte, resumeSecretSize)
	rand.Read(secret) // never fails
	return Key{ID: uuid.NewString(), Secret: secret}
}

// ResumeKeys issues and verifies resume tokens: compact JWS, HS512. It is safe
// for concurrent use, with Replace as well.
type ResumeKeys struct{ set atomic.Pointer[keySet] }

// keySet is what verifies, and the signer with the first of them.
type keySet struct {
	signer jose.Signer
	byID   map[string][]byte
}

// NewResumeKeys takes the keys that verify; the first one also signs. To
// rotate, put a new key first and keep the old one for ResumeLife.
func NewResumeKeys(keys ...Key) (*ResumeKeys, error) {
	result := &ResumeKeys{}
	return result, result.Replace(keys...)
}

// Replace takes other keys from now on. Those that are not among them verify
// nothing any more. After an error the old ones stay.
func (r *ResumeKeys) Replace(keys ...Key) error {
	if len(keys) == 0 {
		return errors.New("use resume keys: no key")
	}
	set := &keySet{byID: map[string][]byte{}}
	for _, key := range keys {
		if key.ID == "" || len(key.Secret) != resumeSecretSize {
			return fmt.Errorf("use resume keys: key %q: want an id and a secret of %d bytes", key.ID, resumeSecretSize)
		}
		set.byID[key.ID] = key.Secret
	}
	options := (&jose.SignerOptions{}).WithHeader("kid", keys[0].ID)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS512, Key: keys[0].Secret}, options)
	if err != nil {
		return fmt.Errorf("use resume keys: %w", err)
	}
	set.signer = signer
	r.set.Store(set)
	return nil
}

// resumeClaims is the payload. Owner is ours: it makes a token that was stolen
// from another user worthless. A token without it is not bound.
type resumeClaims struct {
	Subject string `json:"sub"`
	Expires int64  `json:"exp"` // unix seconds
	Owner   string `json:"own,omitempty"`
}

// Issue makes a token for the peer of that id, good for its owner only.
func (r *ResumeKeys) Issue(peerID, ownerID uuid.UUID) (*tailnetv2.RefreshResumeTokenResponse, error) {
	expires := time.Now().Add(ResumeLife).Truncate(time.Second)
	payload, err := json.Marshal(resumeClaims{Subject: peerID.String(), Expires: expires.Unix(), Owner: ownerID.String()})
	if err != nil {
		return nil, fmt.Errorf("marshal resume claims: %w", err)
	}
	signed, err := r.set.Load().signer.Sign(payload)
	if err != nil {
		return nil, fmt.Errorf("sign resume token: %w", err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		return nil, fmt.Errorf("serialise resume token: %w", err)
	}
	return &tailnetv2.RefreshResumeTokenResponse{
		Token: token, RefreshIn: durationpb.New(ResumeLife / 2), ExpiresAt: timestamppb.New(expires),
	}, nil
}

// Verify gives the peer id of a token that ownerID presents. The error wraps
// ErrResumeToken, and its text may be shown to the client; or it is
// ErrResumeTooOld.
func (r *ResumeKeys) Verify(token string, ownerID uuid.UUID) (uuid.UUID, error) {
	if len(token) > resumeTokenLimit {
		return uuid.Nil, fmt.Errorf("token is too long: %w", ErrResumeToken)
	}
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.HS512})
	if err != nil {
		// The cause may quote the token.
		return uuid.Nil, fmt.Errorf("token is malformed or not HS512: %w", ErrResumeToken)
	}
	if len(signed.Signatures) != 1 {
		return uuid.Nil, fmt.Errorf("want exactly one signature: %w", ErrResumeToken)
	}
	keyID := signed.Signatures[0].Header.KeyID
	if keyID == "" {
		return uuid.Nil, ErrResumeTooOld
	}
	secret, found := r.set.Load().byID[keyID]
	if !found {
		return uuid.Nil, fmt.Errorf("key is not known: %w", ErrResumeToken)
	}
	payload, err := signed.Verify(secret)
	if err != nil {
		return uuid.Nil, fmt.Errorf("signature does not verify: %w", ErrResumeToken)
	}
	var claims resumeClaims
	if err := json.Unmarshal(payload, &claims); err != nil {
		return uuid.Nil, fmt.Errorf("claims are malformed: %w", ErrResumeToken)
	}
	// Good up to and including the second of expiry.
	if time.Now().After(time.Unix(claims.Expires, 0)) {
		return uuid.Nil, fmt.Errorf("token has expired: %w", ErrResumeToken)
	}
	if claims.Owner != "" && claims.Owner != ownerID.String() {
		return uuid.Nil, fmt.Errorf("token belongs to another user: %w", ErrResumeToken)
	}
	peerID, err := uuid.Parse(claims.Subject)
	if err != nil || len(claims.Subject) != len(uuid.Nil.String()) {
		return uuid.Nil, fmt.Errorf("subject is not a peer id: %w", ErrResumeToken)
	}
	return peerID, nil
}
