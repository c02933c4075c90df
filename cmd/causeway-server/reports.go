package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/causewayhq/causeway/server/define"
	"github.com/causewayhq/causeway/server/store"
)

type stepOutput struct {
	Run       int64     `json:"run"`
	State     string    `json:"state"`
	ChangedAt time.Time `json:"changed_at"`
}

type metadataOutput struct {
	Key         string     `json:"key"`
	DisplayName string     `json:"display_name"`
	CollectedAt *time.Time `json:"collected_at"`
	Value       string     `json:"value"`
	Error       string     `json:"error"`
}

type appOutput struct {
	ID     uuid.UUID `json:"id"`
	Slug   string    `json:"slug"`
	Health string    `json:"health"`
}

type connectionOutput struct {
	ID             uuid.UUID  `json:"id"`
	Type           string     `json:"type"`
	IP             string     `json:"ip"`
	ConnectedAt    *time.Time `json:"connected_at"`
	DisconnectedAt *time.Time `json:"disconnected_at"`
	StatusCode     *int32     `json:"status_code"`
	Reason         string     `json:"reason"`
}

// agentState is everything about an agent that status shows.
type agentState struct {
	Agent             agentOutput        `json:"agent"`
	Connected         *bool              `json:"connected"`
	Lifecycle         string             `json:"lifecycle_state"`
	StartedAt         *time.Time         `json:"started_at"`
	ReadyAt           *time.Time         `json:"ready_at"`
	Version           string             `json:"agent_version"`
	ExpandedDirectory string             `json:"expanded_directory"`
	Subsystems        []string           `json:"subsystems"`
	LogsLength        int64              `json:"logs_length"`
	LogsLines         int64              `json:"logs_lines"`
	LogsOverflowed    bool               `json:"logs_overflowed"`
	Steps             []stepOutput       `json:"lifecycle"`
	Scripts           []scriptOutput     `json:"scripts"`
	Unreported        []unreportedOutput `json:"scripts_not_reported"`
	Apps              []appOutput        `json:"apps"`
	Metadata          []metadataOutput   `json:"metadata"`
	Open              []connectionOutput `json:"open_connections"`
	Stats             *statsOutput       `json:"stats"`
	Resources         *resourcesOutput   `json:"resources"`
}

func (a *app) agentStatus() *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use: "status " + agentForm, Short: "Show what an agent has reported: lifecycle, scripts, apps, metadata, resources, sessions", Args: cobra.ExactArgs(1),
		Long: `Show what an agent has reported: lifecycle, scripts, apps, metadata,
resources, sessions. It reads the database, in which metadata, health, resources
and statistics are up to 10 seconds old; whether the agent is connected now, the
running server says. A run of a script is reported when it has ended, traffic and
sessions every five minutes.`,
		Example: "  causeway-server agent status alice/myws/main\n  causeway-server agent status alice/myws/main --json",
		RunE: func(command *cobra.Command, args []string) error {
			return a.withStore(command.Context(), func(opened *store.Store) error {
				agent, err := a.findAgent(command.Context(), opened, args[0])
				if err != nil {
					return err
				}
				state, err := readAgentState(command.Context(), opened, agent)
				if err != nil {
					return err
				}
				now := a.askPresence(command.Context(), opened)
				state.Connected = now.of(agent.ID)
				if a.asJSON {
					return a.printFields(state)
				}
				if err := a.printState(agent, state); err != nil || now.silent == nil {
					return err
				}
				return a.print("", now.note())
			})
		},
	})
}

// printFields prints the members of a value, and the version of the output's form.
func (a *app) printFields(value any) error {
	encoded, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("print output: %w", err)
	}
	fields := map[string]any{}
	if err := json.Unmarshal(encoded, &fields); err != nil {
		return fmt.Errorf("print output: %w", err)
	}
	return a.printJSON(fields)
}

func readAgentState(ctx context.Context, opened *store.Store, agent store.Agent) (agentState, error) {
	report, first := opened.AgentReport(ctx, agent.ID)
	steps, second := opened.Lifecycle(ctx, agent.ID)
	timings, third := opened.Timings(ctx, agent.ID)
	values, fourth := opened.AgentValues(ctx, agent.ID)
	open, fifth := opened.Connections(ctx, agent.ID, true, 0)
	lines, sixth := opened.Stats(ctx, agent.ID, time.Now().Add(-store.StatsMemory))
	kept, seventh := opened.Definition(ctx, agent.ID)
	if err := errors.Join(first, second, third, fourth, fifth, sixth, seventh); err != nil {
		return agentState{}, err
	}
	definition, err := define.Load(kept.Document)
	if err != nil {
		return agentState{}, err
	}
	state := agentState{
		Agent: describeAgent(agent), Lifecycle: report.Lifecycle.String(), StartedAt: optional(report.StartedAt), ReadyAt: optional(report.ReadyAt),
		Version: report.Version, ExpandedDirectory: report.Directory, Subsystems: append([]string{}, report.Subsystems...),
		LogsLength: report.LogsLength, LogsLines: report.LogsLines, LogsOverflowed: report.LogsOverflowed,
		Steps: []stepOutput{}, Scripts: lastTimings(agent, definition, timings), Open: describeConnections(open),
	}
	state.Unreported = unreported(definition, state.Scripts)
	for _, step := range steps {
		state.Steps = append(state.Steps, stepOutput{step.Run, step.State.String(), step.At})
	}
	if len(lines) > 0 {
		last := describeStats(lines[len(lines)-1])
		state.Stats = &last
	}
	if state.Resources, err = readResources(values); err != nil {
		return state, err
	}
	state.Apps, state.Metadata, err = readValues(agent, definition, values)
	return state, err
}

