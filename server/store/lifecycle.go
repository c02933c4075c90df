package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// LifecycleState is a step in the life of an agent, numbered as on the wire.
type LifecycleState int64

// The steps in their order. A run has some of them, never one before another
// that is listed earlier.
const (
	LifecycleNone LifecycleState = iota
	LifecycleCreated
	LifecycleStarting
	LifecycleStartTimeout
	LifecycleStartError
	LifecycleReady
	LifecycleShuttingDown
	LifecycleShutdownTimeout
	LifecycleShutdownError
	LifecycleOff
)

var lifecycleNames = [...]string{"created", "created", "starting", "start_timeout", "start_error", "ready", "shutting_down", "shutdown_timeout", "shutdown_error", "off"}

// Valid says whether it is a step at all.
func (l LifecycleState) Valid() bool { return l >= LifecycleCreated && l <= LifecycleOff }

// String is the name that clients know. An agent that has said nothing is "created".
func (l LifecycleState) String() string {
	if l < 0 || int(l) >= len(lifecycleNames) {
		return fmt.Sprintf("unknown (%d)", int64(l))
	}
	return lifecycleNames[l]
}

// LifecycleStep is one step, as the agent dated it.
type LifecycleStep struct {
	Run   int64
	State LifecycleState
	At    time.Time
}

// lifecycleMost bounds the steps that are kept of one agent: a run has up to
// seven, so these are the last nine runs at least.
const lifecycleMost = 64

// ErrStepBack is wrapped when a step comes after a later one of the same run.
var ErrStepBack = errors.New("the agent is past that step")

// AddLifecycle records a step. One that is repeated changes nothing, one that
// goes back wraps ErrStepBack: except to the beginning, which begins a new run
// with logs of its own. The logs of the run before are kept.
func (s *Store) AddLifecycle(ctx context.Context, agent uuid.UUID, state LifecycleState, at time.Time) (AgentReport, error) {
	var report AgentReport
	err := s.reporting(ctx, func(tx *sql.Tx) (err error) {
		if report, err = readReport(ctx, tx, agent); err != nil {
			return err
		}
		var same int
		err = tx.QueryRowContext(ctx, "SELECT COUNT(*) FROM agent_lifecycle WHERE agent_id = $1 AND state = $2 AND changed_at = $3",
			idText(agent), state, millis(at)).Scan(&same)
		if err != nil || same > 0 {
			return err
		}
		switch begins := state <= LifecycleStarting; {
		case report.Run == 0 || begins && state <= report.Lifecycle:
			if err := beginRun(ctx, tx, agent, &report, at); err != nil {
				return err
			}
		case state <= report.Lifecycle:
			return fmt.Errorf("%w: it is %s", ErrStepBack, report.Lifecycle)
		}
		report.advance(state, at)
		return errors.Join(insertStep(ctx, tx, agent, report.Run, state, at), writeReport(ctx, tx, agent, report))
	})
	if err != nil {
		return report, fmt.Errorf("record step %s of agent %s: %w", state, agent, err)
	}
	return report, nil
}

func (r *AgentReport) advance(state LifecycleState, at time.Time) {
	r.Lifecycle = state
	switch {
	case state <= LifecycleStarting:
		r.StartedAt = at
	case state <= LifecycleReady && r.ReadyAt.IsZero():
		r.ReadyAt = at
	}
}

func insertStep(ctx context.Context, tx *sql.Tx, agent uuid.UUID, run int64, state LifecycleState, at time.Time) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO agent_lifecycle (agent_id, number, run, state, changed_at)
		SELECT CAST($1 AS TEXT), COALESCE(MAX(number), 0) + 1, CAST($2 AS BIGINT), CAST($3 AS BIGINT), CAST($4 AS BIGINT) FROM agent_lifecycle WHERE agent_id = $1`,
		idText(agent), run, state, millis(at))
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `DELETE FROM agent_lifecycle WHERE agent_id = $1
		AND number <= (SELECT MAX(number) FROM agent_lifecycle WHERE agent_id = $1) - $2`, idText(agent), lifecycleMost)
	return err
}

// beginRun makes room for the logs of a new run, and ends connections that the
// run before did not live to report the end of.
func beginRun(ctx context.Context, tx *sql.Tx, agent uuid.UUID, report *AgentReport, at time.Time) error {
	report.Run++
	report.StartedAt, report.ReadyAt = time.Time{}, time.Time{}
	report.LogsLength, report.LogsLines, report.LogsOverflowed = 0, 0, false
	if _, err := tx.ExecContext(ctx, "DELETE FROM agent_logs WHERE agent_id = $1 AND run < $2", idText(agent), report.Run-1); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, `UPDATE agent_connections SET disconnected_at = $2, reason = 'the agent started anew', noted_at = $3
		WHERE agent_id = $1 AND disconnected_at = 0 AND connected_at < $2`, idText(agent), millis(at), millis(now()))
	return err
}

// Lifecycle lists the steps of an agent that are kept, oldest first.
func (s *Store) Lifecycle(ctx context.Context, agent uuid.UUID) ([]LifecycleStep, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT run, state, changed_at FROM agent_lifecycle WHERE agent_id = $1 ORDER BY number", idText(agent))
	list, err := collect(rows, err, func(row scanner) (LifecycleStep, error) {
		var step LifecycleStep
		var at int64
		err := row.Scan(&step.Run, &step.State, &at)
		step.At = fromMillis(at)
		return step, err
	})
	if err != nil {
		return nil, fmt.Errorf("list lifecycle of agent %s: %w", agent, err)
	}
	return list, nil
}
