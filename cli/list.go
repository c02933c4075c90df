package cli

import (
	"context"
	"fmt"
	"slices"
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
	var asJSON, all bool
	command := &cobra.Command{
		Use: "list", Short: "List workspaces and the names to reach them by", Args: args(0, 0, ""),
		Long: `List the agents of workspaces: the workspace's state, the names that reach the
agent, and the way to it as it was last measured. Agents of workspaces that have
been stopped or deleted are left out unless --all is given.`,
		Example: `  causeway list
  causeway list --all
  causeway list --json | jq -r '.agents[].names[0]'`,
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print JSON (cli/schema/list.json)")
	command.Flags().BoolVar(&all, "all", false, "with workspaces that have been stopped or deleted")
	command.RunE = func(cmd *cobra.Command, _ []string) error {
		status, err := a.fetch(cmd.Context())
		if err != nil {
			return err
		}
		known := len(status.GetAgents())
		if !all {
			status.Agents = slices.DeleteFunc(status.Agents, idle)
		}
		if hidden := known - len(status.Agents); hidden > 0 {
			fmt.Fprintf(a.env.Stderr, "left out: %s of workspaces that do not run; see: causeway list --all\n", count(hidden, "agent"))
		}
		if asJSON {
			return writeJSON(a.env.Stdout, listJSON{jsonVersion, agentsOf(status)})
		}
		if known == 0 {
			fmt.Fprintln(a.env.Stderr, "no workspace with an agent is known")
		}
		if len(status.GetAgents()) == 0 {
			return nil
		}
		return a.printList(shown(status))
	}
	return command
}

// idle says that an agent's workspace does not run, and is not about to.
func idle(agent *localv1.AgentStatus) bool {
	return slices.Contains([]string{"stopped", "deleting", "deleted", "canceled"}, agent.GetWorkspaceStatus())
}

func (a *app) printList(status *localv1.Status) error {
	table := tabwriter.NewWriter(a.env.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "WORKSPACE\tAGENT\tSTATUS\tNAME\tSHORT NAME\tLATENCY\tPATH")
	for _, agent := range sorted(status.GetAgents()) {
		name, short := meName(agent), agentName(agent)
		if name == "" || name == short {
			name, short = short, "-"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", agent.GetWorkspace(), agent.GetName(), dash(agent.GetWorkspaceStatus()), name, short,
			dash(a.latencyOf(agent)), a.wayOrOffline(agent))
	}
	return table.Flush()
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
