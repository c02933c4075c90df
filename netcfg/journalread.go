package netcfg

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// ReadJournal lists the changes outstanding as the journal at path has them, to
// be shown; none if there is no journal. It touches nothing, also not a journal
// that cannot be understood.
func ReadJournal(path string) ([]Change, error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	changes, err := decodeJournal(content)
	if err != nil {
		return nil, fmt.Errorf("read journal %s: %w", path, err)
	}
	return changes, nil
}
