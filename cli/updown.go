package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

func (a *app) up() *cobra.Command {
	var wait bool
	var timeout time.Duration
	request := &localv1.UpRequest{}
	command := &cobra.Command{
		Use: "up", Short: "Connect, and stay connected", Args: args(0, 0, ""),
		Long: `Connect, and stay connected until causeway down: after a reboot too. With --wait
the command returns when names answer on this machine, and says on the way what
it waits for.

While another user of this machine has the tunnel up, that is theirs to give:
they run causeway down first. An administrator may take it: without --profile
for the user who ran sudo.`,
		Example: `  causeway up --wait
  causeway up --profile work
  sudo causeway up --take-over`,
	}
	command.Flags().BoolVar(&wait, "wait", false, "return only when the tunnel works")
	command.Flags().DurationVar(&timeout, "timeout", defaultWait, "give up waiting after this long; the tunnel goes on trying")
	command.Flags().StringVar(&request.Profile, "profile", "", "make this profile the active one (default the one that is)")
	command.Flags().BoolVar(&request.TakeOver, "take-over", false, "as administrator: take the tunnel from the user who has it up")
	a.completesProfile(command, "profile")
	command.RunE = func(cmd *cobra.Command, _ []string) error {
		client, err := a.dial(cmd.Context())
		if err != nil {
			return err
		}
		defer client.Close()
		if request.GetTakeOver() && request.GetProfile() == "" {
			request.ForUid = a.sudoUser()
		}
		if wait {
			return a.bringUp(cmd.Context(), client, request, timeout)
		}
		before, err := a.askStatus(cmd.Context(), client)
		if err != nil {
			return err
		}
		if _, err := call(cmd.Context(), a, workLimit, client.Up, request); err != nil {
			return err
		}
		if goesOn(before, request) {
			fmt.Fprintf(a.env.Stdout, "connected already to %s as %s\n", shown(before).GetUrl(), shown(before).GetUser())
			return nil
		}
		fmt.Fprintln(a.env.Stdout, "connecting; causeway status shows how it goes")
		return nil
	}
	return command
}

// goesOn says that what is asked for is there already.
func goesOn(status *localv1.Status, wanted *localv1.UpRequest) bool {
	return !wanted.GetTakeOver() && status.GetView() != localv1.View_SUMMARY && status.GetWantedUp() && status.GetState() == localv1.State_CONNECTED &&
		(wanted.GetProfile() == "" || wanted.GetProfile() == status.GetProfile())
}

// defaultWait is how long a command waits for the tunnel to work.
const defaultWait = time.Minute

// bringUp connects and waits until the tunnel works.
func (a *app) bringUp(ctx context.Context, client *localapi.Client, request *localv1.UpRequest, timeout time.Duration) error {
	if _, err := call(ctx, a, workLimit, client.Up, request); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return a.await(ctx, client, timeout)
}

// await prints each step until the tunnel works or cannot.
func (a *app) await(ctx context.Context, client *localapi.Client, timeout time.Duration) error {
	next, stop, err := a.watchStatus(ctx, client)
	if err != nil {
		return err
	}
	defer stop()
	var last *localv1.Status
	said := map[string]bool{}
	say := func(format string, args ...any) {
		if line := fmt.Sprintf(format, args...); !said[line] {
			said[line] = true
			fmt.Fprintln(a.env.Stderr, line)
		}
	}
	say("connecting")
	for {
		status, err := next()
		if errors.Is(err, context.DeadlineExceeded) {
			return timedOut(last, timeout)
		}
		if err != nil {
			return err
		}
		status = shown(status)
		last = status
		progress(status, say)
		switch status.GetState() {
		case localv1.State_CONNECTED:
			fmt.Fprintf(a.env.Stdout, "connected to %s as %s, %s\n", status.GetUrl(), status.GetUser(), count(len(status.GetAgents()), "agent"))
			return nil
		case localv1.State_FAILED, localv1.State_SIGNED_OUT:
			return notWorking(status, "connect")
		case localv1.State_DOWN:
			if status.GetWantedUp() {
				continue // it is being restarted, or stopped, which ends the stream
			}
			return &localapi.Error{Code: localapi.CodeDegraded, Cause: "connect: somebody took the tunnel down meanwhile", Remedy: "run: causeway up --wait"}
		case localv1.State_STATE_UNSPECIFIED, localv1.State_STARTING, localv1.State_DEGRADED:
		}
	}
}

// progress says what has been reached and what is in the way.
func progress(status *localv1.Status, say func(string, ...any)) {
	if status.GetInterface() != "" {
		say("interface %s is up", status.GetInterface())
	}
	if status.GetControlConnected() {
		say("control plane reached")
	}
	if status.GetWorkspacesAsOf() != nil {
		say("workspaces known")
	}
	if status.GetCanaryOk() {
		say("names answer on this machine (%s)", status.GetDnsMode())
	}
	for _, problem := range status.GetProblems() {
		say("in the way: %s", problem.GetCause())
	}
}

func timedOut(last *localv1.Status, timeout time.Duration) error {
	if last.GetState() == localv1.State_DEGRADED {
		return notWorking(last, "connect")
	}
	failed := &localapi.Error{
		Code:   localapi.CodeTimeout,
		Cause:  fmt.Sprintf("connect: not done after %s", timeout),
		Remedy: "the daemon goes on trying; see causeway status",
	}
	if problems := last.GetProblems(); len(problems) > 0 {
		failed.Cause += ": " + problems[0].GetCause()
		failed.Remedy = problems[0].GetRemedy()
	}
	return failed
}

// notWorking makes an error of the first problem.
func notWorking(status *localv1.Status, verb string) error {
	failed := &localapi.Error{Code: codeOf(status), Cause: verb + ": the tunnel is " + stateWord(status.GetState()), Remedy: "see causeway status"}
	if problems := status.GetProblems(); len(problems) > 0 {
		failed.Cause = verb + ": " + problems[0].GetCause()
		failed.Remedy = problems[0].GetRemedy()
	} else if failed.Code == localapi.CodeNotSignedIn {
		failed.Cause, failed.Remedy = verb+": nobody has signed in", "run: "+here.signIn(status)
	}
	return failed
}

func (a *app) down() *cobra.Command {
	request := &localv1.DownRequest{}
	command := &cobra.Command{
		Use: "down", Short: "Disconnect, and stay disconnected", Args: args(0, 0, ""),
		Long: `Disconnect, and stay disconnected: after a reboot too. Other users of this
machine may have the tunnel from then on.`,
		Example: `  causeway down
  causeway down --reason "the hotel's network"`,
	}
	command.Flags().StringVar(&request.Reason, "reason", "", "why, for the daemon's log")
	command.RunE = func(cmd *cobra.Command, _ []string) error {
		client, err := a.dial(cmd.Context())
		if err != nil {
			return err
		}
		defer client.Close()
		if _, err := call(cmd.Context(), a, workLimit, client.Down, request); err != nil {
			return err
		}
		fmt.Fprintln(a.env.Stdout, "disconnected")
		return nil
	}
	return command
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
