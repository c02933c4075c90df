package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/causewayhq/causeway/config"
	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/service"
)

func cleanupCommand() *cobra.Command {
	command := &cobra.Command{
		Use: "cleanup", Short: "Undo what an earlier daemon left on this machine", Args: cobra.NoArgs,
		Long: `Undo the network configuration that an earlier daemon left: routes, addresses,
resolver settings and the section of the hosts file. It needs no daemon, and
refuses while one runs. Without the state directory it goes by the marks that
all of it carries. It can be run again at any time. Who is signed in stays.`,
	}
	load := settings(command)
	afterStop := command.Flags().String(afterStopFlag, "", "only if systemd is stopping this unit for good; for ExecStopPost=")
	command.RunE = ran(func(cmd *cobra.Command) error {
		options, err := load()
		if err != nil {
			return err
		}
		if err := privileged(toCleanUp); err != nil {
			return err
		}
		if *afterStop != "" {
			stops, err := stopsForGood(cmd.Context(), *afterStop)
			if err != nil {
				return &service.Error{Failure: service.FailureNetwork, Remedy: "run: " + sudo + "causewayd cleanup", Err: err}
			}
			if !stops {
				fmt.Fprintf(cmd.OutOrStdout(), "nothing to undo: %s is not being stopped\n", *afterStop)
				return nil
			}
		}
		if err := cleanUp(cmd.Context(), options); err != nil {
			return err
		}
		fmt.Fprintln(cmd.OutOrStdout(), "done: nothing of causeway is left in the network configuration")
		return nil
	})
	return command
}

// cleanUp undoes what the journal and the marks find. Without a state directory
// there are only the marks, and nothing is kept of the undoing.
func cleanUp(ctx context.Context, options config.Daemon) error {
	path := options.StateDir
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		if err := unserved(ctx, options.Socket); err != nil {
			return err
		}
		made, err := os.MkdirTemp("", "causewayd-cleanup-")
		if err != nil {
			return &service.Error{Failure: service.FailureState, Err: fmt.Errorf("make a journal for the cleanup: %w", err)}
		}
		defer os.RemoveAll(made)
		path = made
	}
	dir, err := service.OpenStateDir(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	host, err := newOS(path, newLogger(options))
	if err != nil {
		return &service.Error{Failure: service.FailureNetwork, Err: err}
	}
	defer host.Close()
	if err := host.Cleanup(ctx); err != nil {
		return &service.Error{Failure: service.FailureNetwork, Remedy: "mend the cause and run it again", Err: fmt.Errorf("undo network configuration: %w", err)}
	}
	return nil
}

// unserved refuses while a daemon answers: the lock that keeps us off it goes
// with its state directory.
func unserved(ctx context.Context, socket string) error {
	client, err := localapi.Dial(ctx, socket)
	if err != nil {
		return nil // nobody is there, or nobody that is ours
	}
	client.Close()
	return &service.Error{
		Failure: service.FailureSocket, Remedy: "stop it (Ctrl-C where it runs, or " + sudo + "causewayd stop), and run it again",
		Err: fmt.Errorf("undo network configuration: a daemon serves %s", socket),
	}
}
