package main

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/causewayhq/causeway/server/store"
)

type statsOutput struct {
	At          time.Time `json:"at"`
	Connections int64     `json:"connection_count"`
	// Latency is -1 when it is not known.
	Latency   float64 `json:"connection_median_latency_ms"`
	RxPackets int64   `json:"rx_packets"`
	RxBytes   int64   `json:"rx_bytes"`
	TxPackets int64   `json:"tx_packets"`
	TxBytes   int64   `json:"tx_bytes"`
	VSCode    int64   `json:"session_count_vscode"`
	JetBrains int64   `json:"session_count_jetbrains"`
	PTY       int64   `json:"session_count_reconnecting_pty"`
	SSH       int64   `json:"session_count_ssh"`
}

func describeStats(line store.AgentStats) statsOutput {
	latency := -1.0
	if line.Latency >= 0 {
		latency = float64(line.Latency) / float64(time.Millisecond)
	}
	return statsOutput{
		line.At, line.Connections, latency, line.RxPackets, line.RxBytes, line.TxPackets, line.TxBytes,
		line.SessionsVSCode, line.SessionsJetBrains, line.SessionsPTY, line.SessionsSSH,
	}
}

// reportsNote says when there are numbers at all.
const reportsNote = "one comes every five minutes while the agent is connected"

// facts are what status shows of the last report.
func (s *statsOutput) facts() [][]string {
	if s == nil {
		return [][]string{{"Traffic:", "no report yet; " + reportsNote}}
	}
	latency := "unknown"
	if s.Latency >= 0 {
		latency = fmt.Sprintf("%.1f ms", s.Latency)
	}
	return [][]string{
		{"Last report:", when(&s.At) + "; " + reportsNote},
		{"Traffic:", fmt.Sprintf("%s in, %s out, %d connections since the report before", size(s.RxBytes), size(s.TxBytes), s.Connections)},
		{"Sessions:", fmt.Sprintf("ssh %d, vscode %d, jetbrains %d, terminals %d at that moment; latency %s", s.SSH, s.VSCode, s.JetBrains, s.PTY, latency)},
	}
}

func (a *app) agentStats() *cobra.Command {
	var since time.Duration
	command := &cobra.Command{
		Use: "stats " + agentForm, Short: "List an agent's traffic and sessions, the newest last", Args: cobra.ExactArgs(1),
		Long: `List an agent's traffic and sessions, the newest last: one line for each report,
of which one comes every five minutes while the agent is connected, for the last 48
hours. Bytes and connections are those since the line before; latency and open
sessions are as they were at that moment.`,
		Example: "  causeway-server agent stats alice/myws/main\n  causeway-server agent stats alice/myws/main --since 1h --json",
		RunE: func(command *cobra.Command, args []string) error {
			if since <= 0 {
				return &usageError{errors.New("read --since: want a time above zero, such as 1h")}
			}
			return a.withStore(command.Context(), func(opened *store.Store) error {
				agent, err := a.findAgent(command.Context(), opened, args[0])
				if err != nil {
					return err
				}
				lines, err := opened.Stats(command.Context(), agent.ID, time.Now().Add(-since))
				if err != nil {
					return err
				}
				return a.printStats(lines)
			})
		},
	}
	command.Flags().DurationVar(&since, "since", store.StatsMemory, "how far back")
	return a.jsonFlag(command)
}

func (a *app) printStats(lines []store.AgentStats) error {
	list, rows := []statsOutput{}, [][]string{}
	for _, line := range lines {
		one := describeStats(line)
		list = append(list, one)
		latency := "-"
		if one.Latency >= 0 {
			latency = fmt.Sprintf("%.1f ms", one.Latency)
		}
		count := func(value int64) string { return strconv.FormatInt(value, 10) }
		rows = append(rows, []string{
			when(&one.At), size(one.RxBytes), size(one.TxBytes), count(one.Connections), latency, count(one.SSH), count(one.VSCode), count(one.JetBrains), count(one.PTY),
		})
	}
	if a.asJSON {
		return a.printJSON(map[string]any{"stats": list})
	}
	if len(rows) == 0 {
		return a.print("No report in that time; " + reportsNote + ".")
	}
	err := a.printTable([]string{"TIME", "IN", "OUT", "CONNECTIONS", "LATENCY", "SSH", "VSCODE", "JETBRAINS", "TERMINALS"}, rows)
	if err != nil {
		return err
	}
	// Beside the table, which programs may read.
	_, err = fmt.Fprintln(a.stderr, "One line for each report; "+reportsNote+". IN, OUT and CONNECTIONS are\nsince the report before; latency and sessions as they were at that moment.")
	return err
}
