package store

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
)

// argonCost is what one guess costs. A hash names its own, so that a later
// version may ask for more and hashes of before still work.
type argonCost struct {
	memory  uint32 // KiB
	passes  uint32
	threads uint8
}

// currentCost is the second of the equal choices for argon2id in OWASP's
// Password Storage Cheat Sheet (19 MiB, 2 passes, 1 thread). RFC 9106 would like
// 64 MiB; a control plane runs on small machines too, and guesses over the net
// are limited by their number.
var currentCost = argonCost{memory: 19 << 10, passes: 2, threads: 1}

const (
	saltBytes = 16 // RFC 9106, section 3.1
	hashBytes = 32
	// hashTurns is how many hashes are made at once: 4 times 19 MiB.
	hashTurns = 4
	// costLimit bounds what a hash in the database may ask for, in KiB.
	costLimit = 1 << 20
)

// hasher makes and checks hashes of passwords, few at a time.
type hasher struct {
	turns  chan struct{}
	derive func(password, salt []byte, cost argonCost, size int) []byte
}

func newHasher() *hasher {
	return &hasher{turns: make(chan struct{}, hashTurns), derive: deriveArgon}
}

func deriveArgon(password, salt []byte, cost argonCost, size int) []byte {
	return argon2.IDKey(password, salt, cost.passes, cost.memory, cost.threads, uint32(size)) //nolint:gosec // sizes of ours
}

// work waits for a turn, and makes one hash.
func (h *hasher) work(ctx context.Context, password string, salt []byte, cost argonCost, size int) ([]byte, error) {
	select {
	case h.turns <- struct{}{}:
		defer func() { <-h.turns }()
		return h.derive([]byte(password), salt, cost, size), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// hash gives the PHC form of a password under a new salt.
func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	salt := make([]byte, saltBytes)
	rand.Read(salt)
	sum, err := h.work(ctx, password, salt, currentCost, hashBytes)
	if err != nil {
		return "", fmt.Errorf("hash password: %w", err)
	}
	return encodePHC(currentCost, salt, sum), nil
}

// check says whether a password is the one of a hash, and whether that hash is
// of another cost than a new one. No hash at all ("") costs as much as a wrong
// password, so that nobody learns who has one.
func (h *hasher) check(ctx context.Context, encoded, password string) (good, outdated bool, err error) {
	cost, salt, want := currentCost, make([]byte, saltBytes), make([]byte, hashBytes)
	if encoded != "" {
		if cost, salt, want, err = decodePHC(encoded); err != nil {
			return false, false, err
		}
	}
	got, err := h.work(ctx, password, salt, cost, len(want))
	if err != nil {
		return false, false, fmt.Errorf("check password: %w", err)
	}
	same := subtle.ConstantTimeCompare(got, want) == 1
	return same && encoded != "", cost != currentCost, nil
}

func encodePHC(cost argonCost, salt, sum []byte) string {
	text := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, cost.memory, cost.passes, cost.threads, text(salt), text(sum))
}

var errHashForm = errors.New("read password hash: it is not in the form $argon2id$v=19$m=,t=,p=$salt$hash")

func decodePHC(encoded string) (cost argonCost, salt, sum []byte, err error) {
	parts := strings.Split(encoded, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return cost, nil, nil, errHashForm
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &cost.memory, &cost.passes, &cost.threads); err != nil {
		return cost, nil, nil, errHashForm
	}
	salt, saltErr := base64.RawStdEncoding.DecodeString(parts[4])
	sum, sumErr := base64.RawStdEncoding.DecodeString(parts[5])
	if saltErr != nil || sumErr != nil || len(salt) < 8 || len(sum) < 16 || len(sum) > 64 ||
		cost.memory > costLimit || cost.passes < 1 || cost.passes > 64 || cost.threads < 1 {
		return cost, nil, nil, errHashForm
	}
	return cost, salt, sum, nil
}
