package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"log/slog"
	"time"
)

// resumeSecretSize is the block of HS512, in bytes.
const resumeSecretSize = 64

// ResumeKey signs and verifies resume tokens.
type ResumeKey struct {
	ID        string
	Secret    ResumeSecret
	CreatedAt time.Time
}

// ResumeSecret is the key itself. It prints as redacted.
type ResumeSecret []byte

// String hides the secret.
func (ResumeSecret) String() string { return "[redacted]" }

// GoString hides the secret.
func (s ResumeSecret) GoString() string { return s.String() }

// LogValue hides the secret.
func (s ResumeSecret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText hides the secret from encoders.
func (s ResumeSecret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Rotation says when keys come and go.
type Rotation struct {
	// Every is the age at which the newest key gets a successor.
	Every time.Duration
	// Keep is how long a key still verifies once it has a successor: no less
	// than the life of a token that it has signed.
	Keep time.Duration
}

// due says whether a new key is needed, and which keys have had their time. The
// keys come newest first, and so does no key at all.
func (r Rotation) due(keys []ResumeKey, at time.Time) (add bool, drop []ResumeKey) {
	add = len(keys) == 0 || at.Sub(keys[0].CreatedAt) >= r.Every
	for i, key := range keys {
		// keys[i-1] is the successor: since then this one has signed nothing.
		if i > 0 && at.Sub(keys[i-1].CreatedAt) >= r.Keep {
			drop = append(drop, key)
		}
	}
	return add, drop
}

// ResumeKeys lists the keys, the newest first, after it has made and dropped
// those that are due. All processes see the same ones. It writes only when
// something is due.
func (s *Store) ResumeKeys(ctx context.Context, rotation Rotation) ([]ResumeKey, error) {
	keys, err := listResumeKeys(ctx, s.db)
	if err != nil {
		return nil, err
	}
	if add, drop := rotation.due(keys, now()); !add && len(drop) == 0 {
		return keys, nil
	}
	return s.rotate(ctx, rotation.due)
}

// RotateResumeKeys makes a new key now. The old ones stay for as long as the
// rotation keeps them, or go at once: then no token that exists is good any more.
func (s *Store) RotateResumeKeys(ctx context.Context, rotation Rotation, dropOld bool) ([]ResumeKey, error) {
	return s.rotate(ctx, func(keys []ResumeKey, at time.Time) (bool, []ResumeKey) {
		if dropOld {
			return true, keys
		}
		_, drop := rotation.due(keys, at)
		return true, drop
	})
}

// rotate does what plan says, which looks at what no other process changes meanwhile.
func (s *Store) rotate(ctx context.Context, plan func([]ResumeKey, time.Time) (bool, []ResumeKey)) ([]ResumeKey, error) {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("rotate resume keys: %w", storageCause(err))
	}
	defer tx.Rollback() //nolint:errcheck // after a commit there is nothing to roll back
	keys, err := listResumeKeys(ctx, tx)
	if err != nil {
		return nil, err
	}
	add, drop := plan(keys, now())
	for _, key := range drop {
		if _, err := tx.ExecContext(ctx, "DELETE FROM resume_keys WHERE id = $1", key.ID); err != nil {
			return nil, fmt.Errorf("drop resume key: %w", storageCause(err))
		}
	}
	if add {
		// The newest signs, also when the clock was set back since the last one.
		created := millis(now())
		if len(keys) > 0 {
			created = max(created, millis(keys[0].CreatedAt)+1)
		}
		id, secret := make([]byte, idBytes), make([]byte, resumeSecretSize)
		rand.Read(id)
		rand.Read(secret)
		_, err := tx.ExecContext(ctx, "INSERT INTO resume_keys (id, secret, created_at) VALUES ($1, $2, $3)", tokenEncoding.EncodeToString(id), secret, created)
		if err != nil {
			return nil, fmt.Errorf("create resume key: %w", storageCause(err))
		}
	}
	if keys, err = listResumeKeys(ctx, tx); err != nil {
		return nil, err
	}
	if err := tx.Commit(); err != nil {
		return nil, fmt.Errorf("rotate resume keys: %w", storageCause(err))
	}
	return keys, nil
}

type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

func listResumeKeys(ctx context.Context, from querier) ([]ResumeKey, error) {
	rows, err := from.QueryContext(ctx, "SELECT id, secret, created_at FROM resume_keys ORDER BY created_at DESC, id")
	keys, err := collect(rows, err, func(row scanner) (ResumeKey, error) {
		var key ResumeKey
		var created int64
		err := row.Scan(&key.ID, (*[]byte)(&key.Secret), &created)
		key.CreatedAt = fromMillis(created)
		return key, err
	})
	if err != nil {
		return nil, fmt.Errorf("list resume keys: %w", err)
	}
	for _, key := range keys {
		if len(key.Secret) != resumeSecretSize {
			return nil, fmt.Errorf("list resume keys: key %s has %d bytes, want %d: %w", key.ID, len(key.Secret), resumeSecretSize, ErrCorrupt)
		}
	}
	return keys, nil
}
