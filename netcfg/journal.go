package netcfg

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Change is one thing on the host that exists, or may exist, because of us.
type Change struct {
	// Kind is the platform's word for the mechanism: "address", "route",
	// "resolved", "hosts".
	Kind string `json:"kind"`
	// Interface and Index name the device it hangs on; empty and 0 if none.
	Interface string `json:"interface,omitempty"`
	Index     int    `json:"index,omitempty"`
	// Value tells which thing: a prefix, a path, a key.
	Value string `json:"value,omitempty"`
	// Epoch bounds the life of a thing that a reboot destroys: the system's
	// boot identifier. Empty for things that stay, such as files.
	Epoch string `json:"epoch,omitempty"`
}

// journalVersion is that of the file's format.
const journalVersion = 1

// maxJournal bounds the file, in bytes. A few hundred changes are the most
// that one interface can need; whatever is larger is not ours.
const maxJournal = 1 << 20

type journalFile struct {
	Version int      `json:"version"`
	Changes []Change `json:"changes"`
}

// Journal is the list of changes to the host, on disk before they are made.
// A crash between the two leaves an entry without a thing, which is harmless;
// the other order would leave a thing that nobody knows of.
//
// It is one small file, rewritten whole and atomically: what counts is the set
// of things outstanding, not the history. Safe for concurrent use within one
// process; the service and the cleanup verb do not run at the same time.
type Journal struct {
	path string

	mu      sync.Mutex
	changes []Change
}

// CorruptJournalError says that a journal could not be read and was put aside.
// The journal that OpenJournal returned beside it is empty and works; what the
// lost one listed is found by the marks that things of ours carry.
type CorruptJournalError struct {
	Path  string
	Aside string
	Err   error
}

// Error names the file, the copy and the cause.
func (e *CorruptJournalError) Error() string {
	return fmt.Sprintf("read journal %s: %v; kept as %s", e.Path, e.Err, e.Aside)
}

// Unwrap returns the cause.
func (e *CorruptJournalError) Unwrap() error { return e.Err }

// OpenJournal reads the journal at path, or starts an empty one; the file
// appears with the first entry. A *CorruptJournalError comes together with a
// journal that works; with every other error the journal is nil.
func OpenJournal(path string) (*Journal, error) {
	j := &Journal{path: path}
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return j, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	changes, err := decodeJournal(content)
	if err == nil {
		j.changes = changes
		return j, nil
	}
	aside := fmt.Sprintf("%s.corrupt-%s", path, time.Now().UTC().Format("20060102T150405.000000000"))
	if renameErr := os.Rename(path, aside); renameErr != nil {
		return nil, fmt.Errorf("put corrupt journal aside: %w", errors.Join(renameErr, err))
	}
	return j, &CorruptJournalError{Path: path, Aside: aside, Err: err}
}

func decodeJournal(content []byte) ([]Change, error) {
	if len(content) > maxJournal {
		return nil, fmt.Errorf("%d bytes, %d are the most", len(content), maxJournal)
	}
	var file journalFile
	if err := json.Unmarshal(content, &file); err != nil {
		return nil, err
	}
	if file.Version != journalVersion {
		return nil, fmt.Errorf("version %d, this program knows %d", file.Version, journalVersion)
	}
	for i, c := range file.Changes {
		if c.Kind == "" {
			return nil, fmt.Errorf("entry %d has no kind", i)
		}
	}
	return file.Changes, nil
}

// Record writes down changes that are about to be made. When it returns nil
// they are on disk; when it fails they must not be made. What is recorded
// already costs nothing.
func (j *Journal) Record(changes ...Change) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	next := slices.Clone(j.changes)
	for _, c := range changes {
		if !slices.Contains(next, c) {
			next = append(next, c)
		}
	}
	if len(next) == len(j.changes) {
		return nil
	}
	return j.write(next)
}

// Done strikes out changes that have been undone or were never made.
func (j *Journal) Done(changes ...Change) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	next := slices.DeleteFunc(slices.Clone(j.changes), func(c Change) bool {
		return slices.Contains(changes, c)
	})
	if len(next) == len(j.changes) {
		return nil
	}
	return j.write(next)
}

// Entries lists the changes outstanding, oldest first.
func (j *Journal) Entries() []Change {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.changes)
}

// write replaces the file; the memory follows only once the disk has it.
func (j *Journal) write(changes []Change) error {
	step("before", j.changes, changes)
	defer step("after", j.changes, changes)
	content, err := json.MarshalIndent(journalFile{Version: journalVersion, Changes: changes}, "", "\t")
	if err == nil {
		err = replaceFile(j.path, append(content, '\n'))
	}
	if err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	j.changes = changes
	return nil
}

// replaceFile goes through one file of a fixed name, so that crashes in its
// midst do not pile up in the directory, which is the daemon's alone.
func replaceFile(path string, content []byte) error {
	file, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		_ = os.Remove(file.Name())
		return err
	}
	return syncDir(filepath.Dir(path))
}
