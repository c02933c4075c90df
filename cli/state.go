package cli

import (
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

type changesJSON struct {
	Version int          `json:"version"`
	Changes []changeJSON `json:"changes"`
}

type changeJSON struct {
	Kind string `json:"kind"`
	What string `json:"what"`
}

func (a *app) state() *cobra.Command {
	command := &cobra.Command{
		Use: "state", Short: "What the daemon has changed on this machine: list, undo", Args: cobra.ArbitraryArgs,
		Long: `The daemon writes down each change to this machine before it makes it, and undoes
all of them when the tunnel goes down. What a crash left is undone at the next
start, or by "causeway state undo".`,
		RunE: group,
	}
	command.AddCommand(a.stateList(), a.stateUndo())
	return command
}

func (a *app) stateList() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use: "list", Short: "List what the daemon has changed and not undone", Args: args(0, 0, ""),
		Example: "  causeway state list",
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print JSON (cli/schema/state-list.json)")
	command.RunE = func(cmd *cobra.Command, _ []string) error {
		client, err := a.dial(cmd.Context())
		if err != nil {
			return err
		}
		defer client.Close()
		answer, err := call(cmd.Context(), a, answerLimit, client.ListChanges, &localv1.ListChangesRequest{})
		if err != nil {
			return err
		}
		changes := shown(answer).GetChanges()
		if asJSON {
			out := changesJSON{Version: jsonVersion, Changes: []changeJSON{}}
			for _, change := range changes {
				out.Changes = append(out.Changes, changeJSON{change.GetKind(), change.GetWhat()})
			}
			return writeJSON(a.env.Stdout, out)
		}
		if len(changes) == 0 {
			fmt.Fprintln(a.env.Stdout, "nothing on this machine is changed")
			return nil
		}
		table := tabwriter.NewWriter(a.env.Stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "KIND\tWHAT")
		for _, change := range changes {
			fmt.Fprintf(table, "%s\t%s\n", change.GetKind(), dash(change.GetWhat()))
		}
		return table.Flush()
	}
	return command
}

func (a *app) stateUndo() *cobra.Command {
	return &cobra.Command{
		Use: "undo", Short: "Undo what an earlier daemon left on this machine", Args: args(0, 0, ""),
		Long: `Undo the network configuration that an earlier daemon left: routes, addresses,
resolver settings and the section of the hosts file. It becomes "causewayd cleanup",
and needs root. While the tunnel is wanted up there is nothing to undo: what is
there is in use.`,
		Example: "  sudo causeway state undo",
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := a.dial(cmd.Context())
			var known *localapi.Error
			if errors.As(err, &known) && known.Code == localapi.CodeNotRunning {
				return a.runDaemonProgram(true, "cleanup")
			}
			if err != nil {
				return err
			}
			defer client.Close()
			return a.undoBeside(cmd, client)
		},
	}
}

// undoBeside says what there is to do while a daemon runs, which undoes by itself.
func (a *app) undoBeside(cmd *cobra.Command, client *localapi.Client) error {
	status, err := a.askStatus(cmd.Context(), client)
	if err != nil {
		return err
	}
	if status.GetWantedUp() {
		return &localapi.Error{Code: localapi.CodeDegraded, Cause: "undo changes: the tunnel is wanted up, and they are in use", Remedy: "run: causeway down"}
	}
	answer, err := call(cmd.Context(), a, answerLimit, client.ListChanges, &localv1.ListChangesRequest{})
	if err != nil {
		return err
	}
	if left := len(answer.GetChanges()); left > 0 {
		return &localapi.Error{
			Code: localapi.CodeDegraded, Cause: fmt.Sprintf("undo changes: the daemon runs, and %d are left", left),
			Remedy: "run: sudo causeway service stop && sudo causeway state undo",
		}
	}
	fmt.Fprintln(a.env.Stdout, "nothing to undo: the tunnel is down, and the daemon has put everything back")
	return nil
}
