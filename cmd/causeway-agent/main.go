// Command causeway-agent runs in a workspace and makes it reachable through
// the tunnel: SSH, files, and every port of localhost. It needs no privilege.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/causewayhq/causeway/agent"
)

// Exit codes: where they mean the same, those of the causeway command and of
// the daemon.
const (
	exitOK          = 0
	exitGeneric     = 1
	exitUsage       = 2
	exitToken       = 4
	exitVersion     = 9
	exitState       = 11
	exitCertificate = 15
)

const exitHelp = `Exit codes:
   0  ended as asked (SIGTERM, SIGINT)
   1  any other failure
   2  wrong use: unknown flag, missing or malformed URL, no token
   4  the control plane refuses the token, or --token-command gives none
   9  the control plane does not speak this agent's version
  11  the state directory cannot be used: rights, damage, or another agent in it
  15  the server's certificate does not verify

A control plane that cannot be reached is no reason to end: the agent says so
once and tries until it answers. Once it has been accepted, it never gives up.`

func main() {
	if code, asked := askpass(context.Background(), os.Args, os.Stdout, os.Stderr); asked {
		os.Exit(code)
	}
	os.Exit(exitCode(newRoot().Execute()))
}

// usageError is a mistake on the command line.
type usageError struct{ error }

// commandError is one whose help is not that of run.
type commandError struct {
	error
	command string
}

// misuse is a mistake on the command line of a command.
func misuse(cmd *cobra.Command, err error) error {
	return usageError{commandError{err, cmd.CommandPath()}}
}

// exitCode prints an error, with what to do about it, as one line.
func exitCode(err error) int {
	if err == nil {
		return exitOK
	}
	var status exitError
	if errors.As(err, &status) {
		return int(status) // the other program has said why
	}
	code, remedy := exitGeneric, ""
	var usage usageError
	switch {
	case errors.As(err, &usage):
		code, remedy = exitUsage, "see causeway-agent run --help"
		if of := (commandError{}); errors.As(usage.error, &of) {
			remedy = "see " + of.command + " --help"
		}
	case errors.Is(err, agent.ErrNoToken):
		code, remedy = exitToken, "run the token command, or read the file, by hand as the agent's user to see what it says"
	case errors.Is(err, agent.ErrToken):
		code, remedy = exitToken, "check that the token is this agent's own and of this deployment, or make a new one: causeway-server agent token OWNER/WORKSPACE/AGENT"
	case errors.Is(err, agent.ErrVersion):
		code, remedy = exitVersion, "use the agent of the control plane's release"
	case errors.Is(err, agent.ErrState):
		code = exitState
	case errors.Is(err, agent.ErrCertificate):
		code, remedy = exitCertificate, "use the name in the certificate, or add its authority to the system's store or to the file that SSL_CERT_FILE names"
	}
	if remedy != "" {
		remedy = "; " + remedy
	}
	fmt.Fprintf(os.Stderr, "causeway-agent: %v%s\n", err, remedy)
	return code
}
