//go:build !windows

package main

import (
	"bytes"
	"debug/pe"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestLibrary reads the library back; that Windows programs load it shows in
// every run of this command.
func TestLibrary(t *testing.T) {
	file, err := pe.NewFile(bytes.NewReader(forwarders("some.dll", "Wanted", "other.Given")))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	section := file.Section(".edata")
	if section == nil {
		t.Fatal("no section of exports")
	}
	content, err := section.Data()
	if err != nil {
		t.Fatal(err)
	}
	if want := []byte("some.dll\x00Wanted\x00other.Given\x00"); !bytes.Contains(content, want) {
		t.Errorf("exports are %q, without %q", content, want)
	}
}

// TestOverlay fails when a new Go has changed what is patched.
func TestOverlay(t *testing.T) {
	dir := t.TempDir()
	path, err := writeOverlay(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var overlay struct{ Replace map[string]string }
	if err := json.Unmarshal(content, &overlay); err != nil {
		t.Fatal(err)
	}
	for source, replacement := range overlay.Replace {
		patched, err := os.ReadFile(replacement)
		if err != nil {
			t.Fatal(err)
		}
		index := slices.IndexFunc(patches, func(each patch) bool { return strings.HasSuffix(source, filepath.FromSlash(each.file)) })
		if index < 0 || strings.Count(string(patched), patches[index].fresh) != 1 {
			t.Errorf("%s is replaced without what is new", source)
		}
	}
	if len(overlay.Replace) != len(patches) {
		t.Errorf("%d files are replaced", len(overlay.Replace))
	}
}
