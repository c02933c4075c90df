package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/causewayhq/causeway/agent/unit"
	"github.com/causewayhq/causeway/packaging/linux"
)

func newInstall() *cobra.Command {
	var o options
	var account string
	var dry bool
	cmd := &cobra.Command{
		Use: "install --url URL --token-file FILE", Short: "Run the agent as a service of this system, from now on",
		Long: `Run the agent as a service of this system, from now on: it is started at once, and
with the machine or at the login.

Without --account it is the user's own, and needs no privilege: a user unit of
systemd, a launch agent of macOS, a task at logon of Windows. With --account it is
the machine's, runs as that user from the start of the machine on, and needs
root: the unit causeway-agent@USER of systemd, a launch daemon of macOS; on Windows a
task at the start, made by that user itself in an elevated terminal.

The token is copied to a file that only that user, or root, can read. To change
URL or token, install again. Keys, and with them the agent's identity, are kept.

In a container there is no such system: start "causeway-agent run" as its program.

Exit codes:
   0  done, or with --dry-run said
   1  any other failure: a right that is missing, a command of the system that fails
   2  wrong use: unknown flag, missing or malformed URL, no token`,
		Example: `  causeway-agent install --url https://causeway.example.com --token-file token
  sudo causeway-agent install --account alice --url https://causeway.example.com --token-file token
  causeway-agent install --url https://causeway.example.com --token-file token --dry-run`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			access, err := accessURL(o.url)
			if err != nil {
				return misuse(cmd, err)
			}
			token, err := o.readToken(cmd.InOrStdin())
			if err != nil {
				return misuse(cmd, err)
			}
			wanted, err := unitOptions(cmd, account, dry)
			if err != nil {
				return err
			}
			wanted.URL, wanted.Token = access.String(), unit.Token(token)
			template, err := linux.AgentUnit()
			if err != nil {
				return err
			}
			if err := unit.Install(cmd.Context(), wanted, unit.Template(template)); err != nil {
				return fmt.Errorf("install: %w", err)
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.url, "url", os.Getenv(envPrefix+"URL"), "access `URL` of the deployment")
	flags.StringVar(&o.tokenFile, "token-file", os.Getenv(envPrefix+"TOKEN_FILE"), "`file` that holds the token, - for standard input")
	unitFlags(cmd, &account, &dry)
	return cmd
}

func newUninstall() *cobra.Command {
	var account string
	var dry bool
	cmd := &cobra.Command{
		Use: "uninstall", Short: "Stop the service and take it away; the agent's keys stay",
		Example: "  causeway-agent uninstall\n  sudo causeway-agent uninstall --account alice",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			wanted, err := unitOptions(cmd, account, dry)
			if err != nil {
				return err
			}
			if err := unit.Uninstall(cmd.Context(), wanted); err != nil {
				return fmt.Errorf("uninstall: %w", err)
			}
			return nil
		},
	}
	unitFlags(cmd, &account, &dry)
	return cmd
}

func unitFlags(cmd *cobra.Command, account *string, dry *bool) {
	cmd.Flags().StringVar(account, "account", "", "`user` whose workspace it is, for a service of the machine")
	cmd.Flags().BoolVar(dry, "dry-run", false, "say what would be done, and do nothing")
}

func unitOptions(cmd *cobra.Command, account string, dry bool) (unit.Options, error) {
	if cmd.Flags().Changed("account") && account == "" {
		return unit.Options{}, misuse(cmd, errors.New("--account is empty"))
	}
	program, err := os.Executable()
	if err != nil {
		return unit.Options{}, fmt.Errorf("find own executable: %w", err)
	}
	// A link may lead elsewhere tomorrow.
	if program, err = filepath.EvalSymlinks(program); err != nil {
		return unit.Options{}, fmt.Errorf("find own executable: %w", err)
	}
	return unit.Options{Program: program, Account: account, DryRun: dry, Say: func(line string) { fmt.Fprintln(cmd.OutOrStdout(), line) }}, nil
}
