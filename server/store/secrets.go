package store

import (
	"context"
	"crypto/rand"
	"fmt"
)

// Names of the server's own secrets.
const (
	// SecretResumeKey signs resume tokens: 64 bytes for HS512.
	SecretResumeKey = "resume-signing-key"
	// SecretRelayKey is the private key of the embedded relay: 32 bytes.
	SecretRelayKey = "relay-private-key"
)

// ServerSecret reads one of the server's own secrets. The first call makes it:
// size random bytes. All processes get the same value.
func (s *Store) ServerSecret(ctx context.Context, name string, size int) ([]byte, error) {
	fresh := make([]byte, size)
	rand.Read(fresh)
	_, err := s.db.ExecContext(ctx, "INSERT INTO server_secrets (name, value, created_at) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING",
		name, fresh, millis(now()))
	if err != nil {
		return nil, fmt.Errorf("create server secret %s: %w", name, storageCause(err))
	}
	var value []byte
	if err := s.db.QueryRowContext(ctx, "SELECT value FROM server_secrets WHERE name = $1", name).Scan(&value); err != nil {
		return nil, fmt.Errorf("read server secret %s: %w", name, missing(err))
	}
	if len(value) != size {
		return nil, fmt.Errorf("read server secret %s: %d bytes, want %d: %w", name, len(value), size, ErrCorrupt)
	}
	return value, nil
}
