package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/causewayhq/causeway/cli/doctor"
)

const (
	// slow is how long a check may take before doctor says what it waits for.
	slow = time.Second
	// confirmTries and confirmPause are for a repair that shows only after a
	// while: the daemon applies in the background.
	confirmTries, confirmPause = 4, 2 * time.Second
	// doctorIndent is where causes begin: after the result and the check's name.
	doctorIndent = 24
)

type doctorJSON struct {
	Version int          `json:"version"`
	Result  string       `json:"result"`
	Checks  []checkJSON  `json:"checks"`
	Mended  []mendedJSON `json:"mended"`
}

type checkJSON struct {
	ID       string `json:"id"`
	Title    string `json:"title"`
	Result   string `json:"result"`
	Cause    string `json:"cause"`
	Remedy   string `json:"remedy"`
	Because  string `json:"because"`
	Mendable bool   `json:"mendable"`
}

type mendedJSON struct {
	Check     string `json:"check"`
	Action    string `json:"action"`
	Done      bool   `json:"done"`
	NeedsRoot bool   `json:"needs_root"`
	Error     string `json:"error"`
}

func (a *app) doctor() *cobra.Command {
	var asJSON, fix bool
	command := &cobra.Command{
		Use: "doctor", Short: "Find out what is in the way, and mend what is ours", Args: args(0, 0, ""),
		Long: `Check one thing after another, from the daemon over this host's settings to the
workspaces, and say of each whether it is well, or else what the cause is and
what to do about it. A check that needs another that failed is left out: the
first failure is the one to mend. It works with the daemon stopped or stuck,
and as any user who may use the tunnel; root sees a little more, such as which
program holds another VPN's interface.

With --fix it mends what is Causeway's own, says what it did, and checks again:
it starts a service that is stopped, restarts one that does not answer, opens
the socket, and has the daemon put its interface, routes and name servers back.
Settings of other programs are named, never touched.

Exits with 0 if nothing failed, though there may be warnings; else with the code
of the first failure: 3 when the daemon is not running, 4 when not signed in, 5
when the socket cannot be used, 6 when the daemon does not answer, 9 when the
daemon is of another version, 8 for everything else.`,
		Example: `  causeway doctor
  sudo causeway doctor --fix
  causeway doctor --json | jq -r '.checks[] | select(.result == "failed") | .id'`,
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print JSON (cli/schema/doctor.json)")
	command.Flags().BoolVar(&fix, "fix", false, "mend what is ours, and check again")
	command.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.runDoctor(cmd.Context(), asJSON, fix)
	}
	return command
}

// patient is this machine, and in tests another.
func (a *app) patient() doctor.Patient {
	if a.env.Doctor != nil {
		return a.env.Doctor
	}
	return &doctor.Machine{Socket: a.socketPath(), Version: a.env.Version, API: doctor.API, LookupEnv: a.env.LookupEnv}
}

