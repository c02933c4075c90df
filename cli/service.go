package cli

import (
	"github.com/spf13/cobra"
)

func (a *app) service() *cobra.Command {
	command := &cobra.Command{
		Use: "service", Short: "The daemon as a service: install, uninstall, start, stop, restart, status", Args: cobra.ArbitraryArgs,
		Long: `Have the operating system's service manager do something with the daemon. Each of
these becomes "causewayd ..." of the same name, whose exit codes are passed on:
causewayd --help lists them.`,
		RunE: group,
	}
	command.AddCommand(
		a.serviceVerb("install", "Install the daemon as a service of this machine", "  sudo causeway service install --now", true),
		a.serviceVerb("uninstall", "Stop the service, put the network back, and take the service away", "  sudo causeway service uninstall", true),
		a.serviceVerb("start", "Start the service and wait until it answers", "  sudo causeway service start", true),
		a.serviceVerb("stop", "Stop the service, which puts the network back", "  sudo causeway service stop", true),
		a.serviceVerb("restart", "Restart the service and wait until it answers", "  sudo causeway service restart", true),
		a.serviceVerb("status", "Show what the service manager says of the service", "  causeway service status", false),
	)
	return command
}

// group is what a command does that only has others below it.
func group(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	return unknownCommand(cmd, args[0])
}

// serviceVerb hands over to causewayd; flags are checked there a second time.
func (a *app) serviceVerb(verb, short, example string, changes bool) *cobra.Command {
	var dry, now, asJSON bool
	var operator string
	command := &cobra.Command{Use: verb, Short: short, Example: example, Args: args(0, 0, "")}
	flags := command.Flags()
	if changes {
		flags.BoolVar(&dry, "dry-run", false, "change nothing, and say what would be changed")
	} else {
		flags.BoolVar(&asJSON, "json", false, "print JSON (cli/schema/service-status.json)")
	}
	if verb == "install" {
		flags.BoolVar(&now, "now", false, "start it too")
		flags.StringVar(&operator, "operator", "", "user (number, or SID on Windows) who may sign in and connect without being an administrator (default who ran sudo, while there is nobody; none: nobody)")
	}
	command.RunE = func(*cobra.Command, []string) error {
		words := []string{verb}
		for _, one := range []struct {
			flag  string
			given bool
		}{{"--dry-run", dry}, {"--now", now}, {"--json", asJSON}} {
			if one.given {
				words = append(words, one.flag)
			}
		}
		if operator != "" {
			words = append(words, "--operator="+operator)
		}
		return a.runDaemonProgram(changes && !dry, words...)
	}
	return command
}
