package store

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"time"

	"github.com/google/uuid"
)

// StatsMemory is how long lines of statistics are kept: with one each 5 minutes
// that is 576 of each agent.
const StatsMemory = 48 * time.Hour

// AgentStats is one line of an agent's statistics. Packets and bytes are those
// since the line before; the rest is as it was then.
type AgentStats struct {
	Agent       uuid.UUID
	At          time.Time
	Connections int64
	// Latency is the median to the peers, negative when it is not known.
	Latency                                                     time.Duration
	RxPackets, RxBytes, TxPackets, TxBytes                      int64
	SessionsVSCode, SessionsJetBrains, SessionsPTY, SessionsSSH int64
}

func insertStats(ctx context.Context, tx *sql.Tx, line AgentStats) error {
	latency := line.Latency.Microseconds()
	if line.Latency < 0 {
		latency = -1
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO agent_stats (agent_id, at, connections, latency_micros, rx_packets, rx_bytes, tx_packets, tx_bytes,
			sessions_vscode, sessions_jetbrains, sessions_pty, sessions_ssh)
		SELECT agents.id, CAST($2 AS BIGINT), CAST($3 AS BIGINT), CAST($4 AS BIGINT), CAST($5 AS BIGINT), CAST($6 AS BIGINT), CAST($7 AS BIGINT),
			CAST($8 AS BIGINT), CAST($9 AS BIGINT), CAST($10 AS BIGINT), CAST($11 AS BIGINT), CAST($12 AS BIGINT) FROM agents WHERE agents.id = $1
		ON CONFLICT (agent_id, at) DO NOTHING`,
		idText(line.Agent), millis(line.At), line.Connections, latency, line.RxPackets, line.RxBytes, line.TxPackets, line.TxBytes,
		line.SessionsVSCode, line.SessionsJetBrains, line.SessionsPTY, line.SessionsSSH)
	return err
}

// Stats lists the lines of an agent's statistics since a time, oldest first.
func (s *Store) Stats(ctx context.Context, agent uuid.UUID, since time.Time) ([]AgentStats, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT at, connections, latency_micros, rx_packets, rx_bytes, tx_packets, tx_bytes,
			sessions_vscode, sessions_jetbrains, sessions_pty, sessions_ssh FROM agent_stats WHERE agent_id = $1 AND at >= $2 ORDER BY at`,
		idText(agent), millis(since))
	list, err := collect(rows, err, func(row scanner) (AgentStats, error) {
		line := AgentStats{Agent: agent}
		var at, latency int64
		err := row.Scan(&at, &line.Connections, &latency, &line.RxPackets, &line.RxBytes, &line.TxPackets, &line.TxBytes,
			&line.SessionsVSCode, &line.SessionsJetBrains, &line.SessionsPTY, &line.SessionsSSH)
		line.At, line.Latency = fromMillis(at), time.Duration(latency)*time.Microsecond
		return line, err
	})
	if err != nil {
		return nil, fmt.Errorf("list statistics of agent %s: %w", agent, err)
	}
	return list, nil
}

// statsSumMost keeps sums of an agent's own figures in range.
const statsSumMost = math.MaxInt64 >> 8

// Add takes a later report into the line.
func (a *AgentStats) Add(later AgentStats) {
	rxPackets, rxBytes, txPackets, txBytes := a.RxPackets, a.RxBytes, a.TxPackets, a.TxBytes
	*a = later
	a.RxPackets = min(a.RxPackets+rxPackets, statsSumMost)
	a.RxBytes = min(a.RxBytes+rxBytes, statsSumMost)
	a.TxPackets = min(a.TxPackets+txPackets, statsSumMost)
	a.TxBytes = min(a.TxBytes+txBytes, statsSumMost)
}
