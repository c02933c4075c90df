package main

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

// notice marks a text that comes with a licence and is none.
const notice = "NOTICE"

// standard is what `go version -m` does not list.
const standard = "Go standard library"

// module is one project, with the licences at its root.
type module struct {
	Path, Version string
	Texts         []text
}

type text struct {
	Name string // SPDX, notice, or empty for one that nobody has read yet
	File string
	Hash string
	Text string
}

// find reads the licences of modules, and of Go's own library, sorted by path.
func find(paths []string) ([]module, error) {
	slices.Sort(paths)
	paths = slices.Compact(paths)
	found, err := locate(paths)
	if err != nil {
		return nil, err
	}
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("run go env: %w", err)
	}
	own := located{Path: standard, Version: runtime.Version(), Dir: strings.TrimSpace(string(goroot))}
	var modules []module
	for _, where := range append(found, own) {
		texts, err := read(where.Dir)
		if err != nil {
			return nil, fmt.Errorf("read licence of %s: %w", where.Path, err)
		}
		modules = append(modules, module{Path: where.Path, Version: where.Version, Texts: texts})
	}
	return modules, nil
}

type located struct{ Path, Version, Dir string }

// locate asks the go command for the directories of modules.
func locate(paths []string) ([]located, error) {
	if len(paths) == 0 {
		return nil, nil
	}
	var failure bytes.Buffer
	cmd := exec.Command("go", append([]string{"list", "-m", "-json=Path,Version,Dir"}, paths...)...)
	cmd.Stderr = &failure
	output, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("list modules: %w: %s", err, failure.Bytes())
	}
	var found []located
	for decoder := json.NewDecoder(bytes.NewReader(output)); ; {
		var next located
		switch err := decoder.Decode(&next); {
		case errors.Is(err, io.EOF):
			return found, nil
		case err != nil:
			return nil, fmt.Errorf("list modules: %w", err)
		case next.Dir == "":
			return nil, fmt.Errorf("module %s is not downloaded; run: go mod download", next.Path)
		}
		found = append(found, next)
	}
}

var (
	licenceFile = regexp.MustCompile(`(?i)^((un)?licen[cs]e|copying)([-.]|$)`)
	noticeFile  = regexp.MustCompile(`(?i)^notice([-.]|$)`)
)

func read(dir string) ([]text, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var texts []text
	for _, entry := range entries {
		name := entry.Name()
		if entry.IsDir() || !licenceFile.MatchString(name) && !noticeFile.MatchString(name) {
			continue
		}
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		hash := fingerprint(string(content))
		found := text{Name: allowed()[hash], File: name, Hash: hash, Text: string(content)}
		if noticeFile.MatchString(name) {
			found.Name = notice
		}
		texts = append(texts, found)
	}
	return texts, nil
}

var (
	holder = regexp.MustCompile(`(?im)^\W*(portions )?copyright\b.*$|^\W*all rights reserved\W*$`)
	spaces = regexp.MustCompile(`[^a-z0-9]+`)
)

// fingerprint is the same for the same conditions of another holder, whatever
// the line breaks and the punctuation.
func fingerprint(content string) string {
	plain := spaces.ReplaceAllString(strings.ToLower(holder.ReplaceAllString(content, "")), " ")
	sum := sha256.Sum256([]byte(strings.TrimSpace(plain)))
	return hex.EncodeToString(sum[:8])
}

//go:embed allowed.txt
var list string

// allowed are the texts that were read, by fingerprint.
func allowed() map[string]string {
	names := map[string]string{}
	for line := range strings.Lines(list) {
		if fields := strings.Fields(line); len(fields) >= 2 && fields[0] != "#" {
			names[fields[0]] = fields[1]
		}
	}
	return names
}

// check wants a licence that is on the list of every module, and no other.
func check(modules []module) error {
	var errs []error
	for _, module := range modules {
		licences := 0
		for _, text := range module.Texts {
			switch text.Name {
			case "":
				errs = append(errs, fmt.Errorf("%s %s: %s is not on the list; read it, then add: %s SPDX-NAME", module.Path, module.Version, text.File, text.Hash))
			case notice:
			default:
				licences++
			}
		}
		if licences == 0 {
			errs = append(errs, fmt.Errorf("%s %s: no licence that is on the list", module.Path, module.Version))
		}
	}
	return errors.Join(errs...)
}
