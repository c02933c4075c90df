//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/causewayhq/causeway/agent/resources"
)

func TestStat(t *testing.T) {
	line := regexp.MustCompile(`^[0-9.]+/[0-9.]+ (cores|[KMGTP]iB) \([0-9]+%\)\n$`)
	for _, arguments := range [][]string{
		{"stat", "cpu", "--sample", "50ms"}, {"stat", "cpu", "--host", "--sample=50ms"}, {"stat", "mem"}, {"stat", "mem", "--host"},
		{"stat", "disk"}, {"stat", "disk", "--path", t.TempDir()},
	} {
		t.Run(strings.Join(arguments, " "), func(t *testing.T) {
			text, err := program(t, nil, arguments...).Output()
			if err != nil || !line.Match(text) {
				t.Errorf("got %q, %v", text, err)
			}
			text, err = program(t, nil, append(arguments, "--json")...).Output()
			if err != nil {
				t.Fatal(err)
			}
			fitsSchema(t, text)
		})
	}
}

func TestStatFailures(t *testing.T) {
	tests := []struct {
		arguments []string
		code      int
		says      string
	}{
		{[]string{"stat", "network"}, exitUsage, `unknown command "network"`},
		{[]string{"stat", "cpu", "now"}, exitUsage, `unexpected argument "now"`},
		{[]string{"stat", "cpu", "--sample", "-1s"}, exitUsage, "--sample -1s: want more than 0s"},
		{[]string{"stat", "cpu", "--sample", "2h"}, exitUsage, "at most 1m0s"},
		{[]string{"stat", "mem", "--path", "/"}, exitUsage, "--path"},
		{[]string{"stat", "disk", "--path", "/causeway/absent"}, exitGeneric, "measure volume /causeway/absent: no such file or directory; give --path"},
	}
	for _, test := range tests {
		t.Run(strings.Join(test.arguments, " "), func(t *testing.T) {
			cmd := program(t, nil, test.arguments...)
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			err := cmd.Run()
			text := stderr.String()
			if code := cmd.ProcessState.ExitCode(); code != test.code || !strings.Contains(text, test.says) || strings.Count(text, "\n") != 1 || stdout.Len() > 0 {
				t.Errorf("exit code %d (%v): %q", code, err, text)
			}
			if test.code == exitUsage && !strings.Contains(text, "see causeway-agent stat") {
				t.Errorf("no remedy in %q", text)
			}
		})
	}
}

func TestStatText(t *testing.T) {
	tests := []struct {
		m    measured
		want string
	}{
		{measured{Unit: "cores", Used: 0.4151, Total: 4}, "0.42/4 cores (10%)"},
		{measured{Unit: "cores", Used: 1.5, Total: 1.5}, "1.5/1.5 cores (100%)"},
		{bytesOf("memory", resources.Host, resources.Amount{Used: 1536 << 20, Total: 8 << 30}), "1.5/8 GiB (19%)"},
		{bytesOf("disk", resources.Host, resources.Amount{Used: 0, Total: 512 << 10}), "0/512 KiB (0%)"},
		{bytesOf("disk", resources.Host, resources.Amount{Used: 5, Total: 1000}), "5/1000 bytes (0%)"},
		{bytesOf("disk", resources.Host, resources.Amount{}), "0/0 bytes (0%)"},
		{bytesOf("disk", resources.Host, resources.Amount{Used: 1 << 62, Total: 1 << 62}), "4096/4096 PiB (100%)"},
	}
	for _, test := range tests {
		if got := test.m.String(); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}

// fitsSchema compares output with schema/stat.json, as far as that goes: one
// object of plain values.
func fitsSchema(t *testing.T, text []byte) {
	t.Helper()
	data, err := os.ReadFile("schema/stat.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Required   []string
		Properties map[string]struct {
			Type string
			Enum []any
		}
	}
	if err := json.Unmarshal(data, &schema); err != nil {
		t.Fatal(err)
	}
	var value map[string]any
	if err := json.Unmarshal(text, &value); err != nil {
		t.Fatalf("%v in %q", err, text)
	}
	for _, name := range schema.Required {
		if _, ok := value[name]; !ok {
			t.Errorf("%s is missing in %s", name, text)
		}
	}
	for name, each := range value {
		property, known := schema.Properties[name]
		_, isText := each.(string)
		if !known || isText != (property.Type == "string") || property.Enum != nil && !slices.Contains(property.Enum, each) {
			t.Errorf("%s does not fit the schema in %s", name, text)
		}
	}
}
