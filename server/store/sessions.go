package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

const (
	// SessionLife is how long a browser stays signed in at most.
	SessionLife = 12 * time.Hour
	// SessionIdle is how long it stays so unused.
	SessionIdle = 2 * time.Hour
	// seenStep is how coarse the last use is kept: a page seldom writes.
	seenStep = time.Minute
	// sessionsEach bounds the sessions of one user; the oldest go first.
	sessionsEach = 20
)

// SessionLength is the length of a session's secret.
var SessionLength = tokenEncoding.EncodedLen(secretBytes)

// CreateSession signs a browser in. The secret, which is the cookie's value, is
// returned here and nowhere else. A proof that is worth nothing any more is
// ErrProofEnded.
func (s *Store) CreateSession(ctx context.Context, proof Proof) (Secret, error) {
	user := proof.User.ID
	random := make([]byte, secretBytes)
	rand.Read(random)
	secret := tokenEncoding.EncodeToString(random)
	err := s.inTransaction(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO sessions (hash, user_id, created_at, seen_at) VALUES ($1, $2, $3, $3)", hashSecret(secret), idText(user), millis(now()))
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM sessions WHERE user_id = $1 AND hash NOT IN
			(SELECT hash FROM sessions WHERE user_id = $1 ORDER BY created_at DESC, seen_at DESC LIMIT $2)`, idText(user), sessionsEach)
		return err
	})
	if err != nil {
		return Secret{}, fmt.Errorf("create session: %w", err)
	}
	if err := s.holds(ctx, proof); err != nil {
		return Secret{}, errors.Join(err, s.EndSession(context.WithoutCancel(ctx), secret))
	}
	return Secret{secret}, nil
}

// SessionUser finds the user of a session and notes the use. A session that is
// not there, too old or unused for too long wraps ErrNotFound.
func (s *Store) SessionUser(ctx context.Context, secret string) (Proof, error) {
	at := now()
	var user User
	var admin, created, seen, changed int64
	row := s.db.QueryRowContext(ctx, "SELECT "+userColumns+`, sessions.seen_at, COALESCE(passwords.changed_at, 0)
		FROM sessions JOIN users ON users.id = sessions.user_id LEFT JOIN passwords ON passwords.user_id = users.id
		WHERE sessions.hash = $1 AND sessions.created_at > $2 AND sessions.seen_at > $3`,
		hashSecret(secret), millis(at.Add(-SessionLife)), millis(at.Add(-SessionIdle)))
	if err := row.Scan(append(user.fields(&admin, &created), &seen, &changed)...); err != nil {
		return Proof{}, fmt.Errorf("find session: %w", missing(err))
	}
	if at.Sub(fromMillis(seen)) >= seenStep {
		if _, err := s.db.ExecContext(ctx, "UPDATE sessions SET seen_at = $1 WHERE hash = $2", millis(at), hashSecret(secret)); err != nil {
			return Proof{}, fmt.Errorf("note use of session: %w", storageCause(err))
		}
	}
	return Proof{user.finish(admin, created), changed}, nil
}

// EndSession signs a browser out. One that is not there is none the worse.
func (s *Store) EndSession(ctx context.Context, secret string) error {
	if _, err := s.db.ExecContext(ctx, "DELETE FROM sessions WHERE hash = $1", hashSecret(secret)); err != nil {
		return fmt.Errorf("end session: %w", storageCause(err))
	}
	return nil
}

// endSessions signs every browser out and spends every one-time code.
func (s *Store) endSessions(ctx context.Context) error {
	for _, table := range []string{"sessions", "one_time_codes"} {
		if _, err := s.db.ExecContext(ctx, "DELETE FROM "+table); err != nil {
			return fmt.Errorf("end all sessions: %w", storageCause(err))
		}
	}
	return nil
}

// PruneSignIn drops the rows of sessions and one-time codes that have ended.
func (s *Store) PruneSignIn(ctx context.Context) error {
	at := now()
	_, err := s.db.ExecContext(ctx, "DELETE FROM sessions WHERE created_at <= $1 OR seen_at <= $2", millis(at.Add(-SessionLife)), millis(at.Add(-SessionIdle)))
	if err == nil {
		_, err = s.db.ExecContext(ctx, "DELETE FROM one_time_codes WHERE expires_at <= $1", millis(at))
	}
	if err != nil {
		return fmt.Errorf("prune sessions: %w", storageCause(err))
	}
	return nil
}
