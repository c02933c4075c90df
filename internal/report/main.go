// Command report reads `go test -json`, shows what happens as it happens, and
// writes a report of it in Markdown: commit, date, each test with its result
// and seconds, and each figure that a test printed as "figure: TEXT". It exits
// with 1 when a test failed or none ran.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// event is one line of `go test -json`.
type event struct {
	Action, Package, Test, Output string
	Elapsed                       float64
}

type cell struct {
	name, result string
	seconds      float64
	figures      []string
	rows         []string // of the table
	output       strings.Builder
}

type report struct {
	cells  []*cell
	byName map[string]*cell
	head   string   // of the table, columns set off by |
	quiet  bool     // show failures and packages only
	broken []string // packages that failed without a failing test
}

func main() {
	title := flag.String("title", "Tests", "heading of the report")
	file := flag.String("o", "", "write the report to this file")
	quiet := flag.Bool("quiet", false, "show only failures, figures and packages")
	flag.Parse()
	read := &report{byName: map[string]*cell{}, quiet: *quiet}
	if err := read.consume(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
	if *file != "" {
		if err := os.WriteFile(*file, []byte(read.markdown(*title)), 0o644); err != nil {
			fmt.Fprintln(os.Stderr, "report:", err)
			os.Exit(1)
		}
	}
	for _, reason := range read.missed() {
		fmt.Println("skipped, but not as a rig: " + reason)
	}
	passed, failed, skipped := read.count()
	fmt.Printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped)
	if failed > 0 || passed == 0 || len(read.broken) > 0 {
		os.Exit(1)
	}
}

func (r *report) consume(from io.Reader, show io.Writer) error {
	lines := bufio.NewReader(from)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			r.take(line, show)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read test output: %w", err)
		}
	}
}

func (r *report) take(line string, show io.Writer) {
	var e event
	if json.Unmarshal([]byte(line), &e) != nil {
		fmt.Fprint(show, line) // a build failure, said outside the protocol
		return
	}
	if e.Test == "" {
		r.packageEnd(e, show)
		return
	}
	name := e.Package[strings.LastIndex(e.Package, "/")+1:] + ": " + e.Test
	at := r.byName[name]
	if at == nil {
		at = &cell{name: name}
		r.byName[name] = at
		r.cells = append(r.cells, at)
	}
	switch e.Action {
	case "output":
		at.output.WriteString(e.Output)
		if _, figure, found := strings.Cut(e.Output, "figure: "); found {
			at.figures = append(at.figures, strings.TrimSpace(figure))
			fmt.Fprintf(show, "      %s: %s\n", e.Test, strings.TrimSpace(figure))
		}
		if _, head, found := strings.Cut(e.Output, "head: "); found {
			r.head = strings.TrimSpace(head)
		}
		if _, row, found := strings.Cut(e.Output, "row: "); found {
			at.rows = append(at.rows, strings.TrimSpace(row))
			fmt.Fprintf(show, "      %s: %s\n", e.Test, strings.TrimSpace(row))
		}
	case "pass", "fail", "skip":
		at.result, at.seconds = e.Action, e.Elapsed
		if e.Action == "fail" || !r.quiet {
			fmt.Fprintf(show, "%-5s %7.1fs  %s\n", e.Action, e.Elapsed, name)
		}
		if e.Action == "fail" {
			fmt.Fprint(show, at.output.String())
		}
	}
}

// packageEnd notices a package that failed before or beside its tests: it did
// not build, it panicked, or it leaked.
func (r *report) packageEnd(e event, show io.Writer) {
	switch e.Action {
	case "output", "build-output":
		if e.Output != "PASS\n" && !strings.HasPrefix(e.Output, "?   \t") {
			fmt.Fprint(show, e.Output)
		}
	case "fail", "build-fail":
		for _, at := range r.cells {
			if at.result == "" && strings.HasPrefix(at.name, e.Package[strings.LastIndex(e.Package, "/")+1:]+": ") {
				fmt.Fprintf(show, "never ended: %s\n%s", at.name, at.output.String())
			}
			if at.result == "fail" && strings.HasPrefix(at.name, e.Package[strings.LastIndex(e.Package, "/")+1:]+": ") {
				return
			}
		}
		r.broken = append(r.broken, e.Package)
	}
}

// missed lists the tests that were skipped for another reason than that a rig was
// not asked for, such as a tool that is not installed.
func (r *report) missed() (list []string) {
	for _, at := range r.cells {
		if at.result != "skip" {
			continue
		}
		reason := "no reason"
		for line := range strings.Lines(at.output.String()) {
			if _, said, found := strings.Cut(line, ".go:"); found && strings.HasPrefix(line, "    ") {
				_, reason, _ = strings.Cut(strings.TrimSpace(said), ": ")
			}
		}
		if !strings.HasPrefix(reason, "a rig") && !strings.HasPrefix(reason, "not in the sample") {
			list = append(list, at.name+": "+reason)
		}
	}
	return list
}

func (r *report) count() (passed, failed, skipped int) {
	for _, at := range r.cells {
		switch at.result {
		case "pass":
			passed++
		case "skip":
			skipped++
		default:
			failed++ // also one that never ended
		}
	}
	return passed, failed + len(r.broken), skipped
}

func (r *report) markdown(title string) string {
	commit, err := exec.Command("git", "describe", "--always", "--dirty", "--abbrev=12").Output()
	if err != nil {
		commit = []byte("unknown")
	}
	passed, failed, skipped := r.count()
	var text strings.Builder
	fmt.Fprintf(&text, "# %s\n\ncommit %s · %s · %d cells run, %d failed, %d skipped\n\n| cell | result | seconds |\n|---|---|---|\n",
		title, strings.TrimSpace(string(commit)), time.Now().UTC().Format("2006-01-02 15:04 UTC"), passed+failed, failed, skipped)
	for _, at := range r.cells {
		fmt.Fprintf(&text, "| %s | %s | %.1f |\n", at.name, at.result, at.seconds)
	}
	for _, pkg := range r.broken {
		fmt.Fprintf(&text, "| %s | broken | |\n", pkg)
	}
	r.table(&text)
	text.WriteString("\n## Figures\n\nOne noisy 2-core virtual machine: for ratios and orders of magnitude, not for absolutes.\n\n")
	for _, at := range r.cells {
		for _, figure := range at.figures {
			fmt.Fprintf(&text, "- %s: %s\n", at.name, figure)
		}
	}
	return text.String()
}

// table writes the rows of all cells, if there are any.
func (r *report) table(text *strings.Builder) {
	if r.head == "" {
		return
	}
	columns := 1 + strings.Count(r.head, "|")
	fmt.Fprintf(text, "\n| | %s |\n|---|%s\n", r.head, strings.Repeat("---|", columns))
	for _, at := range r.cells {
		for _, row := range at.rows {
			_, name, _ := strings.Cut(at.name, "/")
			fmt.Fprintf(text, "| %s | %s |\n", name, row)
		}
	}
}
