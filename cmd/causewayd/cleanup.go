package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/causewayhq/causeway/service"
)

func cleanupCommand() *cobra.Command {
	command := &cobra.Command{
		Use: "cleanup", Short: "Undo what an earlier daemon left on this machine", Args: cobra.NoArgs,
		Long: `Undo the network configuration that an earlier daemon left: routes, addresses,
resolver settings and the section of the hosts file. It needs no daemon, and
refuses while one runs. It can be run again at any time. Who is signed in stays.`,
	}
	load := settings(command)
	afterStop := command.Flags().String(afterStopFlag, "", "only if systemd is stopping this unit for good; for ExecStopPost=")
	command.RunE = ran(func(cmd *cobra.Command) error {
		options, err := load()
		if err != nil {
			return err
		}
		if err := privileged(); err != nil {
			return err
		}
		if *afterStop != "" {
			stops, err := stopsForGood(cmd.Context(), *afterStop)
			if err != nil {
				return &service.Error{Failure: service.FailureNetwork, Remedy: "run: causewayd cleanup", Err: err}
			}
			if !stops {
				fmt.Fprintf(cmd.OutOrStdout(), "nothing to undo: %s is not being stopped\n", *afterStop)
				return nil
			}
		}
		if _, err := os.Lstat(options.StateDir); errors.Is(err, fs.ErrNotExist) {
			fmt.Fprintf(cmd.OutOrStdout(), "nothing to undo: %s does not exist\n", options.StateDir)
			return nil
		}
		dir, err := service.OpenStateDir(options.StateDir)
		if err != nil {
			return err
		}
		defer dir.Close()
		host, err := newOS(options.StateDir, newLogger(options))
		if err != nil {
			return &service.Error{Failure: service.FailureNetwork, Err: err}
		}
		defer host.Close()
		if err := host.Cleanup(cmd.Context()); err != nil {
			return &service.Error{Failure: service.FailureNetwork, Remedy: "mend the cause and run it again", Err: fmt.Errorf("undo network configuration: %w", err)}
		}
		fmt.Fprintln(cmd.OutOrStdout(), "done: nothing of causeway is left in the network configuration")
		return nil
	})
	return command
}
