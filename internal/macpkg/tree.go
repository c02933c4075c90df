package main

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// The types of a file as they stand in the upper bits of its mode (stat(2)).
const (
	typeFile = 0o100000
	typeDir  = 0o040000
)

// entry is one file or directory to install. All belong to root:wheel, as uid
// and gid 0.
type entry struct {
	Path string // "." or "./a/b"
	Mode uint32 // with the type
	Data []byte // of a file
}

func (e entry) dir() bool { return e.Mode&typeDir != 0 }

// parent and name place an entry among its siblings.
func (e entry) parent() string {
	if up := path.Dir(e.Path); up != "." {
		return "./" + up
	}
	return "."
}

func (e entry) name() string { return path.Base(e.Path) }

// readTree reads what is to be installed, parents before their children and
// siblings by name. Modes become 0755 or 0644: the umask and the owner of the
// machine that builds have no place in a package.
func readTree(root string) ([]entry, error) {
	var entries []entry
	err := filepath.WalkDir(root, func(at string, found fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, at)
		if err != nil {
			return err
		}
		name := "."
		if relative != "." {
			name = "./" + filepath.ToSlash(relative)
		}
		one, err := readEntry(at, name, found)
		entries = append(entries, one)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read files of %q: %w", root, err)
	}
	slices.SortFunc(entries, func(a, b entry) int { return slices.Compare(steps(a.Path), steps(b.Path)) })
	return entries, nil
}

// steps are the names on the way to a path, so that what is in a directory
// comes before its next sibling.
func steps(path string) []string { return strings.Split(path, "/") }

func readEntry(at, name string, found fs.DirEntry) (entry, error) {
	if found.IsDir() {
		return entry{Path: name, Mode: typeDir | 0o755}, nil
	}
	if !found.Type().IsRegular() {
		// Nothing that we install needs a link.
		return entry{}, fmt.Errorf("%s is neither a file nor a directory", at)
	}
	info, err := found.Info()
	if err != nil {
		return entry{}, err
	}
	mode := uint32(0o644)
	if info.Mode()&0o100 != 0 {
		mode = 0o755
	}
	data, err := os.ReadFile(at)
	return entry{Path: name, Mode: typeFile | mode, Data: data}, err
}
