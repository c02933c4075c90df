package main

import (
	"errors"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/causewayhq/causeway/server/store"
)

func (a *app) agentConnections() *cobra.Command {
	var open bool
	var most int
	command := &cobra.Command{
		Use: "connections " + agentForm, Short: "List the connections into an agent's workspace, the newest first", Args: cobra.ExactArgs(1),
		Long: `List the connections into an agent's workspace, the newest first: what for, from
where, how long, and how they ended. The last 1000 are kept, for 90 days.`,
		Example: "  causeway-server agent connections alice/myws/main\n  causeway-server agent connections alice/myws/main --open --json",
		RunE: func(command *cobra.Command, args []string) error {
			if most < 0 {
				return &usageError{errors.New("read --last: it cannot be negative")}
			}
			return a.withStore(command.Context(), func(opened *store.Store) error {
				agent, err := a.findAgent(command.Context(), opened, args[0])
				if err != nil {
					return err
				}
				list, err := opened.Connections(command.Context(), agent.ID, open, most)
				if err != nil {
					return err
				}
				return a.printConnections(describeConnections(list))
			})
		},
	}
	command.Flags().BoolVar(&open, "open", false, "only those that have not ended")
	command.Flags().IntVar(&most, "last", 0, "only so many (default: all)")
	return a.jsonFlag(command)
}

func (a *app) printConnections(list []connectionOutput) error {
	if a.asJSON {
		return a.printJSON(map[string]any{"connections": list})
	}
	rows := [][]string{}
	for _, one := range list {
		code := "-"
		if one.StatusCode != nil {
			code = strconv.Itoa(int(*one.StatusCode))
		}
		rows = append(rows, []string{one.Type, orDash(one.IP), when(one.ConnectedAt), when(one.DisconnectedAt), code, firstLine(one.Reason)})
	}
	return a.printTable([]string{"TYPE", "FROM", "CONNECTED", "DISCONNECTED", "CODE", "REASON"}, rows)
}
