package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
)

const (
	// LogsMost is how many bytes of log lines one run of an agent may have: 1 MiB,
	// as the deployments have that its clients know.
	LogsMost = 1 << 20
	// LogLinesMost is how many lines that may be: LogsMost in the agent's own
	// accounting, which takes 21 bytes for each line beside its text. Without it
	// empty lines would be free.
	LogLinesMost = LogsMost / 21
	// LogPageMost bounds what Logs gives at once.
	LogPageMost = 5000
)

// LogLine is a line that an agent's script, or the agent itself, has written.
type LogLine struct {
	// ID numbers the lines of one agent from 1, in the order in which they were
	// stored. No number is used twice.
	ID     int64
	Source uuid.UUID
	// CreatedAt has microseconds.
	CreatedAt time.Time
	Level     LogLevel
	Output    string
}

// LogLevel is numbered as on the wire.
type LogLevel int64

// The levels.
const (
	LogTrace LogLevel = iota + 1
	LogDebug
	LogInfo
	LogWarn
	LogError
)

var levelNames = [...]string{"info", "trace", "debug", "info", "warn", "error"}

// String is the name that clients know; a level that was not given is "info".
func (l LogLevel) String() string {
	if l < 0 || int(l) >= len(levelNames) {
		return levelNames[0]
	}
	return levelNames[l]
}

// identity is what makes two lines of one source the same.
type identity struct {
	micros int64
	level  LogLevel
	output string
}

func (l LogLine) identity() identity { return identity{l.CreatedAt.UnixMicro(), l.Level, l.Output} }

// AppendLogs stores the lines of one source, gives those that are new with their
// numbers, and says whether the agent's run has had all that it may: from the
// first line that does not fit nothing is stored any more.
//
// An agent that has had no answer sends a batch again. Lines at the head of the
// batch that are the last ones stored of this source are not stored again.
func (s *Store) AppendLogs(ctx context.Context, agent, source uuid.UUID, lines []LogLine) (stored []LogLine, exceeded bool, err error) {
	err = s.reporting(ctx, func(tx *sql.Tx) error {
		report, err := readReport(ctx, tx, agent)
		if err != nil {
			return err
		}
		known, err := repeated(ctx, tx, agent, source, lines)
		if err != nil {
			return err
		}
		stored = report.take(source, lines[known:])
		exceeded = report.LogsOverflowed
		if len(stored) == 0 && len(lines) == known {
			return nil // nothing new, and nothing refused
		}
		if err := insertLogs(ctx, tx, agent, report.Run, stored); err != nil {
			return err
		}
		return writeReport(ctx, tx, agent, report)
	})
	if err != nil {
		return nil, false, fmt.Errorf("store logs of agent %s: %w", agent, err)
	}
	return stored, exceeded, nil
}

// take numbers the lines that fit.
func (r *AgentReport) take(source uuid.UUID, lines []LogLine) []LogLine {
	var taken []LogLine
	for _, line := range lines {
		length := int64(len(line.Output))
		if r.LogsOverflowed || r.LogsLength+length > LogsMost || r.LogsLines >= LogLinesMost {
			r.LogsOverflowed = true
			break
		}
		r.lastLog++
		r.LogsLength += length
		r.LogsLines++
		line.ID, line.Source = r.lastLog, source
		taken = append(taken, line)
	}
	return taken
}

func insertLogs(ctx context.Context, tx *sql.Tx, agent uuid.UUID, run int64, lines []LogLine) error {
	if len(lines) == 0 {
		return nil
	}
	statement, err := tx.PrepareContext(ctx, "INSERT INTO agent_logs (agent_id, id, run, source_id, created_at, level, output) VALUES ($1, $2, $3, $4, $5, $6, $7)")
	if err != nil {
		return err
	}
	defer statement.Close()
	for _, line := range lines {
		if _, err := statement.ExecContext(ctx, idText(agent), line.ID, run, idText(line.Source), line.CreatedAt.UnixMicro(), line.Level, line.Output); err != nil {
			return err
		}
	}
	return nil
}

