package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
)

// What agents report is written on a connection of its own, the one that Watch
// looks with: SQLite does not count a connection's own writes as changes, so that
// the reports of thousands of agents wake nobody. What the subcommands and
// everybody else write still does.

// AgentReport is what an agent has said about itself, as far as it is one value.
type AgentReport struct {
	Version    string
	Directory  string // of the workspace, with ~ and variables expanded
	Subsystems []string
	// StartupAt is zero for an agent that has not reported yet.
	StartupAt time.Time
	Lifecycle LifecycleState
	// Run counts the starts of the agent.
	Run int64
	// StartedAt and ReadyAt are of this run, and zero before they happened.
	StartedAt, ReadyAt time.Time
	// LogsLength is in bytes, and of this run as LogsLines and LogsOverflowed.
	LogsLength, LogsLines int64
	LogsOverflowed        bool
	lastLog               int64
}

const reportColumns = "version, expanded_directory, subsystems, startup_at, lifecycle_state, run, started_at, ready_at, last_log_id, logs_length, logs_lines, logs_overflowed"

// rowReader is a database or a transaction.
type rowReader interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// readReport gives an empty report for an agent that has none.
func readReport(ctx context.Context, from rowReader, agent uuid.UUID) (AgentReport, error) {
	var report AgentReport
	var subsystems string
	var startup, started, ready, overflowed int64
	err := from.QueryRowContext(ctx, "SELECT "+reportColumns+" FROM agent_reports WHERE agent_id = $1", idText(agent)).Scan(
		&report.Version, &report.Directory, &subsystems, &startup, &report.Lifecycle, &report.Run, &started, &ready,
		&report.lastLog, &report.LogsLength, &report.LogsLines, &overflowed)
	if errors.Is(err, sql.ErrNoRows) {
		return AgentReport{}, nil
	}
	if subsystems != "" {
		report.Subsystems = strings.Split(subsystems, ",")
	}
	report.StartupAt, report.StartedAt, report.ReadyAt = fromMillis(startup), fromMillis(started), fromMillis(ready)
	report.LogsOverflowed = overflowed != 0
	return report, err
}

