package cli

import (
	"context"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

func (a *app) operator() *cobra.Command {
	command := &cobra.Command{
		Use: "operator", Short: "Who may sign in on this machine: list, add, remove", Args: cobra.ArbitraryArgs,
		Long: `Operators are the users of this machine who may sign in and have a tunnel of
their own. Everybody else learns only whose the tunnel is and whether it works.
Only an administrator changes the list.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return unknownCommand(cmd, args[0])
		},
	}
	command.AddCommand(a.operatorList(),
		a.operatorSet("add", "Let a user sign in", "is an operator now", true),
		a.operatorSet("remove", "Let a user sign in no more; a tunnel of theirs stays up", "is no operator any more", false))
	return command
}

type operatorsJSON struct {
	Version   int            `json:"version"`
	Operators []operatorJSON `json:"operators"`
}

type operatorJSON struct {
	Name string  `json:"name"`
	UID  *uint32 `json:"uid"`
	SID  string  `json:"sid"`
}

func (a *app) operatorList() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use: "list", Short: "List who may sign in", Args: args(0, 0, ""),
		Example: "  sudo causeway operator list",
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print JSON (cli/schema/operator-list.json)")
	command.RunE = func(cmd *cobra.Command, _ []string) error {
		client, err := a.dial(cmd.Context())
		if err != nil {
			return err
		}
		defer client.Close()
		answer, err := call(cmd.Context(), a, answerLimit, client.ListOperators, &localv1.ListOperatorsRequest{})
		if err != nil {
			return err
		}
		operators := shown(answer).GetOperators()
		if asJSON {
			out := operatorsJSON{Version: jsonVersion, Operators: []operatorJSON{}}
			for _, one := range operators {
				out.Operators = append(out.Operators, operatorJSON{one.GetName(), one.Uid, one.GetSid()})
			}
			return writeJSON(a.env.Stdout, out)
		}
		return a.printOperators(operators)
	}
	return command
}

func (a *app) printOperators(operators []*localv1.Operator) error {
	if len(operators) == 0 {
		fmt.Fprintln(a.env.Stdout, "no operators: only an administrator may sign in")
		return nil
	}
	table := tabwriter.NewWriter(a.env.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tID")
	for _, one := range operators {
		fmt.Fprintf(table, "%s\t%s\n", dash(one.GetName()), idOf(one))
	}
	return table.Flush()
}

func idOf(operator *localv1.Operator) string {
	if operator.Uid != nil {
		return fmt.Sprint(operator.GetUid())
	}
	return operator.GetSid()
}

func (a *app) operatorSet(verb, short, done string, allowed bool) *cobra.Command {
	return &cobra.Command{
		Use: verb + " <user>", Short: short, Args: args(1, 1, "a user of this machine, by name or number"),
		Example: "  sudo causeway operator " + verb + " alice",
		RunE: func(cmd *cobra.Command, args []string) error {
			user, err := userOf(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.change(cmd.Context(), args[0]+" "+done, func(ctx context.Context, client *localapi.Client) error {
				_, err := call(ctx, a, workLimit, client.SetOperator, &localv1.SetOperatorRequest{Operator: user, Allowed: allowed})
				return err
			})
		},
	}
}

// noSuchUser is a name that this machine does not know.
func noSuchUser(name, remedy string) error {
	return &localapi.Error{Code: localapi.CodeNotFound, Cause: fmt.Sprintf("look up user %q: there is none of that name", name), Remedy: remedy}
}
