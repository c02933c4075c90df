package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

// retryWatch is how long a watch waits before it asks a daemon again that has
// gone away, for example to be upgraded.
const retryWatch = time.Second

func (a *app) status() *cobra.Command {
	var asJSON, watch bool
	command := &cobra.Command{
		Use: "status", Short: "Show what works, what does not, and why", Args: args(0, 0, ""),
		Long: `Show the state of the tunnel as it is measured: the answer of this machine's own
resolver and packets that came back, not what should be. For each agent: whether
it can be reached, directly or through which relay, how fast, and when the last
handshake was. Each problem comes with its cause and its remedy.

Exits with 0 when connected, or disconnected because you want it so; 8 when it
does not work as wanted; 4 when nobody has signed in; 3 without a daemon; 6 when
it does not answer.`,
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print JSON (cli/schema/status.json)")
	command.Flags().BoolVar(&watch, "watch", false, "print again whenever it changes, until interrupted")
	command.RunE = func(cmd *cobra.Command, _ []string) error {
		if watch {
			return a.watch(cmd.Context(), asJSON)
		}
		client, err := a.dial(cmd.Context())
		if err != nil {
			return err
		}
		defer client.Close()
		status, err := a.askStatus(cmd.Context(), client)
		if err != nil {
			return err
		}
		if err := a.show(status, asJSON); err != nil {
			return err
		}
		if code := codeOf(status); code != 0 {
			return &silentError{code}
		}
		return nil
	}
	return command
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
		if problem.GetCode() == "signed-out" {
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

// watch shows the status until the user interrupts, which is its normal end.
func (a *app) watch(ctx context.Context, asJSON bool) error {
	said := ""
	for {
		err := a.watchOnce(ctx, asJSON)
		if ctx.Err() != nil {
			return nil
		}
		var known *localapi.Error
		if !errors.As(err, &known) || known.Code != localapi.CodeNotRunning {
			return err
		}
		if said != known.Cause {
			said = known.Cause
			a.complain(known.Cause, known.Remedy)
		}
		if !pause(ctx, retryWatch) {
			return nil
		}
	}
}

// pause waits, and says false if the context ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (a *app) watchOnce(ctx context.Context, asJSON bool) error {
	client, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	next, stop, err := a.watchStatus(ctx, client)
	if err != nil {
		return err
	}
	defer stop()
	_, redraw := terminal(a.env.Stdout)
	for {
		status, err := next()
		if err != nil {
			return err
		}
		if redraw && !asJSON {
			fmt.Fprint(a.env.Stdout, "\x1b[H\x1b[2J")
		}
		if err := a.show(status, asJSON); err != nil {
			return err
		}
		if !redraw && !asJSON {
			fmt.Fprintln(a.env.Stdout)
		}
	}
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

func (a *app) printStatus(w io.Writer, status *localv1.Status) error {
	style := a.style(w)
	colour := style.yellow
	switch status.GetState() {
	case localv1.State_CONNECTED:
		colour = style.green
	case localv1.State_FAILED:
		colour = style.red
	case localv1.State_DOWN, localv1.State_SIGNED_OUT, localv1.State_STARTING, localv1.State_DEGRADED, localv1.State_STATE_UNSPECIFIED:
	}
	var text strings.Builder
	fmt.Fprintf(&text, "%s%s%s", colour, stateWord(status.GetState()), style.reset)
	if status.GetUrl() != "" {
		fmt.Fprintf(&text, "  %s as %s", status.GetUrl(), status.GetUser())
	}
	text.WriteByte('\n')
	a.printFacts(&text, status)
	for _, problem := range status.GetProblems() {
		fmt.Fprintf(&text, "\n%sproblem%s %s: %s\n", style.red, style.reset, problem.GetCode(), problem.GetCause())
		if problem.GetRemedy() != "" {
			fmt.Fprintf(&text, "  remedy: %s\n", problem.GetRemedy())
		}
	}
	a.printAgents(&text, status)
	switch status.GetState() {
	case localv1.State_SIGNED_OUT:
		text.WriteString("\nnext: " + signIn(status) + "\n")
	case localv1.State_DOWN:
		text.WriteString("\nnext: causeway up --wait\n")
	case localv1.State_STATE_UNSPECIFIED, localv1.State_STARTING, localv1.State_CONNECTED, localv1.State_DEGRADED, localv1.State_FAILED:
	}
	_, err := io.WriteString(w, text.String())
	return err
}

// signIn is the command to sign in with: only root may while nobody owns the
// tunnel.
func signIn(status *localv1.Status) string {
	if status.OwnerUid == nil {
		return "sudo causeway login <url>"
	}
	return "causeway login <url>"
}

// fromCache says that the list of agents is what was last heard, as nobody is
// there to say what has changed since.
func fromCache(status *localv1.Status) bool {
	return !status.GetControlConnected() && status.GetWorkspacesAsOf() != nil
}

func (a *app) printFacts(text *strings.Builder, status *localv1.Status) {
	if status.GetInterface() == "" {
		return
	}
	control := "connected"
	if !status.GetControlConnected() {
		control = a.outage(status)
	}
	names := "not answering"
	if status.GetCanaryOk() {
		names = "answering"
	}
	fmt.Fprintf(text, "  control plane  %s\n", control)
	if fromCache(status) {
		fmt.Fprintf(text, "  workspaces     from cache, %s\n", a.age(status.GetWorkspacesAsOf().AsTime()))
	}
	fmt.Fprintf(text, "  names          *.%s %s (%s)\n", status.GetSuffix(), names, status.GetDnsMode())
	fmt.Fprintf(text, "  interface      %s %s\n", status.GetInterface(), status.GetAddress())
	if home := status.GetHomeRelay(); home != nil {
		fmt.Fprintf(text, "  home relay     %s%s\n", relayName(home), suffixed(" ", latency(home.GetLatency())))
	}
}

func (a *app) printAgents(text *strings.Builder, status *localv1.Status) {
	if len(status.GetAgents()) == 0 {
		return
	}
	text.WriteByte('\n')
	table := tabwriter.NewWriter(text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tREACHABLE\tPATH\tLATENCY\tLAST HANDSHAKE")
	for _, agent := range sorted(status.GetAgents()) {
		handshake := "-"
		if agent.GetTried() {
			handshake = "never"
		}
		if agent.GetLastHandshake() != nil {
			handshake = a.ago(agent.GetLastHandshake().AsTime())
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", agentName(agent), a.reachable(agent), path(agent), dash(a.latencyOf(agent)), handshake)
	}
	// A strings.Builder takes every write.
	_ = table.Flush()
}
