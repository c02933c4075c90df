package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// ConnectionType is what a connection into a workspace is for, numbered as on
// the wire.
type ConnectionType int64

var connectionNames = [...]string{"unspecified", "ssh", "vscode", "jetbrains", "reconnecting_pty"}

// Valid says whether it is a type at all.
func (t ConnectionType) Valid() bool { return t > 0 && int(t) < len(connectionNames) }

// String is the name that clients know.
func (t ConnectionType) String() string {
	if t < 0 || int(t) >= len(connectionNames) {
		return connectionNames[0]
	}
	return connectionNames[t]
}

// AgentConnection is one connection into a workspace.
type AgentConnection struct {
	ID   uuid.UUID
	Type ConnectionType
	IP   string
	// ConnectedAt is zero when only the end was reported.
	ConnectedAt time.Time
	// DisconnectedAt is zero while it is open.
	DisconnectedAt time.Time
	Code           int32
	Reason         string
}

const (
	// connectionsMost is how many connections of one agent are kept.
	connectionsMost = 1000
	// ConnectionMemory is for how long.
	ConnectionMemory = 90 * 24 * time.Hour
)

// OpenConnection records the beginning of a connection; its end may have come
// before. The same id again changes nothing.
func (s *Store) OpenConnection(ctx context.Context, agent uuid.UUID, connection AgentConnection) error {
	return s.noteConnection(ctx, agent, `INSERT INTO agent_connections (agent_id, connection_id, type, ip, connected_at, disconnected_at, status_code, reason, noted_at)
		VALUES ($1, $2, $3, $4, $5, 0, 0, '', $6)
		ON CONFLICT (agent_id, connection_id) DO UPDATE SET connected_at = $5, ip = $4 WHERE agent_connections.connected_at = 0`,
		idText(agent), idText(connection.ID), connection.Type, connection.IP, millis(connection.ConnectedAt), millis(now()))
}

// CloseConnection records the end of a connection, also of one whose beginning
// is not known. Of two ends the first counts.
func (s *Store) CloseConnection(ctx context.Context, agent uuid.UUID, connection AgentConnection) error {
	return s.noteConnection(ctx, agent, `INSERT INTO agent_connections (agent_id, connection_id, type, ip, connected_at, disconnected_at, status_code, reason, noted_at)
		VALUES ($1, $2, $3, $4, 0, $5, $6, $7, $8)
		ON CONFLICT (agent_id, connection_id) DO UPDATE SET disconnected_at = $5, status_code = $6, reason = $7, noted_at = $8 WHERE agent_connections.disconnected_at = 0`,
		idText(agent), idText(connection.ID), connection.Type, connection.IP, millis(connection.DisconnectedAt), connection.Code, connection.Reason, millis(now()))
}

func (s *Store) noteConnection(ctx context.Context, agent uuid.UUID, statement string, args ...any) error {
	err := s.reporting(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, statement, args...)
		if err != nil {
			return err
		}
		// Rows of servers that went by the agent's clock may be of the future.
		if _, err := tx.ExecContext(ctx, "UPDATE agent_connections SET noted_at = $2 WHERE agent_id = $1 AND noted_at > $2", idText(agent), millis(now())); err != nil {
			return err
		}
		// By index, and nothing to do for nearly all agents. What is old is told by our
		// own clock: an agent's may be wrong, or lie. What was noted in one millisecond
		// stays and goes together.
		_, err = tx.ExecContext(ctx, `DELETE FROM agent_connections WHERE agent_id = $1 AND noted_at <
			(SELECT noted_at FROM agent_connections WHERE agent_id = $1 ORDER BY noted_at DESC LIMIT 1 OFFSET $2)`, idText(agent), connectionsMost-1)
		return err
	})
	if err != nil {
		return fmt.Errorf("record connection of agent %s: %w", agent, err)
	}
	return nil
}

// Connections lists the connections into an agent that are known, the newest
// first; most is how many, 0 for all.
func (s *Store) Connections(ctx context.Context, agent uuid.UUID, openOnly bool, most int) ([]AgentConnection, error) {
	if most <= 0 || most > connectionsMost {
		most = connectionsMost
	}
	condition := ""
	if openOnly {
		condition = " AND disconnected_at = 0"
	}
	rows, err := s.db.QueryContext(ctx, `SELECT connection_id, type, ip, connected_at, disconnected_at, status_code, reason FROM agent_connections
		WHERE agent_id = $1`+condition+` ORDER BY noted_at DESC, connected_at DESC, connection_id LIMIT $2`, idText(agent), most)
	list, err := collect(rows, err, func(row scanner) (AgentConnection, error) {
		var one AgentConnection
		var connected, disconnected int64
		err := row.Scan(&one.ID, &one.Type, &one.IP, &connected, &disconnected, &one.Code, &one.Reason)
		one.ConnectedAt, one.DisconnectedAt = fromMillis(connected), fromMillis(disconnected)
		return one, err
	})
	if err != nil {
		return nil, fmt.Errorf("list connections of agent %s: %w", agent, err)
	}
	return list, nil
}

// PruneReports drops statistics and connections that are too old.
func (s *Store) PruneReports(ctx context.Context) error {
	at := now()
	var failures error
	for _, statement := range []struct {
		text string
		keep time.Duration
	}{
		{"DELETE FROM agent_stats WHERE at < $1", StatsMemory},
		{"DELETE FROM agent_connections WHERE noted_at < $1", ConnectionMemory},
	} {
		_, err := s.reports.ExecContext(ctx, statement.text, millis(at.Add(-statement.keep)))
		failures = errors.Join(failures, err)
	}
	if failures != nil {
		return fmt.Errorf("prune reports: %w", storageCause(failures))
	}
	return nil
}