func writeReport(ctx context.Context, tx *sql.Tx, agent uuid.UUID, report AgentReport) error {
	overflowed := 0
	if report.LogsOverflowed {
		overflowed = 1
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO agent_reports (agent_id, `+reportColumns+`)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
		ON CONFLICT (agent_id) DO UPDATE SET version = $2, expanded_directory = $3, subsystems = $4, startup_at = $5, lifecycle_state = $6,
			run = $7, started_at = $8, ready_at = $9, last_log_id = $10, logs_length = $11, logs_lines = $12, logs_overflowed = $13`,
		idText(agent), report.Version, report.Directory, strings.Join(report.Subsystems, ","), millis(report.StartupAt), report.Lifecycle,
		report.Run, millis(report.StartedAt), millis(report.ReadyAt), report.lastLog, report.LogsLength, report.LogsLines, overflowed)
	return err
}

// AgentReport reads what an agent has said about itself.
func (s *Store) AgentReport(ctx context.Context, agent uuid.UUID) (AgentReport, error) {
	report, err := readReport(ctx, s.db, agent)
	if err != nil {
		return AgentReport{}, fmt.Errorf("read report of agent %s: %w", agent, storageCause(err))
	}
	return report, nil
}

// Reports leave others a third of the time that they take, in pauses of at least
// reportsPause: SQLite gives waiting writers no turns, and a storm of reports
// without a pause would let nobody sign in for seconds.
const (
	reportsShare = 3
	reportsPause = 5 * time.Millisecond
)

// yield gives the turn back: at once, or after a pause that is due.
func (s *Store) yield(worked time.Duration) {
	s.owed += worked / reportsShare
	if s.owed < reportsPause {
		s.turns.Release(1)
		return
	}
	pause := s.owed
	s.owed = 0 // before somebody else has the turn
	time.AfterFunc(pause, func() { s.turns.Release(1) })
}

// reporting does one transaction on the connection of reports, in the order in
// which they were asked for. An agent that has been deleted meanwhile is
// ErrNotFound.
func (s *Store) reporting(ctx context.Context, work func(*sql.Tx) error) error {
	// The pool would choose at random, and let Watch wait behind all.
	if err := s.turns.Acquire(ctx, 1); err != nil {
		return err
	}
	tx, err := s.reports.BeginTx(ctx, nil)
	began := time.Now()
	defer func() { s.yield(time.Since(began)) }()
	if err != nil {
		return storageCause(err)
	}
	defer tx.Rollback() //nolint:errcheck // after a commit there is nothing to roll back
	if err := work(tx); err != nil {
		return orphan(err)
	}
	return orphan(tx.Commit())
}

// SetStartup records the agent's version, directory and subsystems. The same as
// before writes nothing.
func (s *Store) SetStartup(ctx context.Context, agent uuid.UUID, version, directory string, subsystems []string) error {
	err := s.reporting(ctx, func(tx *sql.Tx) error {
		report, err := readReport(ctx, tx, agent)
		if err != nil {
			return err
		}
		same := report.Version == version && report.Directory == directory && strings.Join(report.Subsystems, ",") == strings.Join(subsystems, ",")
		if same && !report.StartupAt.IsZero() {
			return nil
		}
		report.Version, report.Directory, report.Subsystems, report.StartupAt = version, directory, subsystems, now()
		return writeReport(ctx, tx, agent, report)
	})
	if err != nil {
		return fmt.Errorf("record startup of agent %s: %w", agent, err)
	}
	return nil
}

// Kinds of values that are kept as the latest of each name.
const (
	ValueMetadata  = "metadata"  // by key
	ValueApp       = "app"       // by the app's id
	ValueStats     = "stats"     // one
	ValueResources = "resources" // one
)

// AgentValue is the latest of something that an agent reports often.
type AgentValue struct {
	Agent      uuid.UUID
	Kind, Name string
	Value      json.RawMessage
}

// AgentValues reads all latest values of an agent.
func (s *Store) AgentValues(ctx context.Context, agent uuid.UUID) ([]AgentValue, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT kind, name, value FROM agent_values WHERE agent_id = $1 ORDER BY kind, name", idText(agent))
	list, err := collect(rows, err, func(row scanner) (AgentValue, error) {
		value := AgentValue{Agent: agent}
		var text string
		err := row.Scan(&value.Kind, &value.Name, &text)
		value.Value = json.RawMessage(text)
		return value, err
	})
	if err != nil {
		return nil, fmt.Errorf("read values of agent %s: %w", agent, err)
	}
	return list, nil
}

// SaveReports writes latest values, and lines of statistics, of many agents in
// one transaction. Agents that are not there any more are passed over.
func (s *Store) SaveReports(ctx context.Context, values []AgentValue, stats []AgentStats) error {
	if len(values) == 0 && len(stats) == 0 {
		return nil
	}
	err := s.reporting(ctx, func(tx *sql.Tx) error {
		for _, value := range values {
			_, err := tx.ExecContext(ctx, `INSERT INTO agent_values (agent_id, kind, name, value)
				SELECT agents.id, CAST($2 AS TEXT), CAST($3 AS TEXT), CAST($4 AS TEXT) FROM agents WHERE agents.id = $1
				ON CONFLICT (agent_id, kind, name) DO UPDATE SET value = $4`,
				idText(value.Agent), value.Kind, value.Name, string(value.Value))
			if err != nil {
				return err
			}
		}
		for _, line := range stats {
			if err := insertStats(ctx, tx, line); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("save reports: %w", err)
	}
	return nil
}

// DeleteAgentValues drops values that are nobody's any more.
func (s *Store) DeleteAgentValues(ctx context.Context, agent uuid.UUID, kind string, names []string) error {
	err := s.reporting(ctx, func(tx *sql.Tx) error {
		for _, name := range names {
			if _, err := tx.ExecContext(ctx, "DELETE FROM agent_values WHERE agent_id = $1 AND kind = $2 AND name = $3", idText(agent), kind, name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("drop values of agent %s: %w", agent, err)
	}
	return nil
}

// AgentExists says whether an agent has not been deleted.
func (s *Store) AgentExists(ctx context.Context, agent uuid.UUID) (bool, error) {
	var count int
	if err := s.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM agents WHERE id = $1", idText(agent)).Scan(&count); err != nil {
		return false, fmt.Errorf("find agent %s: %w", agent, storageCause(err))
	}
	return count > 0, nil
}
