package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"
	"unicode"
)

// CodeAlphabet is that of RFC 8628, 6.1: no vowels, so that no words come of it,
// and nothing that looks like something else.
const CodeAlphabet = "BCDFGHJKLMNPQRSTVWXZ"

const (
	// OneTimeLife is how long a one-time code is good.
	OneTimeLife = 10 * time.Minute
	// oneTimeLength gives 51 bits: a stolen database that is searched at 10^10
	// hashes a second needs days for a code that is good for minutes.
	oneTimeLength = 12
)

// NewCode is so many random characters of the alphabet, in groups of four.
func NewCode(length int) string {
	var text strings.Builder
	for at := range length {
		if at > 0 && at%4 == 0 {
			text.WriteByte('-')
		}
		// Int fails only when the system has no randomness, and then panics.
		index, _ := rand.Int(rand.Reader, big.NewInt(int64(len(CodeAlphabet))))
		text.WriteByte(CodeAlphabet[index.Int64()])
	}
	return text.String()
}

// NormalizeCode reads a code as people type it: without regard to case, spaces
// and dashes. It gives the bare characters, or "" when it is no code of that
// length.
func NormalizeCode(typed string, length int) string {
	// Room for a space or dash after each character, of four bytes at most.
	if len(typed) > length*8 {
		return ""
	}
	code := make([]byte, 0, length)
	for _, char := range typed {
		char = unicode.ToUpper(char)
		switch {
		case unicode.IsSpace(char) || unicode.Is(unicode.Pd, char) || char == '_' || char == '.':
		case len(code) < length && strings.ContainsRune(CodeAlphabet, char):
			code = append(code, byte(char))
		default:
			return ""
		}
	}
	if len(code) != length {
		return ""
	}
	return string(code)
}

// CreateOneTimeCode makes a code that signs a user in once. A new one replaces
// the one before. It is returned here and nowhere else.
func (s *Store) CreateOneTimeCode(ctx context.Context, user User) (Secret, time.Time, error) {
	code, created := NewCode(oneTimeLength), now()
	expires := created.Add(OneTimeLife)
	_, err := s.db.ExecContext(ctx, `INSERT INTO one_time_codes (user_id, hash, created_at, expires_at) VALUES ($1, $2, $3, $4)
		ON CONFLICT (user_id) DO UPDATE SET hash = excluded.hash, created_at = excluded.created_at, expires_at = excluded.expires_at`,
		idText(user.ID), hashSecret(NormalizeCode(code, oneTimeLength)), millis(created), millis(expires))
	if err != nil {
		return Secret{}, time.Time{}, fmt.Errorf("create one-time code of user %q: %w", user.Name, storageCause(err))
	}
	return Secret{code}, expires, nil
}

// UseOneTimeCode finds the user that a code belongs to, and spends it: of two
// callers at the same time one fails. It fails with ErrWrongPassword.
func (s *Store) UseOneTimeCode(ctx context.Context, name, typed string) (Proof, error) {
	code := NormalizeCode(typed, oneTimeLength)
	if code == "" {
		return Proof{}, ErrWrongPassword
	}
	user, err := s.UserByName(ctx, name)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return Proof{}, err
	}
	changed, err := s.passwordTime(ctx, user.ID)
	if err != nil && !errors.Is(err, ErrProofEnded) {
		return Proof{}, err
	}
	result, err := s.db.ExecContext(ctx, "DELETE FROM one_time_codes WHERE user_id = $1 AND hash = $2 AND expires_at > $3", idText(user.ID), hashSecret(code), millis(now()))
	switch err := affected(result, err); {
	case errors.Is(err, ErrNotFound):
		return Proof{}, ErrWrongPassword
	case err != nil:
		return Proof{}, fmt.Errorf("use one-time code of user %q: %w", name, err)
	}
	return Proof{user, changed}, nil
}
