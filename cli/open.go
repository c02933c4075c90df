package cli

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"

	"github.com/causewayhq/causeway/client/browser"
	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

// What is opened without being an app of the workspace.
const (
	openWeb, openTerminal, openShell = "web", "terminal", "ssh"
)

func (a *app) open() *cobra.Command {
	var show bool
	command := &cobra.Command{
		Use: "open <name> [app]", Short: "Open a workspace, or an app of it, in the browser",
		Long: `Open a page of the deployment in the browser:

  web       the workspace's page (without an app)
  terminal  a terminal in the browser
  ssh       no page, but a shell in this terminal
  APP       an app of the workspace, by the name that its template gives it

The pages are the deployment's. A Causeway server has those of workspaces and
terminals, and none of apps: reach an app by its port on the agent's name.`,
		Example: `  causeway open myws
  causeway open main.web code-server
  causeway open myws terminal --print`,
		Args: args(1, 2, "the name of an agent and perhaps an app"), ValidArgsFunction: a.completeOpen,
	}
	command.Flags().BoolVar(&show, "print", false, "print the page's address instead")
	command.RunE = func(cmd *cobra.Command, args []string) error {
		what := openWeb
		if len(args) == 2 {
			what = args[1]
		}
		status, err := a.fetch(cmd.Context())
		if err != nil {
			return err
		}
		agent, err := find(status, args[0])
		if err != nil {
			return err
		}
		if what == openShell {
			return a.shellAt(cmd.Context(), status, args[0])
		}
		page, err := pageOf(status, agent, what)
		if err != nil {
			return err
		}
		if show {
			fmt.Fprintln(a.env.Stdout, page)
			return nil
		}
		if err := (browser.Opener{LookupEnv: a.env.LookupEnv}).Open(page); err != nil {
			fmt.Fprintf(a.env.Stderr, "%s\n", printable(page)) // alone on its line, to be copied
			return &localapi.Error{
				Code: localapi.CodeGeneric, Cause: browserCause(err),
				Remedy: "open the page yourself, or use --print; for a shell there: causeway open " + quote(args[0]) + " ssh",
			}
		}
		fmt.Fprintf(a.env.Stdout, "opened %s\n", page)
		return nil
	}
	return command
}

// browserWords is how much of what a browser says is worth reading. xdg-open lists
// each of a dozen browsers that are not there.
const browserWords = 80

// browserCause is why no page was opened, in few words.
func browserCause(err error) string {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err.Error()
	}
	before, said, _ := strings.Cut(err.Error(), exit.Error())
	if len(said) > browserWords {
		said = ""
	}
	return before + exit.Error() + said
}

// shellAt becomes ssh.
func (a *app) shellAt(ctx context.Context, status *localv1.Status, name string) error {
	program, err := openSSH("ssh")
	if err != nil {
		return err
	}
	host, err := a.hostOf(ctx, status, name)
	if err != nil {
		return err
	}
	line, err := a.sshLine(ctx, "", host, nil, nil)
	if err != nil {
		return err
	}
	return execute(program, line)
}

// pageOf is the address of a page, as Coder deployments have them.
func pageOf(status *localv1.Status, agent *localv1.AgentStatus, what string) (string, error) {
	base, err := url.Parse(status.GetUrl())
	if err != nil || base.Host == "" {
		return "", fmt.Errorf("open %s: the deployment's URL %q is none", agentName(agent), status.GetUrl())
	}
	if !status.GetWorkspacePages() {
		return "", &localapi.Error{
			Code: localapi.CodeNotFound, Cause: fmt.Sprintf("open %s: %s has no pages of workspaces", agentName(agent), base.Redacted()),
			Remedy: "for a shell there: causeway open " + quote(agentName(agent)) + " ssh",
		}
	}
	if strings.ContainsAny(what, "/\\?#") || what == "" || what[0] == '.' {
		return "", &usageError{cause: fmt.Sprintf("open %s: %q is no name of an app", agentName(agent), what), remedy: "see: causeway open --help"}
	}
	workspace, inAgent := "@"+status.GetUser()+"/"+agent.GetWorkspace(), "."+agent.GetName()
	base.User = nil
	switch what {
	case openWeb:
		return base.JoinPath(workspace).String(), nil
	case openTerminal:
		return base.JoinPath(workspace+inAgent, "terminal").String(), nil
	}
	return base.JoinPath(workspace+inAgent, "apps", what).String() + "/", nil
}
