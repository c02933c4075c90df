package coverage

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const (
	root     = "../.."
	document = "docs/protocol-coverage.md"
	// mutations is how many changes of the code the document must list.
	mutations = 10
)

// rules is how many bullets, table rows and sentences of their own each section
// of the protocol's description has that was read for the document. A row that
// goes away is noticed, also when the heading's figure goes with it.
var rules = map[string]int{
	"1.3": 8, "1.7": 19, "1.9": 5, "1.11": 8,
	"2.1": 11, "2.2": 7, "2.3": 4, "2.4": 1, "2.5": 16, "2.6": 4, "2.7": 6, "2.8": 2, "2.9": 1,
	"3.1": 6, "3.2": 7, "3.3": 1, "3.4": 4, "3.5": 1, "3.6": 11, "3.7": 18, "3.8": 20, "3.9": 16,
	"4.1": 3, "4.2": 11, "4.3": 5, "4.4": 20, "4.5": 6, "4.6": 11, "4.7": 6, "4.8": 10,
	"5.1": 10, "5.2": 20, "5.3": 40, "5.4": 12, "5.5": 33, "5.6": 41,
}

var (
	heading   = regexp.MustCompile(`^## ([0-9.]+) .*\(([0-9]+) rules\)$`)
	reference = regexp.MustCompile("`([a-z0-9_/]+)\\.((?:Test|Fuzz)[A-Za-z0-9_]+)(?:/([^`]+))?`")
)

// excuse is how the cell of a rule begins that nothing here can show.
const excuse = "not applicable: "

func TestEveryRuleNamesATest(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, document))
	if err != nil {
		t.Fatal(err)
	}
	counted, changes := readDocument(t, string(text), newSources(t))
	for section, want := range rules {
		if counted[section] < want {
			t.Errorf("section %s has %d rules, the protocol's description has %d", section, counted[section], want)
		}
	}
	if changes < mutations {
		t.Errorf("%d mutations, want %d", changes, mutations)
	}
}

// readDocument checks each row, and gives the rows of each section and of the
// mutations.
func readDocument(t *testing.T, text string, in *sources) (counted map[string]int, changes int) {
	t.Helper()
	counted = map[string]int{}
	declared := map[string]int{}
	section := ""
	for number, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(line, "## ") {
			section = strings.TrimPrefix(line, "## ")
			if found := heading.FindStringSubmatch(line); found != nil {
				section = found[1]
				declared[section], _ = strconv.Atoi(found[2])
			}
			continue
		}
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		if !strings.HasPrefix(line, "| ") || cells[0] == "#" {
			continue
		}
		if section == "Mutations" {
			changes++
		} else {
			counted[section]++
			if want := section + "." + strconv.Itoa(counted[section]); cells[0] != want {
				t.Errorf("line %d: rule %q, want %q", number+1, cells[0], want)
			}
		}
		checkRow(t, number+1, cells, in)
	}
	for section, want := range declared {
		if counted[section] != want {
			t.Errorf("section %s has %d rules, its heading says %d", section, counted[section], want)
		}
	}
	return counted, changes
}

func checkRow(t *testing.T, line int, cells []string, in *sources) {
	t.Helper()
	if len(cells) != 3 {
		t.Errorf("line %d: %d cells, want 3", line, len(cells))
		return
	}
	if why, found := strings.CutPrefix(cells[2], excuse); found && len(why) > 20 {
		return
	}
	found := reference.FindAllStringSubmatch(cells[2], -1)
	if len(found) == 0 || strings.Count(cells[2], "`") != 2*len(found) {
		t.Errorf("line %d: rule %s names no test, or something that is none: %q", line, cells[0], cells[2])
	}
	for _, one := range found {
		if problem := in.lacks(one[1], one[2], one[3]); problem != "" {
			t.Errorf("line %d: rule %s names %s: %s", line, cells[0], one[0], problem)
		}
	}
}

// sources are the test files of the packages that the document names.
type sources struct {
	t        *testing.T
	packages map[string]map[string]map[string]bool // by directory and test: the strings of its file
}

