package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// ScriptTiming is one run of a script.
type ScriptTiming struct {
	Script     uuid.UUID
	Stage      ScriptStage
	Start, End time.Time
	ExitCode   int32
	Status     ScriptStatus
}

// ScriptStage is when a script ran, ScriptStatus how it ended; both are numbered
// as on the wire.
type (
	ScriptStage  int64
	ScriptStatus int64
)

var (
	stageNames  = [...]string{"start", "stop", "cron"}
	statusNames = [...]string{"ok", "exit_failure", "timed_out", "pipes_left_open"}
)

// Valid says whether it is a stage at all.
func (s ScriptStage) Valid() bool { return s >= 0 && int(s) < len(stageNames) }

// String is the name that clients know.
func (s ScriptStage) String() string {
	if !s.Valid() {
		return "unknown"
	}
	return stageNames[s]
}

// Valid says whether it is a status at all.
func (s ScriptStatus) Valid() bool { return s >= 0 && int(s) < len(statusNames) }

// String is the name that clients know.
func (s ScriptStatus) String() string {
	if !s.Valid() {
		return "unknown"
	}
	return statusNames[s]
}

const (
	// timingsEach is how many runs of one script in one stage are kept.
	timingsEach = 32
	// timingsMost is how many runs of all scripts of an agent are kept.
	timingsMost = 2048
)

// AddTiming records a run of a script. The same again changes nothing.
func (s *Store) AddTiming(ctx context.Context, agent uuid.UUID, timing ScriptTiming) error {
	err := s.reporting(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO agent_timings (agent_id, script_id, stage, started_at, ended_at, exit_code, status)
			VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (agent_id, script_id, stage, started_at) DO NOTHING`,
			idText(agent), idText(timing.Script), timing.Stage, millis(timing.Start), millis(timing.End), timing.ExitCode, timing.Status)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM agent_timings WHERE agent_id = $1 AND script_id = $2 AND stage = $3 AND started_at <=
			(SELECT started_at FROM agent_timings WHERE agent_id = $1 AND script_id = $2 AND stage = $3 ORDER BY started_at DESC LIMIT 1 OFFSET $4)`,
			idText(agent), idText(timing.Script), timing.Stage, timingsEach)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM agent_timings WHERE agent_id = $1 AND started_at <=
			(SELECT started_at FROM agent_timings WHERE agent_id = $1 ORDER BY started_at DESC LIMIT 1 OFFSET $2)`, idText(agent), timingsMost)
		return err
	})
	if err != nil {
		return fmt.Errorf("record script of agent %s: %w", agent, err)
	}
	return nil
}

// Timings lists the runs of an agent's scripts that are kept, oldest first.
func (s *Store) Timings(ctx context.Context, agent uuid.UUID) ([]ScriptTiming, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT script_id, stage, started_at, ended_at, exit_code, status FROM agent_timings
		WHERE agent_id = $1 ORDER BY started_at, script_id, stage`, idText(agent))
	list, err := collect(rows, err, func(row scanner) (ScriptTiming, error) {
		var timing ScriptTiming
		var start, end int64
		err := row.Scan(&timing.Script, &timing.Stage, &start, &end, &timing.ExitCode, &timing.Status)
		timing.Start, timing.End = fromMillis(start), fromMillis(end)
		return timing, err
	})
	if err != nil {
		return nil, fmt.Errorf("list scripts of agent %s: %w", agent, err)
	}
	return list, nil
}
