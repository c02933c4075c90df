// Package store keeps the durable state of the control plane: users, hashed
// tokens, workspaces, agents and the server's own secrets. Presence and node
// updates are soft state and never come here, so that a storm of reconnects
// writes nothing.
//
// The engine is SQLite in WAL mode. Queries use numbered placeholders and
// standard SQL only, so that PostgreSQL can serve the same ones; what is
// SQLite's own (opening, backup, change detection) stays in files of its own.
//
// Several processes may open one database: the subcommands of causeway-server
// write to it while a server runs. Only one server runs per data directory;
// Lock enforces that.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/semaphore"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// Kinds of named things, as they stand in errors.
const (
	KindUser      = "user"
	KindWorkspace = "workspace"
	KindAgent     = "agent"
	KindToken     = "token"
)

var (
	// ErrNotFound is wrapped when the thing asked for does not exist.
	ErrNotFound = errors.New("not found")
	// ErrExists is wrapped when a name is taken.
	ErrExists = errors.New("already exists")
	// ErrCorrupt is wrapped when the file is not a sound database of ours.
	ErrCorrupt = errors.New("database is damaged or not a causeway-server database")
	// ErrNewerSchema is wrapped when a newer binary has written the database.
	ErrNewerSchema = errors.New("database was written by a newer causeway-server")
	// ErrLocked is wrapped when another process kept us from writing for too long.
	ErrLocked = errors.New("another process holds the database locked")
	// ErrInUse is wrapped when another server holds the data directory.
	ErrInUse = errors.New("in use by another causeway-server")
)

// FileName is the name of the database inside the data directory.
const FileName = "server.db"

const (
	// busyTimeout covers any other writer's transaction: ours are short, and a
	// backup does not block writers in WAL mode.
	busyTimeout = 5 * time.Second
	// poolSize bounds file handles; readers are concurrent, writers take turns anyway.
	poolSize = 8
)

// Store is an open database. It is safe for concurrent use.
type Store struct {
	db *sql.DB
	// reports is one more connection, for what agents report and for Watch,
	// which does not see what is written on it.
	reports *sql.DB
	turns   *semaphore.Weighted // of those who write on it
	owed    time.Duration       // by them to others; of who has the turn
	path    string
	hasher  *hasher
}

// Path is the file that the database is in.
func (s *Store) Path() string { return s.path }

// Open opens the database in a data directory, which it creates (mode 0700)
// like the file (mode 0600) when missing, checks its soundness and brings its
// schema up to date. Errors wrap ErrCorrupt or ErrNewerSchema where they apply
// and always name the path.
func Open(ctx context.Context, dataDir string) (*Store, error) {
	if err := os.MkdirAll(dataDir, 0o700); err != nil {
		return nil, fmt.Errorf("create data directory %s: %w", dataDir, pathCause(err))
	}
	path := filepath.Join(dataDir, FileName)
	// Created here because SQLite would take the umask's mode; its WAL files
	// copy the mode of the main file.
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, pathCause(err))
	}
	file.Close()
	return openFile(ctx, path)
}

// OpenExisting is Open for commands that make no sense without a database: a
// missing file is an error that wraps fs.ErrNotExist.
func OpenExisting(ctx context.Context, dataDir string) (*Store, error) {
	path := filepath.Join(dataDir, FileName)
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, pathCause(err))
	}
	return Open(ctx, dataDir)
}

func openFile(ctx context.Context, path string) (*Store, error) {
	query := url.Values{"_pragma": {
		fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds()),
		"journal_mode(WAL)", "synchronous(NORMAL)", "foreign_keys(ON)",
	}, "_txlock": {"immediate"}}
	db, err := sql.Open("sqlite", dataSource(path, query))
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	db.SetMaxOpenConns(poolSize)
	reports, err := sql.Open("sqlite", dataSource(path, query))
	if err != nil {
		db.Close()
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	reports.SetMaxOpenConns(1)
	reports.SetMaxIdleConns(1)
	store := &Store{db: db, reports: reports, turns: semaphore.NewWeighted(1), path: path, hasher: newHasher()}
	if err := store.prepare(ctx); err != nil {
		store.Close()
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	return store, nil
}

func dataSource(path string, query url.Values) string {
	return (&url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(path), RawQuery: query.Encode()}).String()
}

func (s *Store) prepare(ctx context.Context) error {
	if err := checkIntegrity(ctx, s.db); err != nil {
		return err
	}
	return migrate(ctx, s.db)
}

