package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

const (
	// waitRetry is how long a wait leaves a daemon alone that is not there, and
	// an agent that did not answer.
	waitRetry = 250 * time.Millisecond
	// waitPing is past what the daemon waits for an agent to be announced (6 s).
	waitPing = 8 * time.Second
)

type waitJSON struct {
	Version int    `json:"version"`
	For     string `json:"for"`
	Done    bool   `json:"done"`
	Waited  int64  `json:"waited_ms"`
	Cause   string `json:"cause"`  // what was in the way at the end
	Remedy  string `json:"remedy"` // against it
}

// waiting is one run of the wait command.
type waiting struct {
	app     *app
	what    string
	timeout time.Duration
	asJSON  bool

	began         time.Time
	cause, remedy string // in the way now
	said          string
}

func (a *app) wait() *cobra.Command {
	w := &waiting{app: a}
	command := &cobra.Command{
		Use: "wait [name]", Short: "Wait until the tunnel, names or a workspace works", Args: args(0, 1, "at most one name"),
		ValidArgsFunction: a.completeNames,
		Long: `Wait until something works, for scripts and for units that need it:

  connected       the tunnel works as wanted
  dns             this machine's own resolver answers for our names
  workspace/NAME  every agent of that workspace answers
  NAME            that agent answers, by any name of causeway list

What to wait for stands after --for, or by itself.

The daemon may start, restart or be upgraded meanwhile. Nothing is switched on:
for that see causeway up --wait.

Exits with 6 when the time is over, and says what was in the way.`,
		Example: `  causeway wait
  causeway wait --for dns --timeout 2m
  causeway wait myws && ssh myws.coder
  causeway wait --for workspace/myws`,
	}
	flags := command.Flags()
	flags.StringVar(&w.what, "for", "connected", "what to wait for: connected, dns, workspace/NAME or NAME")
	flags.DurationVar(&w.timeout, "timeout", defaultWait, "give up after this long (0: never)")
	flags.BoolVar(&w.asJSON, "json", false, "print JSON at the end (cli/schema/wait.json)")
	a.completeFlag(command, "for", completeWait, "connected", "dns")
	command.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 1 {
			if cmd.Flags().Changed("for") {
				return &usageError{cause: "wait: both " + args[0] + " and --for say what to wait for", remedy: "give one of them"}
			}
			w.what = args[0]
		}
		if w.timeout < 0 || strings.TrimPrefix(w.what, workspacePrefix) == "" {
			return &usageError{cause: "wait: the time must not be negative, nor the name empty", remedy: "see: causeway wait --help"}
		}
		return w.run(cmd.Context())
	}
	return command
}

// workspacePrefix is for workspaces whose names mean something else here, and
// for all agents of one.
const workspacePrefix = "workspace/"

