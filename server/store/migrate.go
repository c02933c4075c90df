package store

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// applicationID marks the file as ours ("CWsv"), so that another program's
// database is refused and not migrated.
const applicationID = 0x43577376

type migration struct {
	number int
	name   string
	script string
}

// loadMigrations reads files named NNNN_title.sql, numbered from 1 without a gap.
func loadMigrations(files fs.FS) ([]migration, error) {
	entries, err := fs.ReadDir(files, "migrations")
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	var list []migration
	for _, entry := range entries {
		prefix, _, _ := strings.Cut(entry.Name(), "_")
		number, err := strconv.Atoi(prefix)
		if err != nil || number != len(list)+1 {
			return nil, fmt.Errorf("read migration %s: want number %d", entry.Name(), len(list)+1)
		}
		script, err := fs.ReadFile(files, "migrations/"+entry.Name())
		if err != nil {
			return nil, fmt.Errorf("read migration %s: %w", entry.Name(), err)
		}
		list = append(list, migration{number, entry.Name(), string(script)})
	}
	return list, nil
}

// migrate brings the schema up to date, each step in a transaction of its own.
func migrate(ctx context.Context, db *sql.DB) error {
	steps, err := loadMigrations(migrationFiles)
	if err != nil {
		return err
	}
	version, err := schemaVersion(ctx, db)
	if err != nil {
		return err
	}
	if version > len(steps) {
		return fmt.Errorf("schema version is %d, this binary knows %d: %w; use the newer binary or restore an older backup", version, len(steps), ErrNewerSchema)
	}
	for _, step := range steps[version:] {
		if err := applyMigration(ctx, db, step); err != nil {
			return fmt.Errorf("apply migration %s: %w", step.name, err)
		}
	}
	return nil
}

// schemaVersion is 0 for an empty database; a database with tables but without
// our mark is refused.
func schemaVersion(ctx context.Context, db *sql.DB) (int, error) {
	var mark, tables int
	if err := db.QueryRowContext(ctx, "PRAGMA application_id").Scan(&mark); err != nil {
		return 0, storageCause(err)
	}
	if err := db.QueryRowContext(ctx, "SELECT COUNT(*) FROM sqlite_master").Scan(&tables); err != nil {
		return 0, storageCause(err)
	}
	switch {
	case tables == 0:
		return 0, nil
	case mark != applicationID:
		return 0, fmt.Errorf("it holds another program's tables: %w", ErrCorrupt)
	}
	var version int
	err := db.QueryRowContext(ctx, "SELECT COALESCE(MAX(version), 0) FROM schema_migrations").Scan(&version)
	return version, storageCause(err)
}

func applyMigration(ctx context.Context, db *sql.DB, step migration) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return storageCause(err)
	}
	defer tx.Rollback() //nolint:errcheck // after a commit there is nothing to roll back
	if step.number == 1 {
		prelude := fmt.Sprintf("PRAGMA application_id = %d; CREATE TABLE IF NOT EXISTS schema_migrations (version BIGINT NOT NULL PRIMARY KEY, applied_at BIGINT NOT NULL)", applicationID)
		if _, err := tx.ExecContext(ctx, prelude); err != nil {
			return storageCause(err)
		}
	}
	// Another process may have been faster: the transaction is IMMEDIATE, so
	// what it reads here is final.
	var done int
	if err := tx.QueryRowContext(ctx, "SELECT COUNT(*) FROM schema_migrations WHERE version = $1", step.number).Scan(&done); err != nil {
		return storageCause(err)
	}
	if done > 0 {
		return nil
	}
	if _, err := tx.ExecContext(ctx, step.script); err != nil {
		return storageCause(err)
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO schema_migrations (version, applied_at) VALUES ($1, $2)", step.number, millis(now())); err != nil {
		return storageCause(err)
	}
	return storageCause(tx.Commit())
}
