package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/causewayhq/causeway/config"
	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/service"
	"github.com/causewayhq/causeway/service/system"
)

// answerLimit bounds one question whether the local API answers.
const answerLimit = 2 * time.Second

// manager is the service manager for a command.
func manager(cmd *cobra.Command, options config.Daemon, dry bool) (*system.Manager, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, &service.Error{Failure: service.FailureService, Err: fmt.Errorf("find own program: %w", err)}
	}
	return system.New(system.Options{
		Program: program, DryRun: dry, HandOver: handsOver(cmd),
		Say:     func(line string) { fmt.Fprintln(cmd.OutOrStdout(), line) },
		Cleanup: func(ctx context.Context) error { return cleanUp(ctx, options) },
		Answers: func(ctx context.Context) bool {
			ctx, cancel := context.WithTimeout(ctx, answerLimit)
			defer cancel()
			client, err := localapi.Dial(ctx, options.Socket)
			if err != nil {
				return false
			}
			client.Close()
			return true
		},
	})
}

// hostService is the service manager with the settings of the command.
type hostService struct {
	*system.Manager
	options config.Daemon
	dry     bool
}

// managing makes a command that has the service manager do something.
func managing(command *cobra.Command, does string, act func(*cobra.Command, hostService) error) *cobra.Command {
	command.Args = cobra.NoArgs
	// What the service itself is to use belongs into the settings file.
	load := settings(command, "state-dir", "socket")
	dry := command.Flags().Bool("dry-run", false, "change nothing, and say what would be changed")
	command.RunE = ran(func(cmd *cobra.Command) error {
		options, err := load()
		if err != nil {
			return err
		}
		if !*dry {
			if err := privileged(purpose{command: cmd.Name(), doing: does, means: "change a service of the machine"}); err != nil {
				return err
			}
		}
		found, err := manager(cmd, options, *dry)
		if err != nil {
			return err
		}
		return act(cmd, hostService{found, options, *dry})
	})
	return command
}

func installCommand() *cobra.Command {
	var now bool
	var operator string
	command := managing(&cobra.Command{
		Use: "install", Short: "Install the daemon as a service of this machine",
		Long: `Install this program as a service that starts with the machine. What is
installed already stays as it is, or is brought up to date; each thing that is
changed is said. Where a package has brought the unit, it is only enabled.

Who runs it with sudo may then sign in and connect without sudo, unless somebody
else may already; --operator names another user, or none.`,
		Example: "  sudo causewayd install --now\n  sudo causewayd install --operator 1000   # that user may sign in and connect\n  causewayd install --dry-run",
	}, "install service", func(cmd *cobra.Command, found hostService) error {
		if err := found.Install(cmd.Context()); err != nil {
			return err
		}
		if err := firstOperator(cmd, found, operator); err != nil {
			return err
		}
		if now {
			return found.Start(cmd.Context())
		}
		return nil
	})
	command.Flags().BoolVar(&now, "now", false, "start it too")
	command.Flags().StringVar(&operator, "operator", "", "user (name, number, or SID on Windows) who may sign in and connect without being an administrator (default who ran sudo, while there is nobody; none: nobody)")
	return command
}

func uninstallCommand() *cobra.Command {
	return managing(&cobra.Command{
		Use: "uninstall", Short: "Stop the service, put the network back, and take the service away",
		Long: `Stop the service, undo what it did to the network, and take the service away.
Who is signed in stays known in the state directory. It can be run again at any
time, also where nothing is installed.`,
		Example: "  sudo causewayd uninstall",
	}, "remove service", func(cmd *cobra.Command, found hostService) error { return found.Uninstall(cmd.Context()) })
}

func startCommand() *cobra.Command {
	return managing(&cobra.Command{
		Use: "start", Short: "Start the service and wait until it answers", Example: "  sudo causewayd start",
	}, "start service", func(cmd *cobra.Command, found hostService) error { return found.Start(cmd.Context()) })
}

func stopCommand() *cobra.Command {
	command := managing(&cobra.Command{
		Use: "stop", Short: "Stop the service, which puts the network back", Example: "  sudo causewayd stop",
	}, "stop service", func(cmd *cobra.Command, found hostService) error { return found.Stop(cmd.Context()) })
	offerHandOver(command)
	return command
}

func restartCommand() *cobra.Command {
	return managing(&cobra.Command{
		Use: "restart", Short: "Restart the service and wait until it answers", Example: "  sudo causewayd restart",
	}, "restart service", func(cmd *cobra.Command, found hostService) error { return found.Restart(cmd.Context()) })
}

