package cli

import (
	"context"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

type listJSON struct {
	Version int         `json:"version"`
	Agents  []agentJSON `json:"agents"`
}

func (a *app) list() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use: "list", Short: "List workspaces and the names to reach them by", Args: args(0, 0, ""),
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print JSON (cli/schema/list.json)")
	command.RunE = func(cmd *cobra.Command, _ []string) error {
		status, err := a.fetch(cmd.Context())
		if err != nil {
			return err
		}
		if asJSON {
			return writeJSON(a.env.Stdout, listJSON{jsonVersion, agentsOf(status)})
		}
		if len(status.GetAgents()) == 0 {
			fmt.Fprintln(a.env.Stderr, "no workspace with an agent is known")
			return nil
		}
		status = shown(status)
		table := tabwriter.NewWriter(a.env.Stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "WORKSPACE\tAGENT\tSTATUS\tNAME\tSHORT NAME")
		for _, agent := range sorted(status.GetAgents()) {
			name, short := meName(agent), agentName(agent)
			if name == "" || name == short {
				name, short = short, "-"
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", agent.GetWorkspace(), agent.GetName(), dash(agent.GetWorkspaceStatus()), name, short)
		}
		return table.Flush()
	}
	return command
}

// fetch is the status of a daemon that somebody has signed in to.
func (a *app) fetch(ctx context.Context) (*localv1.Status, error) {
	client, err := a.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	status, err := a.askStatus(ctx, client)
	if err != nil {
		return nil, err
	}
	if status.GetView() == localv1.View_SUMMARY {
		return nil, notYours(status, "list agents")
	}
	switch status.GetState() {
	case localv1.State_SIGNED_OUT:
		return nil, notWorking(status, "list agents")
	case localv1.State_DOWN:
		return nil, &localapi.Error{Code: localapi.CodeDegraded, Cause: "list agents: the tunnel is down", Remedy: "run: causeway up --wait"}
	case localv1.State_FAILED:
		if len(status.GetAgents()) == 0 {
			return nil, notWorking(status, "list agents")
		}
	case localv1.State_STATE_UNSPECIFIED, localv1.State_STARTING, localv1.State_CONNECTED, localv1.State_DEGRADED:
	}
	return status, nil
}
