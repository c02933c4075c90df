package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// wordArguments has the commands below say by name which argument is missing:
// what cobra says of it is a number.
func wordArguments(parent *cobra.Command) {
	for _, command := range parent.Commands() {
		wordArguments(command)
		check := command.Args
		if check == nil {
			continue
		}
		command.Args = func(command *cobra.Command, given []string) error {
			err := check(command, given)
			var worded *usageError
			if err == nil || errors.As(err, &worded) {
				return err
			}
			return argumentError(command, given)
		}
	}
}

// argumentError names what Use does, as in "set USER HOST". One too many is not
// repeated: it may be a secret.
func argumentError(command *cobra.Command, given []string) error {
	wanted := strings.Fields(command.Use)[1:]
	switch {
	case len(wanted) == 0:
		return &usageError{fmt.Errorf("run %s: it takes no argument", command.CommandPath())}
	case len(given) < len(wanted):
		return missingArguments(command, wanted[len(given):]...)
	default:
		return &usageError{fmt.Errorf("run %s: %d arguments were given, and it takes %d: %s", command.CommandPath(), len(given), len(wanted), strings.Join(wanted, " "))}
	}
}

func missingArguments(command *cobra.Command, names ...string) error {
	for i := range names {
		names[i] = strings.TrimSuffix(names[i], "...")
	}
	subject := "argument " + names[0] + " is"
	if len(names) > 1 {
		subject = "arguments " + strings.Join(names, " and ") + " are"
	}
	return &usageError{fmt.Errorf("run %s: the %s missing", command.CommandPath(), subject)}
}