func (a *app) runDoctor(ctx context.Context, asJSON, fix bool) error {
	machine := a.patient()
	show := a.showOutcome
	if asJSON {
		show = func(doctor.Outcome) {}
	}
	outcomes := a.examine(ctx, machine, show)
	var mended []doctor.Mended
	if fix && ctx.Err() == nil {
		mended = doctor.Repair(ctx, outcomes, machine, os.Geteuid() == 0)
		outcomes, mended = a.confirm(ctx, machine, outcomes, mended, asJSON)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	result, code := doctor.Verdict(outcomes)
	if asJSON {
		if err := writeJSON(a.env.Stdout, doctorOf(result, outcomes, mended)); err != nil {
			return err
		}
	} else {
		a.printVerdict(outcomes, mended, fix)
	}
	if code != 0 {
		return &silentError{code}
	}
	return nil
}

// confirm examines again after repairs, and shows how it is now.
func (a *app) confirm(ctx context.Context, machine doctor.Patient, outcomes []doctor.Outcome, mended []doctor.Mended, asJSON bool) ([]doctor.Outcome, []doctor.Mended) {
	tried := false
	for _, one := range mended {
		tried = tried || one.Err == nil
	}
	if !tried {
		return outcomes, mended
	}
	before := outcomes
	var confirmed []doctor.Mended
	for try := range confirmTries {
		if try > 0 && !pause(ctx, confirmPause) {
			break
		}
		outcomes = a.examine(ctx, machine, func(doctor.Outcome) {})
		confirmed = doctor.Confirm(append([]doctor.Mended{}, mended...), outcomes)
		if doctor.Calm(confirmed, before, outcomes) {
			break
		}
	}
	if !asJSON {
		fmt.Fprintln(a.env.Stdout, "\nafter the repair:")
		for i, outcome := range outcomes {
			if i >= len(before) || outcome != before[i] {
				a.showOutcome(outcome)
			}
		}
	}
	return outcomes, confirmed
}

// examine shows each outcome, and on a terminal what is waited for meanwhile.
func (a *app) examine(ctx context.Context, machine doctor.Patient, show func(doctor.Outcome)) []doctor.Outcome {
	waiting := func() {}
	defer func() { waiting() }()
	return doctor.Examine(ctx, machine, func(outcome doctor.Outcome) {
		waiting()
		waiting = func() {}
		if outcome.Result == "" {
			waiting = a.sayWhenSlow("checking: " + outcome.Title + " ...")
			return
		}
		show(outcome)
	})
}

// sayWhenSlow puts a line on a terminal when something takes over a second;
// the function that it returns takes the line away again.
func (a *app) sayWhenSlow(line string) (done func()) {
	if _, ok := terminal(a.env.Stderr); !ok {
		return func() {}
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		timer := time.NewTimer(slow)
		defer timer.Stop()
		select {
		case <-stop:
			return
		case <-timer.C:
		}
		fmt.Fprint(a.env.Stderr, line)
		<-stop
		fmt.Fprint(a.env.Stderr, "\r\x1b[K")
	}()
	return func() {
		close(stop)
		<-stopped
	}
}

func (a *app) showOutcome(outcome doctor.Outcome) {
	if outcome.Result == "" || outcome.Because != "" {
		return // nothing yet, or nothing but a number at the end
	}
	style := a.style(a.env.Stdout)
	colour := map[doctor.Result]string{doctor.OK: style.green, doctor.Warning: style.yellow, doctor.Failed: style.red}[outcome.Result]
	reset := style.reset
	if colour == "" {
		reset = ""
	}
	fmt.Fprintf(a.env.Stdout, "%s%-8s%s %-14s %s\n", colour, outcome.Result, reset, outcome.ID, a.wrapped(outcome.Cause, doctorIndent))
	if outcome.Remedy != "" {
		fmt.Fprintf(a.env.Stdout, "%*s%s\n", doctorIndent, "", a.wrapped("remedy: "+outcome.Remedy, doctorIndent))
	}
}

// wrapped breaks a text between words, on a terminal only, so that it stays
// right of the indent.
func (a *app) wrapped(text string, indent int) string {
	text = printable(text)
	fd, ok := terminal(a.env.Stdout)
	if !ok {
		return text
	}
	width, _, err := term.GetSize(fd)
	if err != nil {
		return text
	}
	return wrap(text, indent, width)
}

func wrap(text string, indent, width int) string {
	const least = 20 // a narrower column is worse than long lines
	if width-indent < least {
		return text
	}
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width-indent {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return strings.Join(append(lines, line), "\n"+strings.Repeat(" ", indent))
}

func (a *app) printVerdict(outcomes []doctor.Outcome, mended []doctor.Mended, fix bool) {
	out := a.env.Stdout
	for _, line := range leftOut(outcomes) {
		fmt.Fprintln(out, line)
	}
	if fix {
		fmt.Fprintln(out)
		if len(mended) == 0 {
			fmt.Fprintln(out, "nothing that is ours to mend")
		}
	}
	for _, one := range mended {
		switch {
		case one.Done:
			fmt.Fprintf(out, "mended   %-14s %s\n", one.Check, one.Action.Past())
		case errors.Is(one.Err, doctor.ErrNeedsRoot):
			fmt.Fprintf(out, "not done %-14s only root may %s; run: %s\n", one.Check, one.Action, a.sudo())
		default:
			fmt.Fprintf(out, "not done %-14s %s: %s\n", one.Check, one.Action, printable(fmt.Sprint(one.Err)))
		}
	}
	counts := map[doctor.Result]int{}
	mendable, root := false, false
	for _, outcome := range outcomes {
		counts[outcome.Result]++
		mendable = mendable || outcome.Mend != doctor.MendNone
		root = root || outcome.Mend.NeedsRoot()
	}
	line := []string{fmt.Sprintf("%d ok", counts[doctor.OK])}
	for _, result := range []doctor.Result{doctor.Warning, doctor.Failed, doctor.Skipped} {
		if counts[result] > 0 {
			line = append(line, fmt.Sprintf("%d %s", counts[result], result))
		}
	}
	fmt.Fprintf(out, "\n%s\n", strings.Join(line, ", "))
	if mendable && !fix {
		command := "causeway doctor --fix"
		if root && os.Geteuid() != 0 {
			command = here.sudo + command
		}
		fmt.Fprintln(out, "next: "+command)
	}
}

// leftOut tells for each failure which checks were skipped for its sake.
func leftOut(outcomes []doctor.Outcome) []string {
	var lines []string
	for _, failed := range outcomes {
		var ids []string
		for _, outcome := range outcomes {
			if outcome.Because == failed.ID {
				ids = append(ids, outcome.ID)
			}
		}
		if len(ids) > 0 {
			lines = append(lines, fmt.Sprintf("%-8s left out because of %s: %s", doctor.Skipped, failed.ID, strings.Join(ids, ", ")))
		}
	}
	return lines
}

func doctorOf(result doctor.Result, outcomes []doctor.Outcome, mended []doctor.Mended) doctorJSON {
	out := doctorJSON{Version: jsonVersion, Result: string(result), Checks: []checkJSON{}, Mended: []mendedJSON{}}
	for _, outcome := range outcomes {
		out.Checks = append(out.Checks, checkJSON{
			ID: outcome.ID, Title: outcome.Title, Result: string(outcome.Result), Cause: outcome.Cause, Remedy: outcome.Remedy,
			Because: outcome.Because, Mendable: outcome.Mend != doctor.MendNone,
		})
	}
	for _, one := range mended {
		text := ""
		if one.Err != nil {
			text = one.Err.Error()
		}
		out.Mended = append(out.Mended, mendedJSON{one.Check, string(one.Action), one.Done, errors.Is(one.Err, doctor.ErrNeedsRoot), text})
	}
	return out
}
