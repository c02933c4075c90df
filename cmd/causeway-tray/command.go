package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/causewayhq/causeway/config"
	"github.com/causewayhq/causeway/internal/version"
	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/tray"
)

type program struct {
	stdout, stderr  io.Writer
	socket, theme   string
	install, remove bool
	verbose         bool
}

func (p *program) command() *cobra.Command {
	command := &cobra.Command{
		Use:   "causeway-tray",
		Short: "Show the state of the tunnel in the notification area",
		Long: `Show an icon whose shape and colour are the state of the tunnel as it is
measured, with a menu to connect and disconnect, to see each workspace and how it
is reached, to copy its name or open a shell in it, to sign in and out, and to
change profiles. It talks to the Causeway service of this machine and needs no
privileges.

One runs in each session; another start says so and ends. Where the desktop has no
place for status icons it says so once, and waits for one; causeway status --watch
shows the same in a terminal.

Exit codes:
  0  ended by the user or with the session, or one runs already
  1  failed: the error says why
  2  the command line is wrong`,
		Example: `  causeway-tray &                      # show the icon
  causeway-tray --theme dark           # more contrast on a dark panel
  causeway-tray --install-autostart    # start it at login from now on
  causeway-tray --remove-autostart`,
		Version:       version.Version,
		Args:          cobra.NoArgs,
		SilenceErrors: true, SilenceUsage: true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	command.SetOut(p.stdout)
	command.SetErr(p.stderr)
	command.SetVersionTemplate("causeway-tray {{.Version}}\n")
	flags := command.Flags()
	flags.StringVar(&p.socket, "socket", defaultSocket(), "where the service listens")
	flags.StringVar(&p.theme, "theme", "auto", "the panel to stand out from: "+strings.Join(tray.Themes, ", "))
	flags.BoolVar(&p.install, "install-autostart", false, "start the tray when you log in, and end")
	flags.BoolVar(&p.remove, "remove-autostart", false, "do not start it any more when you log in, and end")
	flags.BoolVarP(&p.verbose, "verbose", "v", false, "log what happens to standard error")
	command.MarkFlagsMutuallyExclusive("install-autostart", "remove-autostart")
	command.AddCommand(&cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "causeway-tray %s\n", version.Version)
			return err
		},
	})
	command.RunE = func(cmd *cobra.Command, _ []string) error { return p.start(cmd) }
	return command
}

func defaultSocket() string {
	if path := os.Getenv("CAUSEWAY_SOCKET"); path != "" {
		return path
	}
	return config.DefaultSocket
}

// usageError is a wrong command line.
type usageError struct{ error }

// ranError marks an error of the program itself; the others are cobra's, about
// the command line.
type ranError struct{ error }

func (e *ranError) Unwrap() error { return e.error }

func (p *program) start(cmd *cobra.Command) error {
	if !slices.Contains(tray.Themes, p.theme) {
		return &usageError{fmt.Errorf("--theme %q: want one of %s", p.theme, strings.Join(tray.Themes, ", "))}
	}
	switch {
	case p.install:
		return p.autostart(tray.InstallAutostart(), "the tray starts when you log in from now on")
	case p.remove:
		return p.autostart(tray.RemoveAutostart(), "the tray does not start any more when you log in")
	}
	level := slog.LevelWarn
	if p.verbose {
		level = slog.LevelDebug
	}
	logger := slog.New(slog.NewTextHandler(p.stderr, &slog.HandlerOptions{Level: level}))
	// The library of the icon logs to the standard logger.
	slog.SetDefault(logger)
	slog.SetLogLoggerLevel(slog.LevelDebug)
	err := tray.Run(cmd.Context(), tray.Options{
		Socket: p.socket, Version: version.Version, CLI: cliProgram(), Theme: p.theme, Logger: logger,
		Say: func(text string) { fmt.Fprintln(p.stderr, "causeway-tray: "+text) },
	})
	if errors.Is(err, tray.ErrRunning) {
		fmt.Fprintln(p.stdout, tray.ErrRunning)
		return nil
	}
	if err != nil {
		return &ranError{err}
	}
	return nil
}

func (p *program) autostart(err error, done string) error {
	if err != nil {
		return &ranError{err}
	}
	fmt.Fprintln(p.stdout, done)
	return nil
}

// cliProgram is the causeway that was installed with this program, else the one
// in PATH.
func cliProgram() string {
	if own, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(own), cliName)
		if info, err := os.Stat(beside); err == nil && info.Mode().IsRegular() {
			return beside
		}
	}
	return cliName
}

// report prints the error and gives the exit code.
func (p *program) report(err error) int {
	var known *localapi.Error
	var ran *ranError
	var usage *usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &known):
		fmt.Fprintf(p.stderr, "causeway-tray: %s\n  remedy: %s\n", known.Cause, known.Remedy)
		return int(localapi.CodeGeneric)
	case errors.As(err, &ran):
		fmt.Fprintf(p.stderr, "causeway-tray: %s\n", err)
		return int(localapi.CodeGeneric)
	case errors.As(err, &usage):
	}
	fmt.Fprintf(p.stderr, "causeway-tray: %s\n  remedy: see: causeway-tray --help\n", err)
	return int(localapi.CodeUsage)
}