// readValues finds the values of what the agent is told to measure.
func readValues(agent store.Agent, definition define.Definition, values []store.AgentValue) ([]appOutput, []metadataOutput, error) {
	health, metadata := map[string]string{}, map[string]metadataOutput{}
	for _, value := range values {
		switch value.Kind {
		case store.ValueApp:
			var name string
			if err := json.Unmarshal(value.Value, &name); err != nil {
				return nil, nil, fmt.Errorf("read health of app %s: %w", value.Name, err)
			}
			health[value.Name] = name
		case store.ValueMetadata:
			var output metadataOutput
			if err := json.Unmarshal(value.Value, &output); err != nil {
				return nil, nil, fmt.Errorf("read metadata %q: %w", value.Name, err)
			}
			metadata[value.Name] = output
		}
	}
	apps, list := []appOutput{}, []metadataOutput{}
	for _, app := range definition.Apps {
		output := appOutput{define.AppID(agent.ID, app.Slug), app.Slug, "disabled"}
		if app.Health != nil {
			output.Health = "initializing"
			if known := health[output.ID.String()]; known != "" {
				output.Health = known
			}
		}
		apps = append(apps, output)
	}
	for _, described := range definition.Metadata {
		output := metadata[described.Key]
		output.Key, output.DisplayName = described.Key, described.DisplayName
		list = append(list, output)
	}
	return apps, list, nil
}

func describeConnections(list []store.AgentConnection) []connectionOutput {
	outputs := []connectionOutput{}
	for _, one := range list {
		output := connectionOutput{one.ID, one.Type.String(), one.IP, optional(one.ConnectedAt), optional(one.DisconnectedAt), nil, one.Reason}
		if !one.DisconnectedAt.IsZero() {
			output.StatusCode = &one.Code
		}
		outputs = append(outputs, output)
	}
	return outputs
}

// when is an optional time for people.
func when(at *time.Time) string {
	if at == nil {
		return "-"
	}
	return at.Local().Format("2006-01-02 15:04:05")
}

func (a *app) printState(agent store.Agent, state agentState) error {
	facts := [][]string{
		{"Connected:", yesNo(state.Connected)},
		{"Lifecycle:", state.Lifecycle},
		{"Started:", when(state.StartedAt)},
		{"Ready:", when(state.ReadyAt)},
		{"Version:", orDash(printable(state.Version))},
		{"Directory:", orDash(printable(state.ExpandedDirectory))},
		{"Logs:", fmt.Sprintf("%d lines, %s", state.LogsLines, size(state.LogsLength))},
	}
	if state.LogsOverflowed {
		facts = append(facts, []string{"", overflowNote})
	}
	facts = append(facts, state.Stats.facts()...)
	if err := a.printTable([]string{"Agent:", agent.Path()}, facts); err != nil {
		return err
	}
	var scripts, apps, metadata [][]string
	for _, one := range state.Scripts {
		scripts = append(scripts, []string{one.Script, one.Stage, when(&one.StartedAt), one.EndedAt.Sub(one.StartedAt).String(), one.Status, strconv.Itoa(int(one.ExitCode))})
	}
	for _, one := range state.Unreported {
		scripts = append(scripts, []string{one.Script, one.Stage, "-", "-", "no run reported", "-"})
	}
	for _, one := range state.Apps {
		apps = append(apps, []string{one.Slug, one.Health})
	}
	for _, one := range state.Metadata {
		metadata = append(metadata, []string{one.Key, firstLine(one.Value), when(one.CollectedAt), firstLine(one.Error)})
	}
	for _, part := range []struct {
		head []string
		rows [][]string
	}{
		{[]string{"SCRIPT", "STAGE", "STARTED", "TOOK", "STATUS", "EXIT CODE"}, scripts},
		{[]string{"APP", "HEALTH"}, apps},
		{[]string{"METADATA", "VALUE", "COLLECTED", "ERROR"}, metadata},
		{[]string{"RESOURCE", "USED", "OF", "COLLECTED"}, state.Resources.rows()},
		{[]string{"OPEN CONNECTION", "FROM", "SINCE"}, openRows(state.Open)},
	} {
		if len(part.rows) == 0 {
			continue
		}
		if err := a.print(""); err != nil {
			return err
		}
		if err := a.printTable(part.head, part.rows); err != nil {
			return err
		}
	}
	return nil
}

func openRows(open []connectionOutput) (rows [][]string) {
	for _, one := range open {
		rows = append(rows, []string{one.Type, orDash(one.IP), when(one.ConnectedAt)})
	}
	return rows
}

// firstLine is what a table has room for.
func firstLine(text string) string {
	line, _, more := strings.Cut(strings.TrimSpace(text), "\n")
	line = printable(line)
	const most = 60
	if runes := []rune(line); len(runes) > most {
		line, more = string(runes[:most]), true
	}
	if more {
		line += "..."
	}
	return line
}

// size is a number of bytes for people.
func size(bytes int64) string {
	value, unit := float64(bytes), 0
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	for value >= 1024 && unit < len(units)-1 {
		value /= 1024
		unit++
	}
	if unit == 0 {
		return fmt.Sprintf("%d B", bytes)
	}
	return fmt.Sprintf("%.1f %s", value, units[unit])
}