func checkIntegrity(ctx context.Context, db *sql.DB) error {
	var verdict string
	if err := db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict); err != nil {
		return storageCause(err)
	}
	return verdictCause(verdict)
}

// remedyCorrupt ends every message about a damaged database.
const remedyCorrupt = "restore a backup with: causeway-server restore FILE"

// verdictCause reads what SQLite's own checks say.
func verdictCause(verdict string) error {
	if verdict == "ok" {
		return nil
	}
	return fmt.Errorf("%w (%s); %s", ErrCorrupt, strings.Join(strings.Fields(verdict), " "), remedyCorrupt)
}

// Close closes the database.
func (s *Store) Close() error { return errors.Join(s.reports.Close(), s.db.Close()) }

// pingTimeout is how long Ping waits for the writer's turn: a tenth of what our
// own writes wait for, which a database in order never needs.
const pingTimeout = busyTimeout / 10

// Ping says whether the database can be read and written now. It takes the
// writer's turn for a moment and writes nothing.
func (s *Store) Ping(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("use database %s: %w", s.path, storageCause(err))
		}
	}()
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	// SQLite waits by itself, and no context cuts that short.
	if err := setBusyTimeout(ctx, conn, pingTimeout); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, setBusyTimeout(context.WithoutCancel(ctx), conn, busyTimeout)) }()
	tx, err := conn.BeginTx(ctx, nil) // IMMEDIATE, as all of ours
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // there is nothing to roll back
	var one int
	return tx.QueryRowContext(ctx, "SELECT COUNT(*) FROM server_secrets").Scan(&one)
}

func setBusyTimeout(ctx context.Context, conn *sql.Conn, timeout time.Duration) error {
	_, err := conn.ExecContext(ctx, fmt.Sprintf("PRAGMA busy_timeout = %d", timeout.Milliseconds()))
	return err
}

// storageCause gives SQLite's codes the meaning that our callers need.
func storageCause(err error) error {
	var failure *sqlite.Error
	if !errors.As(err, &failure) {
		return err
	}
	switch failure.Code() & 0xff {
	case sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT:
		return fmt.Errorf("%w (%w); %s", ErrCorrupt, err, remedyCorrupt)
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return fmt.Errorf("%w for more than %s: %w", ErrLocked, busyTimeout, err)
	case sqlite3.SQLITE_FULL:
		return fmt.Errorf("the disk is full; make room and try again: %w", err)
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM:
		return fmt.Errorf("no permission to write it or its directory: %w: %w", fs.ErrPermission, err)
	}
	return err
}

// conflict turns a violated UNIQUE constraint into ErrExists.
func conflict(err error) error {
	var failure *sqlite.Error
	if errors.As(err, &failure) && (failure.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE || failure.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY) {
		return ErrExists
	}
	return storageCause(err)
}

// orphan turns a violated reference, to an agent that has been deleted, into
// ErrNotFound.
func orphan(err error) error {
	var failure *sqlite.Error
	if errors.As(err, &failure) && failure.Code() == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY {
		return ErrNotFound
	}
	return storageCause(err)
}

// missing turns an empty result into ErrNotFound.
func missing(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNotFound
	}
	return storageCause(err)
}

// affected is ErrNotFound when a statement has changed nothing.
func affected(result sql.Result, err error) error {
	if err != nil {
		return storageCause(err)
	}
	count, err := result.RowsAffected()
	if err == nil && count == 0 {
		return ErrNotFound
	}
	return err
}

// pathCause drops the path from a file error, as our own message names it.
func pathCause(err error) error {
	var failure *fs.PathError
	if errors.As(err, &failure) {
		return failure.Err
	}
	return err
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMillis(value int64) time.Time {
	if value == 0 {
		return time.Time{}
	}
	return time.UnixMilli(value).UTC()
}

// now has the precision that the database keeps.
func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

type scanner interface{ Scan(...any) error }

// collect reads all rows with scan and closes them.
func collect[T any](rows *sql.Rows, err error, scan func(scanner) (T, error)) ([]T, error) {
	if err != nil {
		return nil, storageCause(err)
	}
	defer rows.Close()
	list := []T{}
	for rows.Next() {
		item, err := scan(rows)
		if err != nil {
			return nil, storageCause(err)
		}
		list = append(list, item)
	}
	return list, storageCause(rows.Err())
}

// idText lets a UUID column be scanned and bound as text in every dialect.
func idText(id uuid.UUID) string { return id.String() }
