package main

import (
	"fmt"
	"os/user"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/service"
)

func operatorCommand() *cobra.Command {
	command := &cobra.Command{
		Use: "operator", Short: "Say who may sign in, while the daemon does not run", Args: cobra.NoArgs,
		Long: `Say which users of this machine may sign in and have a tunnel of their own,
while the daemon does not run, as when it is being installed. While it runs the
same is said with: sudo causeway operator ...`,
		Example: "  sudo causewayd operator add alice\n  sudo causewayd operator list",
	}
	command.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	command.AddCommand(
		setOperator("add", "Let a user sign in", true),
		setOperator("remove", "Let a user sign in no more; profiles stay", false),
		listOperators(),
	)
	return command
}

func setOperator(name, short string, allowed bool) *cobra.Command {
	command := &cobra.Command{Use: name + " <user>", Short: short, Args: cobra.ExactArgs(1), Example: "  sudo causewayd operator " + name + " alice"}
	load := settings(command)
	command.RunE = func(cmd *cobra.Command, args []string) error {
		return ran(func(cmd *cobra.Command) error {
			who, err := localUser(args[0])
			if err != nil {
				return err
			}
			options, err := load()
			if err != nil {
				return err
			}
			if err := privileged(toOperate); err != nil {
				return err
			}
			if err := service.StoreOperator(options.StateDir, who, allowed); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "done: %s\n", args[0])
			return err
		})(cmd, nil)
	}
	return command
}

func listOperators() *cobra.Command {
	command := &cobra.Command{Use: "list", Short: "List who may sign in", Args: cobra.NoArgs, Example: "  sudo causewayd operator list"}
	load := settings(command)
	command.RunE = ran(func(cmd *cobra.Command) error {
		options, err := load()
		if err != nil {
			return err
		}
		if err := privileged(toOperate); err != nil {
			return err
		}
		users, err := service.StoredOperators(options.StateDir)
		if err != nil {
			return err
		}
		for _, who := range users {
			if _, err := fmt.Fprintln(cmd.OutOrStdout(), userName(who)); err != nil {
				return err
			}
		}
		return nil
	})
	return command
}

// localUser takes a user's name, UID or SID.
func localUser(text string) (localapi.User, error) {
	found, err := user.Lookup(text)
	if err != nil {
		if uid, numeric := strconv.ParseUint(text, 10, 32); numeric == nil {
			return localapi.User{UID: uint32(uid)}, nil
		}
		return localapi.User{}, fmt.Errorf("look up user %q: %w", text, err)
	}
	if uid, numeric := strconv.ParseUint(found.Uid, 10, 32); numeric == nil {
		return localapi.User{UID: uint32(uid)}, nil
	}
	return localapi.User{SID: found.Uid}, nil
}

func userName(who localapi.User) string {
	id := who.SID
	if id == "" {
		id = strconv.FormatUint(uint64(who.UID), 10)
	}
	if found, err := user.LookupId(id); err == nil {
		return found.Username
	}
	return id
}
