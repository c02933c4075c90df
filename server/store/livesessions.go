package store

import (
	"context"
	"encoding/hex"
	"fmt"
)

// SessionID names a session without being good for one: its hash.
func SessionID(secret string) string { return sessionID(hashSecret(secret)) }

func sessionID(hash []byte) string { return "session " + hex.EncodeToString(hash) }

// LiveSessions are the ids of all sessions that are good now.
func (s *Store) LiveSessions(ctx context.Context) (map[string]struct{}, error) {
	at := now()
	rows, err := s.db.QueryContext(ctx, "SELECT hash FROM sessions WHERE created_at > $1 AND seen_at > $2",
		millis(at.Add(-SessionLife)), millis(at.Add(-SessionIdle)))
	hashes, err := collect(rows, err, func(row scanner) (hash []byte, err error) { return hash, row.Scan(&hash) })
	if err != nil {
		return nil, fmt.Errorf("list live sessions: %w", err)
	}
	set := make(map[string]struct{}, len(hashes))
	for _, hash := range hashes {
		set[sessionID(hash)] = struct{}{}
	}
	return set, nil
}
