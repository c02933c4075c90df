package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
)

// Names of the server's own secrets.
const (
	// SecretRelayKey is the private key of the embedded relay: 32 bytes.
	SecretRelayKey = "relay-private-key"
)

// SettingAccessURL is the URL under which the server last ran; subcommands
// print it in the commands that they suggest.
const SettingAccessURL = "access-url"

// Setting reads a value that SetSetting has written, "" when there is none.
func (s *Store) Setting(ctx context.Context, name string) (string, error) {
	var value string
	err := missing(s.db.QueryRowContext(ctx, "SELECT value FROM settings WHERE name = $1", name).Scan(&value))
	if err != nil && !errors.Is(err, ErrNotFound) {
		return "", fmt.Errorf("read setting %s: %w", name, err)
	}
	return value, nil
}

// SetSetting keeps a value under a name.
func (s *Store) SetSetting(ctx context.Context, name, value string) error {
	_, err := s.db.ExecContext(ctx, "INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value", name, value)
	if err != nil {
		return fmt.Errorf("write setting %s: %w", name, storageCause(err))
	}
	return nil
}

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
