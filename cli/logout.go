package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

func (a *app) logout() *cobra.Command {
	request := &localv1.LogoutRequest{}
	command := &cobra.Command{
		Use: "logout", Short: "Sign out: disconnect and forget the token", Args: args(0, 0, ""),
		Long: `Sign out: disconnect, and forget the token. The profile stays, so that
causeway login finds the deployment again; causeway profile remove forgets it too.

With --revoke the deployment ends the token as well, so that a copy of it is
good for nothing. If it cannot be reached you are signed out here all the same,
and the command says so and exits with 1.`,
		Example: `  causeway logout
  causeway logout --revoke
  causeway logout --profile work`,
	}
	command.Flags().StringVar(&request.Profile, "profile", "", "profile to sign out of (default the active one)")
	command.Flags().BoolVar(&request.Revoke, "revoke", false, "have the deployment end the token too")
	a.completesProfile(command, "profile")
	command.RunE = func(cmd *cobra.Command, _ []string) error {
		client, err := a.dial(cmd.Context())
		if err != nil {
			return err
		}
		defer client.Close()
		answer, err := call(cmd.Context(), a, workLimit, client.Logout, request)
		if err != nil {
			return err
		}
		fmt.Fprintln(a.env.Stdout, "signed out")
		switch {
		case !request.GetRevoke():
			return nil
		case answer.GetRevokeError() != "":
			return &localapi.Error{
				Code: localapi.CodeGeneric, Cause: "revoke the token: " + answer.GetRevokeError(),
				Remedy: "you are signed out on this machine, but the token lives on: end it on the deployment's own pages",
			}
		}
		fmt.Fprintln(a.env.Stdout, "the deployment has ended the token")
		return nil
	}
	return command
}
