package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/causewayhq/causeway/config"
	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
	"github.com/causewayhq/causeway/service"
)

func operatorCommand() *cobra.Command {
	command := &cobra.Command{
		Use: "operator", Short: "Say who may sign in: list, add, remove", Args: cobra.NoArgs,
		Long: `Say which users of this machine may sign in and have a tunnel of their own. A
daemon that runs is asked to, as sudo causeway operator does; where none runs,
as when it is being installed, its state is changed.`,
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
			options, err := load()
			if err != nil {
				return err
			}
			if err := privileged(toOperate(name + " " + args[0])); err != nil {
				return err
			}
			return allow(cmd, options, args[0], allowed)
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
		if err := privileged(toOperate("list")); err != nil {
			return err
		}
		users, err := operators(cmd.Context(), options)
		if err != nil {
			return err
		}
		for _, who := range users {
			if _, err := fmt.Fprintln(cmd.OutOrStdout(), userName(cmd.Context(), who)); err != nil {
				return err
			}
		}
		return nil
	})
	return command
}

// allow lets a user sign in, or no more, for a command of that name.
func allow(cmd *cobra.Command, options config.Daemon, name string, allowed bool) error {
	who, err := localapi.UserNamed(cmd.Context(), name)
	if err != nil {
		return err
	}
	err = operate(cmd.Context(), options, func(ctx context.Context, client *localapi.Client) error {
		operator := &localv1.Operator{Sid: who.SID}
		if who.SID == "" {
			operator.Uid = &who.UID
		}
		_, err := client.SetOperator(ctx, &localv1.SetOperatorRequest{Operator: operator, Allowed: allowed})
		return err
	}, func() error { return service.StoreOperator(options.StateDir, who, allowed) })
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "done: %s\n", name)
	return err
}

// operate asks the daemon, if one runs, and does without it else. One that is
// just starting or ending may be missed: the state's lock says so then.
func operate(ctx context.Context, options config.Daemon, ask func(context.Context, *localapi.Client) error, without func() error) error {
	ctx, cancel := context.WithTimeout(ctx, operateLimit)
	defer cancel()
	client, err := localapi.Dial(ctx, options.Socket)
	if err != nil {
		return without()
	}
	defer client.Close()
	err = ask(ctx, client)
	var refused *localapi.Error
	if errors.As(err, &refused) {
		return &service.Error{Failure: service.FailureState, Remedy: refused.Remedy, Err: fmt.Errorf("ask the daemon: %w", err)}
	}
	return err
}

// operateLimit bounds a question to the daemon about operators, with the write
// to disk that it takes.
const operateLimit = 10 * time.Second

// operators are those who may sign in, as the daemon says, or else its state.
func operators(ctx context.Context, options config.Daemon) ([]localapi.User, error) {
	var users []localapi.User
	err := operate(ctx, options, func(ctx context.Context, client *localapi.Client) error {
		answer, err := client.ListOperators(ctx, &localv1.ListOperatorsRequest{})
		for _, one := range answer.GetOperators() {
			users = append(users, localapi.User{UID: one.GetUid(), SID: one.GetSid()})
		}
		return err
	}, func() (err error) {
		users, err = service.StoredOperators(options.StateDir)
		return err
	})
	return users, err
}

func userName(ctx context.Context, who localapi.User) string {
	name, err := who.Name(ctx)
	switch {
	case err == nil:
		return name
	case who.SID != "":
		return who.SID
	}
	return strconv.FormatUint(uint64(who.UID), 10)
}
