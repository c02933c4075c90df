package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/causewayhq/causeway/agent"
	"github.com/causewayhq/causeway/agent/gitauth"
)

// exitError ends the program with another program's exit code.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

func newGitSSH() *cobra.Command {
	return &cobra.Command{
		Use: "gitssh -- ARGUMENTS", Short: "Run ssh for git, with the key of the workspace's owner",
		Long: `Run ssh for git, with the key that the control plane keeps for the workspace's
owner and with those of the SSH agent that a session brought along. Sessions have
it in GIT_SSH_COMMAND. The private key stays in the agent's memory; print its
public half with: causeway-server git key USER

It exits as ssh does.`,
		Example:            "  git clone git@github.com:alice/project.git    # in a session of the workspace",
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && (args[0] == "--help" || args[0] == "-h") {
				return cmd.Help()
			}
			if len(args) > 0 && args[0] == "--" {
				args = args[1:]
			}
			if len(args) == 0 {
				return misuse(cmd, errors.New("gitssh: no arguments for ssh"))
			}
			directory := os.Getenv(agent.GitDirectoryVariable)
			if directory == "" {
				return misuse(cmd, errors.New("gitssh: "+agent.GitDirectoryVariable+" is not set: run it in a session of the workspace"))
			}
			// The terminal's Ctrl-C reaches ssh itself, which decides. It is taken here
			// and not ignored: what ssh inherits as ignored, it ignores.
			interrupts := make(chan os.Signal, 1)
			signal.Notify(interrupts, os.Interrupt)
			defer signal.Stop(interrupts)
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM)
			defer stop()
			code, err := gitauth.SSH{
				Directory: directory, Forwarded: os.Getenv("SSH_AUTH_SOCK"),
				Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
			}.Run(ctx, args)
			if err == nil && code != 0 {
				err = exitError(code)
			}
			return err
		},
	}
}

// askpass answers when git has started this program with its question, which
// GIT_ASKPASS makes it do. It says whether that is so, and the exit code.
func askpass(ctx context.Context, arguments []string, stdout, stderr io.Writer) (code int, asked bool) {
	directory := os.Getenv(agent.GitDirectoryVariable)
	if directory == "" || len(arguments) != 2 {
		return 0, false
	}
	question, ours := gitauth.ReadPrompt(arguments[1])
	if !ours {
		return 0, false
	}
	credential, err := gitauth.Ask(ctx, directory, question.URL)
	if err != nil {
		// Git goes on to ask in the terminal.
		if !errors.Is(err, gitauth.ErrNone) {
			fmt.Fprintf(stderr, "causeway-agent: %v\n", err)
		}
		return exitGeneric, true
	}
	answer := credential.Username
	if question.Password {
		answer = string(credential.Password)
	}
	fmt.Fprintln(stdout, answer)
	return exitOK, true
}