func newSources(t *testing.T) *sources {
	return &sources{t: t, packages: map[string]map[string]map[string]bool{}}
}

// lacks says what is missing of a test, "" when it exists. Subtests are not
// run: each part of the name must be a string of the test's file that can be a name.
func (s *sources) lacks(directory, test, subtest string) string {
	if s.packages[directory] == nil {
		s.packages[directory] = s.read(directory)
	}
	texts, found := s.packages[directory][test]
	if !found {
		return "no such test"
	}
	for part := range strings.SplitSeq(subtest, "/") {
		part = strings.ReplaceAll(part, "_", " ")
		exists := part == ""
		for text := range texts {
			exists = exists || text == part
		}
		if !exists {
			return "its file names no subtest " + strconv.Quote(part)
		}
	}
	return ""
}

func (s *sources) read(directory string) map[string]map[string]bool {
	s.t.Helper()
	tests := map[string]map[string]bool{}
	files, err := filepath.Glob(filepath.Join(root, directory, "*_test.go"))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			s.t.Fatal(err)
		}
		texts := map[string]bool{}
		ast.Inspect(file, func(node ast.Node) bool {
			for _, name := range names(node) {
				if literal, ok := name.(*ast.BasicLit); ok && literal.Kind == token.STRING {
					if text, err := strconv.Unquote(literal.Value); err == nil {
						texts[strings.ReplaceAll(strings.Trim(text, "/"), "_", " ")] = true
					}
				}
			}
			return true
		})
		for _, declared := range file.Decls {
			if function, ok := declared.(*ast.FuncDecl); ok && function.Recv == nil {
				tests[function.Name.Name] = texts
			}
		}
	}
	return tests
}

// names are the expressions of a node that may name a subtest: the keys of a table
// and the first field of its rows, or the one called name, and what Run is given.
func names(node ast.Node) []ast.Expr {
	switch node := node.(type) {
	case *ast.CallExpr:
		if called, ok := node.Fun.(*ast.SelectorExpr); ok && called.Sel.Name == "Run" && len(node.Args) == 2 {
			if joined, ok := node.Args[0].(*ast.BinaryExpr); ok {
				return []ast.Expr{joined.X, joined.Y}
			}
			return node.Args[:1]
		}
	case *ast.CompositeLit:
		if len(node.Elts) > 0 {
			return node.Elts[:1]
		}
	case *ast.KeyValueExpr:
		if field, ok := node.Key.(*ast.Ident); ok && field.Name == "name" {
			return []ast.Expr{node.Value}
		}
		return []ast.Expr{node.Key}
	}
	return nil
}

// TestWhatTheCheckRefuses holds that the check can fail.
func TestWhatTheCheckRefuses(t *testing.T) {
	in := newSources(t)
	for _, test := range []struct {
		directory, name, subtest string
		lacks                    bool
	}{
		{"internal/coverage", "TestWhatTheCheckRefuses", "", false},
		{"internal/coverage", "TestWhatTheCheckRefuses", "a_cell", false}, // below
		{"internal/coverage", "TestWhatTheCheckRefuses", "a", true},
		{"internal/coverage", "TestWhatTheCheckRefuses", "no_such", true}, // a string, but no name
		{"internal/coverage", "TestWhatTheCheckRefuses", "never " + "written", true},
		{"internal/coverage", "TestNever", "", true},
		{"internal/nowhere", "TestWhatTheCheckRefuses", "", true},
	} {
		if got := in.lacks(test.directory, test.name, test.subtest); (got != "") != test.lacks {
			t.Errorf("%+v: %q", test, got)
		}
	}
	t.Run("a cell", checkReferences)
}

func checkReferences(t *testing.T) {
	t.Helper()
	for cell, want := range map[string]int{
		"`control.TestLoopRetriesForever`, `server/api.TestCloseCodes/x y`": 2, "control.TestLoop": 0, "`control.loop`": 0,
	} {
		if got := len(reference.FindAllString(cell, -1)); got != want {
			t.Errorf("%s names %d tests, want %d", cell, got, want)
		}
	}
}
