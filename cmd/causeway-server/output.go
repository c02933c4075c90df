package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// outputVersion counts incompatible changes of the JSON output.
const outputVersion = 1

// jsonFlag gives a command --json.
func (a *app) jsonFlag(command *cobra.Command) *cobra.Command {
	command.Flags().BoolVar(&a.asJSON, "json", false, "print JSON")
	return command
}

// printJSON prints fields and the version of the output's form.
func (a *app) printJSON(fields map[string]any) error {
	body := maps.Clone(fields)
	body["version"] = outputVersion
	encoder := json.NewEncoder(a.stdout)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(body); err != nil {
		return fmt.Errorf("print output: %w", err)
	}
	return nil
}

// printTable prints rows under a head of column names.
func (a *app) printTable(head []string, rows [][]string) error {
	table := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, strings.Join(head, "\t"))
	for _, row := range rows {
		fmt.Fprintln(table, strings.Join(row, "\t"))
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("print output: %w", err)
	}
	return nil
}

// print prints lines.
func (a *app) print(lines ...string) error {
	if _, err := fmt.Fprintln(a.stdout, strings.Join(lines, "\n")); err != nil {
		return fmt.Errorf("print output: %w", err)
	}
	return nil
}

// moment is a time for a table, "never" for none.
func moment(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.Local().Format("2006-01-02 15:04")
}

// optional is a time for JSON: null for none.
func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