func (w *waiting) run(ctx context.Context) error {
	w.began = w.app.now()
	limited, cancel := ctx, func() {}
	if w.timeout > 0 {
		limited, cancel = context.WithTimeout(ctx, w.timeout)
	}
	defer cancel()
	err := w.try(limited)
	for err != nil && limited.Err() == nil && passing(err) {
		w.inTheWay(err)
		if pause(limited, waitRetry) {
			err = w.try(limited)
		}
	}
	if err != nil && ctx.Err() == nil && limited.Err() != nil {
		err = w.timedOut()
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return w.finish(err)
}

// passing says that an error may be over soon: the daemon starts, or is silent
// for the moment.
func passing(err error) bool {
	var known *localapi.Error
	if !errors.As(err, &known) {
		return true
	}
	switch known.Code {
	case localapi.CodePermission, localapi.CodeIncompatible, localapi.CodeUsage:
		return false
	case localapi.CodeGeneric, localapi.CodeNotRunning, localapi.CodeNotSignedIn, localapi.CodeTimeout, localapi.CodeNotFound, localapi.CodeDegraded:
	}
	return true
}

// try waits with one daemon, for as long as it is there.
func (w *waiting) try(ctx context.Context) error {
	client, err := w.app.dial(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	if w.what != "connected" && w.what != "dns" {
		return w.forAgents(ctx, client)
	}
	next, stop, err := w.app.watchStatus(ctx, client)
	if err != nil {
		return err
	}
	defer stop()
	for {
		status, err := next()
		if err != nil {
			return err
		}
		if status.GetState() == localv1.State_CONNECTED || w.what == "dns" && status.GetCanaryOk() {
			return nil
		}
		w.inTheWay(notWorking(status, "wait for "+w.what))
	}
}

// forAgents asks the agents themselves once, so that also those answer that
// nobody has used yet.
func (w *waiting) forAgents(ctx context.Context, client *localapi.Client) error {
	status, err := w.app.askStatus(ctx, client)
	if err != nil {
		return err
	}
	if status.GetView() == localv1.View_SUMMARY {
		return notYours(status, "wait for "+w.what)
	}
	agents, err := w.agents(status)
	if err != nil {
		if len(status.GetAgents()) == 0 {
			err = notWorking(status, "wait for "+w.what)
		}
		return err
	}
	for _, agent := range agents {
		if _, err := call(ctx, w.app, waitPing, client.Ping, &localv1.PingRequest{Name: agent.GetName() + "." + agent.GetWorkspace()}); err != nil {
			return err
		}
	}
	return nil
}

// agents are those that are waited for.
func (w *waiting) agents(status *localv1.Status) ([]*localv1.AgentStatus, error) {
	name, whole := strings.CutPrefix(w.what, workspacePrefix)
	if !whole {
		agent, err := find(status, name)
		return []*localv1.AgentStatus{agent}, err
	}
	var agents []*localv1.AgentStatus
	for _, agent := range sorted(status.GetAgents()) {
		if strings.EqualFold(agent.GetWorkspace(), name) {
			agents = append(agents, agent)
		}
	}
	if len(agents) == 0 {
		return nil, &localapi.Error{Code: localapi.CodeNotFound, Cause: fmt.Sprintf("find workspace %q: there is none of that name with an agent", name), Remedy: "see: causeway list"}
	}
	return agents, nil
}

// inTheWay keeps the reason, and tells it when it is new and the wait has
// lasted for a moment.
func (w *waiting) inTheWay(err error) {
	var known *localapi.Error
	w.cause, w.remedy = err.Error(), ""
	if errors.As(err, &known) {
		w.cause, w.remedy = known.Cause, known.Remedy
	}
	if w.cause != w.said && w.app.now().Sub(w.began) >= slow {
		w.said = w.cause
		fmt.Fprintf(w.app.env.Stderr, "waiting for %s: %s\n", w.what, printable(w.cause))
	}
}

func (w *waiting) timedOut() error {
	failed := &localapi.Error{Code: localapi.CodeTimeout, Cause: fmt.Sprintf("wait for %s: not within %s", w.what, w.timeout), Remedy: w.remedy}
	if w.cause != "" {
		failed.Cause += ": " + strings.TrimPrefix(w.cause, "wait for "+w.what+": ")
	}
	return failed
}

func (w *waiting) finish(err error) error {
	if !w.asJSON {
		return err
	}
	out := waitJSON{Version: jsonVersion, For: w.what, Done: err == nil, Waited: w.app.now().Sub(w.began).Milliseconds()}
	if err != nil {
		out.Cause = err.Error()
		var known *localapi.Error
		if errors.As(err, &known) {
			out.Remedy = known.Remedy
		}
	}
	return errors.Join(err, writeJSON(w.app.env.Stdout, out))
}

// notYours is what somebody gets who asks for more of another user's tunnel
// than the summary.
func notYours(status *localv1.Status, verb string) error {
	if unowned(status) && status.GetState() == localv1.State_SIGNED_OUT {
		return notWorking(status, verb)
	}
	return &localapi.Error{
		Code:   localapi.CodePermission,
		Cause:  verb + ": the tunnel belongs to " + owner(status),
		Remedy: here.takeOver(),
	}
}

// owner is whose the tunnel is.
func owner(status *localv1.Status) string {
	switch {
	case status.GetOwner() != "":
		return "the user " + status.GetOwner()
	case status.GetOwnerSid() != "":
		return "the user " + status.GetOwnerSid()
	case status.OwnerUid != nil:
		return fmt.Sprintf("the user with uid %d", status.GetOwnerUid())
	}
	return "another user"
}
