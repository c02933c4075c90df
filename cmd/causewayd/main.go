// Command causewayd is the daemon that keeps the tunnel of one machine.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/causewayhq/causeway/config"
	"github.com/causewayhq/causeway/internal/version"
	"github.com/causewayhq/causeway/service"
)

// exitUsage is for a command line that is wrong.
const exitUsage = 2

// failedStart is how long a daemon whose start fails lives at least under a
// service manager that asks to be notified: our unit has it started again after
// 100 ms, for ever, which after a crash is right and else costs half a core.
const failedStart = 2 * time.Second

func main() {
	began := time.Now()
	ctx, stop := untilSignal(context.Background())
	code := execute(ctx, os.Args[1:])
	if _, managed := os.LookupEnv("NOTIFY_SOCKET"); managed && code != 0 {
		select {
		case <-ctx.Done():
		case <-time.After(time.Until(began.Add(failedStart))):
		}
	}
	stop()
	os.Exit(code)
}

// ranError marks an error of a command that did run; others are about the
// command line.
type ranError struct{ error }

func (e *ranError) Unwrap() error { return e.error }

func execute(ctx context.Context, args []string) int {
	root := rootCommand()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	var failed *service.Error
	var ran *ranError
	cause, remedy, code := err.Error(), "", 1
	switch {
	case errors.As(err, &failed):
		remedy, code = failed.Remedy, int(failed.Failure)
	case !errors.As(err, &ran):
		cause, _, _ = strings.Cut(cause, "\n")
		remedy, code = "see: causewayd --help", exitUsage
	}
	fmt.Fprintf(os.Stderr, "causewayd: %s\n", cause)
	if remedy != "" {
		fmt.Fprintf(os.Stderr, "  remedy: %s\n", remedy)
	}
	return code
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use: "causewayd", Short: "Keep this machine's tunnel to its remote workspaces",
		Long: "The daemon keeps the tunnel; the causeway command tells it what you want.\n\nExit codes:\n" + exitCodes() +
			"\nSettings:\n" + config.Document(),
		Example:      "  sudo causewayd install --now   # as a service of this machine\n  sudo causewayd run             # in the foreground\n  sudo causewayd cleanup         # after a crash, with no daemon running",
		SilenceUsage: true, SilenceErrors: true,
	}
	root.AddCommand(runCommand(), tunnelCommand("tunnel"), vpnDaemonCommand(), cleanupCommand(), operatorCommand(), versionCommand(),
		installCommand(), uninstallCommand(), startCommand(), stopCommand(), restartCommand(), statusCommand())
	// Not cobra's own, which has a template: whoever links text/template keeps each
	// method of each type, 8 MB of them.
	asked := root.Flags().BoolP("version", "v", false, "version for causewayd")
	root.RunE = func(command *cobra.Command, _ []string) error {
		if *asked {
			_, err := fmt.Fprintln(command.OutOrStdout(), "causewayd", version.Version)
			return err
		}
		return command.Help()
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	inWordsOfThisSystem(root)
	return root
}

func exitCodes() string {
	var text strings.Builder
	fmt.Fprintf(&text, "  %2d  %s\n  %2d  %s\n", 0, "ended as it was told to", exitUsage, "the command line is wrong")
	for _, point := range service.Failures() {
		fmt.Fprintf(&text, "  %2d  %s\n", point.Failure, point.Text)
	}
	return text.String()
}

// settings gives a command the flags of the schema, or only those named.
func settings(command *cobra.Command, only ...string) func() (config.Daemon, error) {
	load := settingValues(command, only...)
	return func() (config.Daemon, error) {
		values, err := load()
		if err != nil {
			return config.Daemon{}, err
		}
		return values.Daemon()
	}
}

// settingValues is settings that also tells where each value comes from.
func settingValues(command *cobra.Command, only ...string) func() (config.Values, error) {
	flags := command.Flags()
	flags.String(config.FileFlag, "", "settings file (default "+config.DefaultFile+")")
	for _, setting := range config.Schema() {
		if !setting.FileOnly && (len(only) == 0 || slices.Contains(only, setting.Name)) {
			flags.String(setting.Name, "", setting.Doc+" (default "+setting.Default+")")
		}
	}
	return func() (config.Values, error) {
		given := map[string]string{}
		flags.Visit(func(flag *pflag.Flag) { given[flag.Name] = flag.Value.String() })
		loaded, err := config.LoadValues(config.Sources{Flags: given, LookupEnv: os.LookupEnv})
		if err != nil {
			return loaded, &service.Error{Failure: service.FailureConfig, Remedy: "see the settings with: causewayd --help", Err: err}
		}
		return loaded, nil
	}
}

// ran runs a command's work and marks its errors.
func ran(work func(cmd *cobra.Command) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, _ []string) error {
		if err := work(cmd); err != nil {
			return &ranError{err}
		}
		return nil
	}
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Show the version", Args: cobra.NoArgs,
		RunE: ran(func(cmd *cobra.Command) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "causewayd %s\n", version.Version)
			return err
		}),
	}
}
