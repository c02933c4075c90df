package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// Proof is a user who has shown who it is: by a password, a one-time code or a
// session. It is worth nothing once the user's password has been changed, as
// whoever has shown it may have been the reason for that.
type Proof struct {
	User    User
	changed int64 // when the password was set, in milliseconds; 0 for never
}

// ErrProofEnded: the user is gone, or has another password by now.
var ErrProofEnded = errors.New("the user is gone, or has changed the password since")

// holds says whether a proof is worth something still. What is made by a proof is
// made first and asked about here then: a change of the password is either seen,
// or comes later and ends what was made with everything else.
func (s *Store) holds(ctx context.Context, proof Proof) error {
	changed, err := s.passwordTime(ctx, proof.User.ID)
	if err == nil && changed != proof.changed {
		err = ErrProofEnded
	}
	return err
}

// passwordTime is when a user's password was set, 0 for never. A user that is not
// there is ErrProofEnded.
func (s *Store) passwordTime(ctx context.Context, user uuid.UUID) (int64, error) {
	var changed int64
	err := s.db.QueryRowContext(ctx, "SELECT COALESCE(passwords.changed_at, 0) FROM users LEFT JOIN passwords ON passwords.user_id = users.id WHERE users.id = $1",
		idText(user)).Scan(&changed)
	switch err := missing(err); {
	case errors.Is(err, ErrNotFound):
		return 0, ErrProofEnded
	case err != nil:
		return 0, fmt.Errorf("read password of user %s: %w", user, err)
	}
	return changed, nil
}

// CreateProvenToken makes a token for who has shown who it is. A proof that is
// worth nothing any more is ErrProofEnded.
func (s *Store) CreateProvenToken(ctx context.Context, proof Proof, name string, lifetime time.Duration) (Token, Secret, error) {
	if err := s.holds(ctx, proof); err != nil {
		return Token{}, Secret{}, err
	}
	token, secret, err := s.CreateUserToken(ctx, proof.User.ID, name, lifetime)
	if err != nil {
		return Token{}, Secret{}, err
	}
	if err := s.holds(ctx, proof); err != nil {
		return Token{}, Secret{}, errors.Join(err, s.RevokeToken(context.WithoutCancel(ctx), token.ID))
	}
	return token, secret, nil
}
