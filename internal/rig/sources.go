package rig

import (
	"io/fs"
	"path/filepath"
	"strings"
)

// Sources reads each directory of the module under root. A test that builds
// programs by `go build` calls it, as go test does not know what such a test
// depends on: it would repeat a result of programs that have changed since, and
// has. What a test reads inside its module it does know (go help test).
func Sources(root string) error {
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := entry.Name(); entry.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "bin" || name == "dist") {
			return filepath.SkipDir
		}
		return nil
	})
}
