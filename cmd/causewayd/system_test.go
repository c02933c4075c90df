package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/spf13/cobra"

	"github.com/causewayhq/causeway/service"
	"github.com/causewayhq/causeway/service/system"
)

// TestStatusJSON: what is printed has exactly what schema/status.json promises.
func TestStatusJSON(t *testing.T) {
	text, err := os.ReadFile("schema/status.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Required             []string
		AdditionalProperties bool
		Properties           map[string]struct {
			Type string
			Enum []any
		}
	}
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	var states []any
	for _, state := range []system.State{system.NotInstalled, system.Stopped, system.Starting, system.Running, system.Stopping, system.Failed} {
		states = append(states, string(state))
		var out bytes.Buffer
		command := &cobra.Command{}
		command.SetOut(&out)
		if err := printStatus(command, system.Status{Manager: "systemd", State: state, PID: 7}, true); err != nil {
			t.Fatal(err)
		}
		var printed map[string]any
		if err := json.Unmarshal(out.Bytes(), &printed); err != nil {
			t.Fatal(err)
		}
		keys := slices.Sorted(maps.Keys(printed))
		if !slices.Equal(keys, slices.Sorted(maps.Keys(schema.Properties))) || !slices.Equal(keys, slices.Sorted(slices.Values(schema.Required))) {
			t.Errorf("printed %v, promised %v, required %v", keys, slices.Sorted(maps.Keys(schema.Properties)), schema.Required)
		}
		for key, value := range printed {
			want := map[string]any{"string": "", "integer": 0.0, "boolean": false}[schema.Properties[key].Type]
			if want == nil || kind(value) != kind(want) {
				t.Errorf("%s is %v, promised is a %s", key, value, schema.Properties[key].Type)
			}
		}
		if installed := printed["installed"]; installed != (state != system.NotInstalled) {
			t.Errorf("%s: installed %v", state, installed)
		}
	}
	if !slices.Equal(schema.Properties["state"].Enum, states) || schema.AdditionalProperties {
		t.Errorf("states promised %v, there are %v", schema.Properties["state"].Enum, states)
	}
}

func kind(value any) string {
	switch value.(type) {
	case string:
		return "string"
	case float64:
		return "integer"
	case bool:
		return "boolean"
	}
	return "other"
}

func TestStatusLine(t *testing.T) {
	var out bytes.Buffer
	command := &cobra.Command{}
	command.SetOut(&out)
	status := system.Status{Manager: "systemd", State: system.Failed, AtBoot: true, ExitCode: 13, Definition: "/etc/x", Detail: "systemd says exit-code"}
	if err := printStatus(command, status, false); err != nil {
		t.Fatal(err)
	}
	if want := "causewayd (systemd): failed, exit code 13, systemd says exit-code, starts with the machine\ndefined by /etc/x\n"; out.String() != want {
		t.Errorf("got  %q\nwant %q", out.String(), want)
	}
}

func TestVerdict(t *testing.T) {
	for state, want := range map[system.State]service.Failure{
		system.NotInstalled: 21, system.Stopped: 22, system.Starting: 22, system.Stopping: 22, system.Failed: 22, system.Running: 0,
	} {
		var failed *service.Error
		if err := verdict(system.Status{State: state}); errors.As(err, &failed) != (want != 0) || want != 0 && (failed.Failure != want || failed.Remedy == "") {
			t.Errorf("%s: %v", state, err)
		}
	}
}
