// Package archtest holds the source tree to the table of packages in
// ARCHITECTURE.md: who may import whom, and what must never be linked.
package archtest

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/causewayhq/causeway/"

// rule is one row of the table.
type rule struct {
	dir       string   // directory below the module's root
	mayImport []string // directories, directly
	never     []string // directories, or import paths, at any depth
}

// listed is the part of `go list -json` that matters here.
type listed struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

func readTable(t *testing.T, text string) []rule {
	t.Helper()
	var rules []rule
	for line := range strings.Lines(text) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 5 || !strings.Contains(cells[1], "`") {
			continue
		}
		rules = append(rules, rule{
			dir:       strings.Trim(strings.TrimSpace(cells[1]), "`"),
			mayImport: words(cells[3]),
			never:     words(cells[4]),
		})
	}
	if len(rules) < 20 {
		t.Fatalf("read table of ARCHITECTURE.md: %d rows, want 20 or more", len(rules))
	}
	return rules
}

func words(cell string) []string {
	return strings.FieldsFunc(cell, func(r rune) bool { return r == ',' || r == ' ' })
}

// covers says whether path is dir or lies below it.
func covers(dir, path string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

// ruleFor is the row of the longest directory that covers the package.
func ruleFor(rules []rule, dir string) (rule, bool) {
	var best rule
	for _, candidate := range rules {
		if covers(candidate.dir, dir) && len(candidate.dir) > len(best.dir) {
			best = candidate
		}
	}
	return best, best.dir != ""
}

// violations is what the packages do against the rules, one line each.
func violations(rules []rule, packages []listed) []string {
	var found []string
	for _, pkg := range packages {
		dir := strings.TrimPrefix(pkg.ImportPath, module)
		row, known := ruleFor(rules, dir)
		if !known {
			found = append(found, dir+" is not in the table")
			continue
		}
		for _, path := range pkg.Imports {
			target, ours := strings.CutPrefix(path, module)
			if !ours || covers(row.dir, target) {
				continue
			}
			allowed := slices.ContainsFunc(row.mayImport, func(dir string) bool { return covers(dir, target) })
			if !allowed && !freeForAll(row.dir, target) {
				found = append(found, dir+" imports "+target)
			}
		}
		for _, path := range pkg.Deps {
			for _, banned := range row.never {
				if bans(banned, path) {
					found = append(found, dir+" depends on "+banned+" by "+strings.TrimPrefix(path, module))
				}
			}
		}
	}
	return found
}

// bans says whether a path is the banned one, of ours or of another module, or
// lies below it; a "$" at its end spares what lies below.
func bans(banned, path string) bool {
	if exact, found := strings.CutSuffix(banned, "$"); found {
		return path == exact
	}
	return covers(module+banned, path) || covers(banned, path)
}

// freeForAll: rigs under internal may use whatever they exercise, but nothing
// outside internal and no test may rely on them in the product.
func freeForAll(from, target string) bool {
	return strings.HasPrefix(from, "internal/") || target == "internal/version"
}

func TestTree(t *testing.T) {
	text, err := os.ReadFile("../../ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	rules := readTable(t, string(text))
	list := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports,Deps", "./...")
	list.Dir, list.Stderr = "../..", os.Stderr
	output, err := list.Output()
	if err != nil {
		t.Fatalf("list packages: %v", err)
	}
	var packages []listed
	decoder := json.NewDecoder(strings.NewReader(string(output)))
	for {
		var pkg listed
		err := decoder.Decode(&pkg)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, pkg)
	}
	for _, line := range violations(rules, packages) {
		t.Error(line)
	}
	for _, row := range rules {
		if !slices.ContainsFunc(packages, func(pkg listed) bool { return covers(row.dir, strings.TrimPrefix(pkg.ImportPath, module)) }) {
			t.Errorf("the table names %s, which does not exist", row.dir)
		}
	}
}

// TestNoticesViolations plants each kind of violation.
func TestNoticesViolations(t *testing.T) {
	rules := []rule{
		{dir: "low"},
		{dir: "mid", mayImport: []string{"low"}, never: []string{"top", "example.com/heavy", "example.com/exact$"}},
		{dir: "top", mayImport: []string{"mid"}},
	}
	for name, test := range map[string]struct {
		pkg  listed
		want []string
	}{
		"clean":           {listed{ImportPath: module + "mid", Imports: []string{module + "low/x", module + "mid/y", "fmt"}}, nil},
		"upward":          {listed{ImportPath: module + "mid/y", Imports: []string{module + "top"}}, []string{"mid/y imports top"}},
		"heavy at depth":  {listed{ImportPath: module + "mid", Deps: []string{"example.com/heavy/x"}}, []string{"mid depends on example.com/heavy by example.com/heavy/x"}},
		"ours at depth":   {listed{ImportPath: module + "mid", Deps: []string{module + "top/z"}}, []string{"mid depends on top by top/z"}},
		"not in table":    {listed{ImportPath: module + "stray"}, []string{"stray is not in the table"}},
		"exact":           {listed{ImportPath: module + "mid", Deps: []string{"example.com/exact"}}, []string{"mid depends on example.com/exact$ by example.com/exact"}},
		"below exact":     {listed{ImportPath: module + "mid", Deps: []string{"example.com/exact/below"}}, nil},
		"alike, not same": {listed{ImportPath: module + "mid", Deps: []string{"example.com/heavyweight"}}, nil},
	} {
		if got := violations(rules, []listed{test.pkg}); !slices.Equal(got, test.want) {
			t.Errorf("%s: found %q, want %q", name, got, test.want)
		}
	}
}
