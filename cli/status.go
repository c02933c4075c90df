package cli

import (
	"context"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

// statusFlags are those of causeway status.
type statusFlags struct {
	json, watch   bool
	check         string
	workspace     string
	relay, direct bool
}

func (a *app) status() *cobra.Command {
	var flags statusFlags
	command := &cobra.Command{
		Use: "status", Short: "Show what works, what does not, and why", Args: args(0, 0, ""),
		Long: `Show the state of the tunnel as it is measured: the answer of this machine's own
resolver and packets that came back, not what should be. For each agent: whether
it can be reached, directly or through which relay, how fast, and when the last
handshake was. Each problem comes with its cause and its remedy.

With --watch it stays and shows each change: on a terminal as a view of the
whole screen with keys for what one does most, else as blocks of text, with
--json as a line for each change.

Exits with 0 when connected, or disconnected because you want it so; 8 when it
does not work as wanted; 4 when nobody has signed in; 3 without a daemon; 6 when
it does not answer. --check asks one question instead, prints one line, and
exits with 0 or else with 8, 3, 4, 5 and 6 as above:

  live    the daemon answers
  ready   the tunnel works as wanted, and is wanted
  dns     this machine's own resolver answers for our names
  peers   every agent in use answers, of those that the filters let through;
          7 if they let none through`,
		Example: `  causeway status
  causeway status --watch
  causeway status --check ready --json
  causeway status --workspace 'my*' --relay`,
	}
	set := command.Flags()
	set.BoolVar(&flags.json, "json", false, "print JSON (cli/schema/status.json; with --check cli/schema/status-check.json)")
	set.BoolVar(&flags.watch, "watch", false, "stay, and show each change, until interrupted")
	set.StringVar(&flags.check, "check", "", "ask one question: live, ready, dns or peers")
	set.StringVar(&flags.workspace, "workspace", "", "only agents of workspaces of this pattern, as in my*")
	set.BoolVar(&flags.relay, "relay", false, "only agents that are reached through a relay")
	set.BoolVar(&flags.direct, "direct", false, "only agents that are reached directly")
	command.MarkFlagsMutuallyExclusive("relay", "direct")
	command.MarkFlagsMutuallyExclusive("watch", "check")
	a.completeFlag(command, "workspace", workspaceNames)
	completeWords(command, "check", checks)
	command.RunE = func(cmd *cobra.Command, _ []string) error {
		if _, err := path.Match(flags.workspace, ""); err != nil {
			return &usageError{cause: fmt.Sprintf("status: %q is no pattern: %s", flags.workspace, err), remedy: "give a name, in which * stands for anything"}
		}
		if flags.check != "" && !slices.Contains(checks, flags.check) {
			return &usageError{cause: fmt.Sprintf("status: unknown check %q", flags.check), remedy: "give live, ready, dns or peers"}
		}
		switch {
		case flags.watch:
			return a.watch(cmd.Context(), flags)
		case flags.check != "":
			return a.check(cmd.Context(), flags)
		}
		return a.statusOnce(cmd.Context(), flags)
	}
	return command
}

func (a *app) statusOnce(ctx context.Context, flags statusFlags) error {
	client, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	status, err := a.askStatus(ctx, client)
	if err != nil {
		return err
	}
	if err := a.show(flags.filter(status), flags.json); err != nil {
		return err
	}
	if code := codeOf(status); code != 0 {
		return &silentError{code}
	}
	return nil
}

// filter leaves out the agents that are not asked for.
func (f statusFlags) filter(status *localv1.Status) *localv1.Status {
	status.Agents = slices.DeleteFunc(status.GetAgents(), func(agent *localv1.AgentStatus) bool {
		fits := true
		if f.workspace != "" {
			fits, _ = path.Match(strings.ToLower(f.workspace), strings.ToLower(agent.GetWorkspace()))
		}
		return !fits || f.relay && agent.GetPath() != localv1.AgentStatus_RELAYED || f.direct && agent.GetPath() != localv1.AgentStatus_DIRECT
	})
	return status
}

func (a *app) show(status *localv1.Status, asJSON bool) error {
	if asJSON {
		return writeJSON(a.env.Stdout, statusOf(status, a.now()))
	}
	return a.printStatus(a.env.Stdout, shown(status))
}

// codeOf is the exit code that a status stands for; 0 when all is as wanted.
func codeOf(status *localv1.Status) localapi.Code {
	for _, problem := range status.GetProblems() {
		if problem.GetCode() == "signed-out" || problem.GetCode() == "token-expired" {
			return localapi.CodeNotSignedIn
		}
	}
	switch status.GetState() {
	case localv1.State_CONNECTED:
		return 0
	case localv1.State_SIGNED_OUT:
		return localapi.CodeNotSignedIn
	case localv1.State_DOWN:
		if len(status.GetProblems()) == 0 {
			return 0
		}
	case localv1.State_STATE_UNSPECIFIED, localv1.State_STARTING, localv1.State_DEGRADED, localv1.State_FAILED:
	}
	return localapi.CodeDegraded
}

func stateWord(state localv1.State) string {
	switch state {
	case localv1.State_SIGNED_OUT:
		return "signed-out"
	case localv1.State_DOWN:
		return "down"
	case localv1.State_STARTING:
		return "starting"
	case localv1.State_CONNECTED:
		return "connected"
	case localv1.State_DEGRADED:
		return "degraded"
	case localv1.State_FAILED:
		return "failed"
	case localv1.State_STATE_UNSPECIFIED:
	}
	return "unknown"
}

// colourOf is the colour of a state.
func (s styles) colourOf(state localv1.State) string {
	switch state {
	case localv1.State_CONNECTED:
		return s.green
	case localv1.State_FAILED:
		return s.red
	case localv1.State_DOWN, localv1.State_SIGNED_OUT, localv1.State_STARTING, localv1.State_DEGRADED, localv1.State_STATE_UNSPECIFIED:
	}
	return s.yellow
}

func (a *app) printStatus(w io.Writer, status *localv1.Status) error {
	style := a.style(w)
	var text strings.Builder
	fmt.Fprintf(&text, "%s%s%s", style.colourOf(status.GetState()), stateWord(status.GetState()), style.reset)
	if status.GetUrl() != "" {
		fmt.Fprintf(&text, "  %s as %s", status.GetUrl(), status.GetUser())
	}
	text.WriteByte('\n')
	if status.GetView() == localv1.View_SUMMARY {
		fmt.Fprintf(&text, "  %s\n", summarised(status))
		_, err := io.WriteString(w, text.String())
		return err
	}
	for _, fact := range a.facts(status) {
		fmt.Fprintf(&text, "  %-13s  %s\n", fact.what, fact.how)
	}
	for _, problem := range status.GetProblems() {
		fmt.Fprintf(&text, "\n%sproblem%s %s: %s\n", style.red, style.reset, problem.GetCode(), problem.GetCause())
		if problem.GetRemedy() != "" {
			fmt.Fprintf(&text, "  remedy: %s\n", problem.GetRemedy())
		}
	}
	a.printAgents(&text, status)
	if next := nextStep(status); next != "" {
		text.WriteString("\nnext: " + next + "\n")
	}
	_, err := io.WriteString(w, text.String())
	return err
}

// summarised is what there is to say to somebody who is shown no more.
func summarised(status *localv1.Status) string {
	if unowned(status) && status.GetState() == localv1.State_SIGNED_OUT {
		return "nobody has signed in, and you are no operator of this machine; next: " + here.signIn(status) +
			"; or, to be let: " + here.sudo + "causeway operator add <your name>"
	}
	return "the tunnel belongs to " + owner(status) + "; names and workspaces are shown to them and to administrators"
}

// nextStep is the command that leads to a tunnel, or "".
func nextStep(status *localv1.Status) string {
	switch status.GetState() {
	case localv1.State_SIGNED_OUT:
		return here.signIn(status)
	case localv1.State_DOWN:
		if !status.GetWaitsForLogin() {
			return "causeway up --wait"
		}
	case localv1.State_STATE_UNSPECIFIED, localv1.State_STARTING, localv1.State_CONNECTED, localv1.State_DEGRADED, localv1.State_FAILED:
	}
	return ""
}

// fromCache says that the list of agents is what was last heard, as nobody is
// there to say what has changed since.
func fromCache(status *localv1.Status) bool {
	return !status.GetControlConnected() && status.GetWorkspacesAsOf() != nil
}
