package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"
)

// ErrWrongPassword: no such user, no such password, or no such code. Which of
// them is nobody's business.
var ErrWrongPassword = errors.New("the user name, the password or the one-time code is wrong")

const (
	// passwordLeast is more than the 8 of NIST SP 800-63B, 5.1.1.2: here is no
	// second factor, and no list of passwords that others have lost.
	passwordLeast = 12
	// PasswordMost bounds the work of one hash. NIST asks for 64 at least.
	PasswordMost = 1024
)

// PasswordError says why a password cannot be set. It never names the password.
type PasswordError struct{ Problem string }

func (e *PasswordError) Error() string { return "the password is not valid: " + e.Problem }

// CheckPassword says whether a user may have a password: nil or a *PasswordError.
func CheckPassword(user, password string) error {
	length := utf8.RuneCountInString(password)
	switch {
	case !utf8.ValidString(password):
		return &PasswordError{"it is not UTF-8 text"}
	case length < passwordLeast:
		return &PasswordError{fmt.Sprintf("it has %d characters; use %d or more, such as four words", length, passwordLeast)}
	case len(password) > PasswordMost:
		return &PasswordError{fmt.Sprintf("it has %d bytes; use at most %d", len(password), PasswordMost)}
	case strings.ContainsFunc(password, func(char rune) bool { return char < ' ' || char == 0x7f }):
		return &PasswordError{"it has a control character, such as a line break; use one line of text"}
	case strings.Count(password, password[:1]) == len(password):
		return &PasswordError{"it is one character many times; use four words or more"}
	case user != "" && strings.Trim(strings.ReplaceAll(nameKey(password), nameKey(user), ""), "0123456789-_. ") == "":
		return &PasswordError{"it is the user's name; use four words or more"}
	}
	return nil
}

// SetPassword gives a user a password, and ends its sessions and its one-time
// code. API tokens stay. A bad one is a *PasswordError.
func (s *Store) SetPassword(ctx context.Context, user User, password string) error {
	if err := CheckPassword(user.Name, password); err != nil {
		return err
	}
	hash, err := s.hasher.hash(ctx, password)
	if err != nil {
		return err
	}
	err = s.inTransaction(ctx, func(tx *sql.Tx) error {
		for _, query := range []string{"DELETE FROM sessions WHERE user_id = $1", "DELETE FROM one_time_codes WHERE user_id = $1"} {
			if _, err := tx.ExecContext(ctx, query, idText(user.ID)); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO passwords (user_id, hash, changed_at) VALUES ($1, $2, $3)
			ON CONFLICT (user_id) DO UPDATE SET hash = excluded.hash, changed_at = excluded.changed_at`, idText(user.ID), hash, millis(now()))
		return err
	})
	if err != nil {
		return fmt.Errorf("set password of user %q: %w", user.Name, err)
	}
	return nil
}

func (s *Store) inTransaction(ctx context.Context, work func(*sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return storageCause(err)
	}
	defer tx.Rollback() //nolint:errcheck // after a commit there is nothing to roll back
	if err := work(tx); err != nil {
		return storageCause(err)
	}
	return storageCause(tx.Commit())
}

// AuthenticatePassword finds the user that a name and a password belong to. It
// fails with ErrWrongPassword; any other error is the database's or the
// context's. Every failure costs one hash, whoever is asked for.
func (s *Store) AuthenticatePassword(ctx context.Context, name, password string) (Proof, error) {
	if len(password) > PasswordMost {
		return Proof{}, ErrWrongPassword
	}
	user, err := s.UserByName(ctx, name)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return Proof{}, err
	}
	var hash string
	var changed int64
	err = s.db.QueryRowContext(ctx, "SELECT hash, changed_at FROM passwords WHERE user_id = $1", idText(user.ID)).Scan(&hash, &changed)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return Proof{}, fmt.Errorf("read password of user %q: %w", name, storageCause(err))
	}
	good, outdated, err := s.hasher.check(ctx, hash, password)
	switch {
	case err != nil:
		return Proof{}, err
	case !good:
		return Proof{}, ErrWrongPassword
	case outdated:
		// Not worth refusing anybody: the next time tries again.
		_ = s.renewHash(ctx, user.ID, hash, password)
	}
	return Proof{user, changed}, nil
}

// renewHash replaces a hash by one of today's cost. It is the same password, so
// nothing ends by it.
func (s *Store) renewHash(ctx context.Context, user uuid.UUID, old, password string) error {
	hash, err := s.hasher.hash(ctx, password)
	if err != nil {
		return err
	}
	_, err = s.db.ExecContext(ctx, "UPDATE passwords SET hash = $1 WHERE user_id = $2 AND hash = $3", hash, idText(user), old)
	return storageCause(err)
}

// RevokeUserTokens revokes all API tokens of a user, and says how many.
func (s *Store) RevokeUserTokens(ctx context.Context, user uuid.UUID) (int64, error) {
	result, err := s.db.ExecContext(ctx, "UPDATE tokens SET revoked_at = $1 WHERE user_id = $2 AND revoked_at = 0", millis(now()), idText(user))
	if err != nil {
		return 0, fmt.Errorf("revoke tokens of user %s: %w", user, storageCause(err))
	}
	return result.RowsAffected()
}
