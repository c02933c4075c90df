package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// Backup writes a consistent copy of the database to a new file (mode 0600)
// and verifies it. Readers and writers go on meanwhile. An existing target is
// refused with an error that wraps fs.ErrExist.
func (s *Store) Backup(ctx context.Context, target string) (err error) {
	// The copy is made under another name and linked into place when it is
	// known to be good: nobody ever finds half a backup under the real name.
	if _, err := os.Lstat(target); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = fs.ErrExist
		}
		return fmt.Errorf("write backup %s: %w", target, pathCause(err))
	}
	partial, err := os.CreateTemp(filepath.Dir(target), filepath.Base(target)+".partial-*")
	if err != nil {
		return fmt.Errorf("write backup %s: %w", target, pathCause(err))
	}
	defer os.Remove(partial.Name())
	defer partial.Close()
	// VACUUM INTO accepts an existing file only when it is empty; the mode
	// 0600 of CreateTemp stays.
	if _, err := s.db.ExecContext(ctx, "VACUUM INTO $1", partial.Name()); err != nil {
		return fmt.Errorf("write backup %s: %w", target, storageCause(err))
	}
	if err := Verify(ctx, partial.Name()); err != nil {
		return fmt.Errorf("write backup %s: %w", target, err)
	}
	if err := partial.Sync(); err != nil {
		return fmt.Errorf("write backup %s: %w", target, pathCause(err))
	}
	if err := publish(partial.Name(), target); err != nil {
		return fmt.Errorf("write backup %s: %w", target, linkCause(err))
	}
	return nil
}

// publish gives a finished file its name without replacing another. Linking
// does that in one step; file systems without links (USB sticks) get a rename
// after a second look.
func publish(partial, target string) error {
	err := os.Link(partial, target)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	if _, err := os.Lstat(target); err == nil {
		return fs.ErrExist
	}
	return os.Rename(partial, target)
}

func linkCause(err error) error {
	var failure *os.LinkError
	if errors.As(err, &failure) {
		return failure.Err
	}
	return err
}

// Verify reads a database file without changing it and says whether it is
// whole, ours, and of a schema that this binary knows. Errors name the path.
func Verify(ctx context.Context, path string) error {
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("check database %s: %w", path, pathCause(err))
	}
	db, err := sql.Open("sqlite", dataSource(path, url.Values{"mode": {"ro"}, "immutable": {"1"}}))
	if err != nil {
		return fmt.Errorf("check database %s: %w", path, err)
	}
	defer db.Close()
	if err := verifyContent(ctx, db); err != nil {
		return fmt.Errorf("check database %s: %w", path, err)
	}
	return nil
}

func verifyContent(ctx context.Context, db *sql.DB) error {
	var verdict string
	if err := db.QueryRowContext(ctx, "PRAGMA integrity_check(1)").Scan(&verdict); err != nil {
		return storageCause(err)
	}
	if err := verdictCause(verdict); err != nil {
		return err
	}
	steps, err := loadMigrations(migrationFiles)
	if err != nil {
		return err
	}
	version, err := schemaVersion(ctx, db)
	switch {
	case err != nil:
		return err
	case version == 0:
		return fmt.Errorf("it is empty: %w", ErrCorrupt)
	case version > len(steps):
		return fmt.Errorf("schema version is %d, this binary knows %d: %w", version, len(steps), ErrNewerSchema)
	}
	return nil
}

// Restore replaces the database of a data directory by a backup. It refuses
// while a server runs there (ErrInUse), checks the backup before it touches
// anything, and keeps the old database beside the new one under the name that
// it returns ("" when there was none).
func Restore(ctx context.Context, dataDir, backup string) (kept string, err error) {
	if err := os.MkdirAll(dataDir, 0o700); err != nil {
		return "", fmt.Errorf("create data directory %s: %w", dataDir, pathCause(err))
	}
	lock, err := LockDir(dataDir)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := Verify(ctx, backup); err != nil {
		return "", err
	}
	path := filepath.Join(dataDir, FileName)
	fresh, err := copyInto(dataDir, backup)
	if err != nil {
		return "", fmt.Errorf("restore %s: %w", path, err)
	}
	defer os.Remove(fresh)
	// The copy is what will be used, so the copy is what must be sound.
	if err := Verify(ctx, fresh); err != nil {
		return "", err
	}
	kept, err = setAside(path, time.Now())
	if err != nil {
		return "", fmt.Errorf("restore %s: keep old database: %w", path, err)
	}
	if err := os.Rename(fresh, path); err != nil {
		return kept, fmt.Errorf("restore %s: %w", path, linkCause(err))
	}
	store, err := Open(ctx, dataDir)
	if err != nil {
		return kept, err
	}
	// Who was signed in when the backup was made may have been signed out since.
	return kept, errors.Join(store.endSessions(ctx), store.Close())
}

// setAside renames the database and the files that SQLite keeps beside it; the
// write-ahead log may hold committed changes, so it goes along.
func setAside(path string, at time.Time) (string, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	kept := path + ".before-restore-" + at.UTC().Format("20060102T150405.000Z")
	for _, suffix := range []string{"-shm", "-wal", ""} {
		if err := os.Rename(path+suffix, kept+suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", linkCause(err)
		}
	}
	return kept, nil
}

func copyInto(dir, source string) (name string, err error) {
	in, err := os.Open(source)
	if err != nil {
		return "", err
	}
	defer in.Close()
	out, err := os.CreateTemp(dir, FileName+".restore-*")
	if err != nil {
		return "", err
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Sync(), out.Close()); err != nil {
		os.Remove(out.Name())
		return "", err
	}
	return out.Name(), nil
}
