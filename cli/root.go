package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/causewayhq/causeway/config"
)

// Main runs the command line and returns the exit code.
func Main(ctx context.Context, env Env) int {
	a := &app{env: env, now: time.Now}
	if a.env.Lookup == nil {
		a.env.Lookup = systemLookup
	}
	root := a.root()
	root.SetArgs(env.Args[1:])
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	return a.report(root.ExecuteContext(ctx))
}

const long = `Causeway connects this machine to your remote workspaces, by name.

A daemon (causewayd) keeps the tunnel; this command tells it what you want and
shows what it does. Everything that speaks TCP or UDP then reaches a workspace
by its name, for example: ssh main.myws.me.coder`

const examples = `  causeway login https://coder.example.com   # once; with sudo, if you did not install it
  causeway up --wait                         # connect
  causeway list                              # which names there are
  causeway ssh myws                          # or plainly: ssh main.myws.me.coder
  causeway status                            # what works, what does not, and why
  causeway doctor                            # what is in the way, and what to do about it`

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use: "causeway", Short: "Reach your remote workspaces by name", Long: long, Example: examples,
		SilenceErrors: true, SilenceUsage: true,
		// An unknown command arrives here as an argument.
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return unknownCommand(cmd, args[0])
		},
	}
	root.Version = a.env.Version
	root.SetVersionTemplate(a.versionLine())
	root.PersistentFlags().StringVar(&a.socket, "socket", "",
		"socket of the daemon (default $CAUSEWAY_SOCKET, else "+config.DefaultSocket+")")
	root.SetFlagErrorFunc(flagError)
	root.SetUsageTemplate(root.UsageTemplate() + "\n" + `{{if not .HasParent}}` + exitCodes + `{{end}}`)
	root.AddGroup(
		&cobra.Group{ID: "connect", Title: "Connect:"},
		&cobra.Group{ID: "look", Title: "Look:"},
		&cobra.Group{ID: "use", Title: "Use:"},
		&cobra.Group{ID: "manage", Title: "Manage:"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, command := range commands {
			command.GroupID = group
			mark(command)
			root.AddCommand(command)
		}
	}
	add("connect", a.login(), a.logout(), a.profile(), a.operator())
	add("connect", a.up(), a.down(), a.wait())
	add("look", a.status(), a.list(), a.dns(), a.doctor(), a.version())
	add("use", a.ssh(), a.ping())
	add("look", a.netcheck())
	add("use", a.scp(), a.portForward(), a.ports(), a.terminals(), a.open(), a.configSSH(), a.sshKnownHosts(), a.speedtest())
	add("look", a.logs(), a.metrics(), a.bundle())
	add("manage", a.set(), a.get(), a.config(), a.logLevel(), a.state(), a.service(), a.tray())
	root.SetOut(a.env.Stdout) // which the next line takes down
	root.InitDefaultCompletionCmd()
	for _, child := range root.Commands() {
		if child.Name() == "completion" {
			child.Args = cobra.ArbitraryArgs
			child.RunE = root.RunE
		}
	}
	here.adapt(root)
	return root
}

// mark makes the errors of a command that ran known as such.
func mark(command *cobra.Command) {
	if run := command.RunE; run != nil {
		command.RunE = func(cmd *cobra.Command, args []string) error {
			if err := run(cmd, args); err != nil {
				return &ranError{err}
			}
			return nil
		}
	}
	for _, child := range command.Commands() {
		mark(child)
	}
}

func unknownCommand(cmd *cobra.Command, name string) error {
	remedy := "see: " + cmd.CommandPath() + " --help"
	var names []string
	for _, child := range cmd.Commands() {
		if child.IsAvailableCommand() {
			names = append(names, child.Name())
		}
	}
	if near := nearest(name, names); near != "" {
		remedy = fmt.Sprintf("did you mean %q? %s", cmd.CommandPath()+" "+near, remedy)
	}
	return &usageError{cause: fmt.Sprintf("run %s: unknown command %q", cmd.CommandPath(), name), remedy: remedy}
}

func flagError(cmd *cobra.Command, err error) error {
	remedy := "see: " + cmd.CommandPath() + " --help"
	if name, ok := strings.CutPrefix(err.Error(), "unknown flag: --"); ok {
		var names []string
		cmd.Flags().VisitAll(func(flag *pflag.Flag) { names = append(names, flag.Name) })
		if near := nearest(name, names); near != "" {
			remedy = fmt.Sprintf("did you mean --%s? %s", near, remedy)
		}
	}
	return &usageError{cause: fmt.Sprintf("run %s: %s", cmd.CommandPath(), err), remedy: remedy}
}

// args wraps a check of the number of arguments in our words.
func args(low, high int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, given []string) error {
		if len(given) >= low && len(given) <= high {
			return nil
		}
		if high == 0 {
			return &usageError{
				cause:  fmt.Sprintf("run %s: it takes no argument, and %q was given", cmd.CommandPath(), given[0]),
				remedy: "see: " + cmd.CommandPath() + " --help",
			}
		}
		return &usageError{cause: fmt.Sprintf("run %s: expected %s", cmd.CommandPath(), what), remedy: "see: " + cmd.CommandPath() + " --help"}
	}
}

// nearest is the candidate that differs from the word by at most two letters,
// or that begins with it; "" if there is none.
func nearest(word string, candidates []string) string {
	best, least := "", 3
	for _, candidate := range candidates {
		d := distance(word, candidate)
		if len(word) >= 2 && strings.HasPrefix(candidate, word) {
			d = 1
		}
		// Of two that are as near, letters that were swapped are likelier than one that is missing.
		nearer := d < least || d == least && best != "" && len(best) != len(word) && len(candidate) == len(word)
		if nearer && d < len(candidate) {
			best, least = candidate, d
		}
	}
	return best
}

// distance counts the letters to insert, drop or replace.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost++
			}
			diagonal = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}