// repeated says how many lines at the head of a batch are the last ones that are
// stored of the source.
func repeated(ctx context.Context, tx *sql.Tx, agent, source uuid.UUID, batch []LogLine) (int, error) {
	// Most batches are new, which the last line alone shows.
	last, err := lastLogs(ctx, tx, agent, source, 1)
	if err != nil || len(last) == 0 {
		return 0, err
	}
	furthest := 0
	for i, line := range batch {
		if line.identity() == last[0] {
			furthest = i + 1
		}
	}
	if furthest == 0 {
		return 0, nil
	}
	stored, err := lastLogs(ctx, tx, agent, source, furthest)
	return overlap(stored, batch[:furthest]), err
}

// lastLogs are the last so many lines of a source, oldest first.
func lastLogs(ctx context.Context, tx *sql.Tx, agent, source uuid.UUID, most int) ([]identity, error) {
	rows, err := tx.QueryContext(ctx, `SELECT created_at, level, output FROM agent_logs WHERE agent_id = $1 AND source_id = $2 ORDER BY id DESC LIMIT $3`,
		idText(agent), idText(source), most)
	list, err := collect(rows, err, func(row scanner) (identity, error) {
		var one identity
		err := row.Scan(&one.micros, &one.level, &one.output)
		return one, err
	})
	slices.Reverse(list)
	return list, err
}

// overlap is the length of the longest end of stored that the batch begins with,
// by the method of Knuth, Morris and Pratt: what lines are alike is the agent's
// choice, and must not cost the square of their number.
func overlap(stored []identity, batch []LogLine) int {
	if len(batch) == 0 {
		return 0
	}
	borders := make([]int, len(batch)) // of each head of the batch, its longest end that it also begins with
	step := func(matched int, line identity) int {
		for matched > 0 && (matched == len(batch) || batch[matched].identity() != line) {
			matched = borders[matched-1]
		}
		if batch[matched].identity() == line {
			matched++
		}
		return matched
	}
	for i := 1; i < len(batch); i++ {
		borders[i] = step(borders[i-1], batch[i].identity())
	}
	matched := 0
	for _, line := range stored {
		matched = step(matched, line)
	}
	return matched
}

// LogRange says which lines to list.
type LogRange struct {
	// After and Before are numbers of lines, which are not among those listed;
	// Before 0 is no bound.
	After, Before int64
	// Most is how many at most, up to LogPageMost, which 0 stands for.
	Most int
	// Newest takes the last lines that there are, not the first.
	Newest bool
}

// Logs lists lines of an agent, oldest first.
func (s *Store) Logs(ctx context.Context, agent uuid.UUID, which LogRange) ([]LogLine, error) {
	if which.Most <= 0 || which.Most > LogPageMost {
		which.Most = LogPageMost
	}
	before := which.Before
	if before <= 0 {
		before = 1<<63 - 1
	}
	order := "ASC"
	if which.Newest {
		order = "DESC"
	}
	rows, err := s.db.QueryContext(ctx, `SELECT id, source_id, created_at, level, output FROM agent_logs
		WHERE agent_id = $1 AND id > $2 AND id < $3 ORDER BY id `+order+` LIMIT $4`, idText(agent), which.After, before, which.Most)
	list, err := collect(rows, err, func(row scanner) (LogLine, error) {
		var line LogLine
		var micros int64
		err := row.Scan(&line.ID, &line.Source, &micros, &line.Level, &line.Output)
		line.CreatedAt = time.UnixMicro(micros).UTC()
		return line, err
	})
	if err != nil {
		return nil, fmt.Errorf("list logs of agent %s: %w", agent, err)
	}
	if which.Newest {
		slices.Reverse(list)
	}
	return list, nil
}
