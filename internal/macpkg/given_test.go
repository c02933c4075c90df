package main

import (
	"os"
	"path/filepath"
	"testing"
)

// TestGivenBillOfMaterials compares the list of a package with the tree that was
// unpacked from it; internal/msitest gives both, from the packages of a release.
func TestGivenBillOfMaterials(t *testing.T) {
	list, tree := os.Getenv("CAUSEWAY_BOM"), os.Getenv("CAUSEWAY_PAYLOAD")
	if list == "" {
		t.Skip("CAUSEWAY_BOM and CAUSEWAY_PAYLOAD give it a package to read")
	}
	data, err := os.ReadFile(list)
	if err != nil {
		t.Fatal(err)
	}
	reader, err := openBom(data)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := reader.list()
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bomLine{}
	for _, line := range lines {
		listed[filepath.Clean(line.path)] = line
	}
	err = filepath.WalkDir(tree, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(tree, path)
		if err != nil {
			return err
		}
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		line, there := listed[name]
		delete(listed, name)
		if !there || line.mode&0o777 != uint16(info.Mode().Perm()) || !info.IsDir() && int64(line.size) != info.Size() {
			t.Errorf("%s: %v of %d bytes, listed as %+v (%t)", name, info.Mode(), info.Size(), line, there)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(listed) != 0 || len(lines) < 10 {
		t.Errorf("%d lines; not in the tree: %v", len(lines), listed)
	}
}