// firstOperator lets a user sign in: the one that was named, or else the one who
// installs, as the packages do. That one's failure does not undo an install.
func firstOperator(cmd *cobra.Command, found hostService, named string) error {
	switch named {
	case "none":
		return nil
	case "":
	default:
		return addOperator(cmd, found, named)
	}
	installs := installer(os.LookupEnv)
	if installs == "" {
		return nil
	}
	if users, err := operators(cmd.Context(), found.options); err == nil && len(users) > 0 {
		return nil
	}
	if err := addOperator(cmd, found, installs); err != nil {
		_, err = fmt.Fprintf(cmd.ErrOrStderr(), "causewayd: the user %s, who installs, may not sign in: %s\n  remedy: run: %scausewayd operator add %s\n", installs, err, sudo, installs)
		return err
	}
	if found.dry {
		return nil
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "the user %s, who installs, may sign in and connect: causeway login <url> (take it back with: %scausewayd operator remove %s)\n", installs, sudo, installs)
	return err
}

// installer is the number of the user who became root to install, or "".
func installer(lookupEnv func(string) (string, bool)) string {
	for _, name := range []string{"SUDO_UID", "PKEXEC_UID"} {
		text, _ := lookupEnv(name)
		if uid, err := strconv.ParseUint(text, 10, 32); err == nil && uid != 0 {
			return strconv.FormatUint(uid, 10)
		}
	}
	return ""
}

// addOperator is what "causewayd operator add" does.
func addOperator(cmd *cobra.Command, found hostService, user string) error {
	if found.dry {
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "would let the user %s sign in and connect\n", user)
		return err
	}
	return allow(cmd, found.options, user, true)
}

// statusJSON is what status --json prints; schema/status.json describes it.
type statusJSON struct {
	Version    int    `json:"version"`
	Service    string `json:"service"`
	Manager    string `json:"manager"`
	Installed  bool   `json:"installed"`
	AtBoot     bool   `json:"at_boot"`
	State      string `json:"state"`
	PID        int    `json:"pid"`
	ExitCode   int    `json:"exit_code"`
	Definition string `json:"definition"`
	Detail     string `json:"detail"`
}

func statusCommand() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use: "status", Short: "Show what the service manager says of the service", Args: cobra.NoArgs,
		Long: fmt.Sprintf(`Show what the operating system's service manager says of the service. What the
tunnel does is shown by: causeway status.

Exits with %d where the service is not installed, and with %d where it does not run.`, service.FailureNotInstalled, service.FailureNotRunning),
		Example: "  causewayd status\n  causewayd status --json",
	}
	load := settings(command, "socket")
	command.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	command.RunE = ran(func(cmd *cobra.Command) error {
		// A settings file that the daemon does not take is no reason to say nothing.
		options, wrong := load()
		found, err := manager(cmd, options, true)
		if err != nil {
			return err
		}
		now, err := found.Status(cmd.Context())
		if err != nil {
			return err
		}
		if err := printStatus(cmd, now, asJSON); err != nil {
			return err
		}
		if wrong != nil {
			fmt.Fprintf(cmd.ErrOrStderr(), "causewayd: it cannot start with its settings: %s\n", wrong)
		}
		return verdict(now)
	})
	return command
}

func printStatus(cmd *cobra.Command, now system.Status, asJSON bool) error {
	out := cmd.OutOrStdout()
	if asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(statusJSON{
			Version: 1, Service: system.Name, Manager: now.Manager, Installed: now.Installed(), AtBoot: now.AtBoot,
			State: string(now.State), PID: now.PID, ExitCode: now.ExitCode, Definition: now.Definition, Detail: now.Detail,
		})
	}
	_, err := fmt.Fprintf(out, "%s (%s): %s\n", system.Name, now.Manager, now.Line())
	if err == nil && now.Definition != "" {
		_, err = fmt.Fprintf(out, "defined by %s\n", now.Definition)
	}
	return err
}

// verdict is the exit code that goes with a status.
func verdict(now system.Status) error {
	switch now.State {
	case system.Running:
		return nil
	case system.NotInstalled:
		return &service.Error{Failure: service.FailureNotInstalled, Remedy: "run: " + sudo + "causewayd install", Err: errors.New("the service is not installed")}
	default:
		return &service.Error{Failure: service.FailureNotRunning, Remedy: "run: " + sudo + "causewayd start", Err: fmt.Errorf("the service is %s", now.State)}
	}
}
