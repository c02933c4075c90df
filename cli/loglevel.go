package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

// logLevels from most to least, and the word for what the setting says.
var logLevels = []string{"debug", "info", "warn", "error"}

const levelReset = "reset"

func (a *app) logLevel() *cobra.Command {
	var span time.Duration
	words := append(slices.Clone(logLevels), levelReset)
	command := &cobra.Command{
		Use: "log-level <level>", Short: "Have the daemon log more or less, for a while",
		Long: `Have the daemon log from that level on: debug, info, warn or error. It holds until
the daemon ends, or for a time, and "reset" goes back to the setting at once. What
is to stay is set with: causeway set log-level=...`,
		Example: `  causeway log-level debug --for 10m
  causeway log-level reset`,
		Args:              args(1, 1, "a level: "+strings.Join(words, ", ")),
		ValidArgsFunction: cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp),
	}
	command.Flags().DurationVar(&span, "for", 0, "how long, for example 10m (default until the daemon ends)")
	command.RunE = func(cmd *cobra.Command, args []string) error {
		in := &localv1.SetLogLevelRequest{Level: args[0]}
		done := "the daemon logs from " + args[0] + " on"
		switch {
		case args[0] == levelReset && cmd.Flags().Changed("for"):
			return &usageError{cause: "run causeway log-level: --for goes with a level", remedy: "see: causeway log-level --help"}
		case args[0] == levelReset:
			in.Level, done = "", "the daemon logs as its setting says"
		case !slices.Contains(logLevels, args[0]):
			return unknownLevel("causeway log-level", args[0])
		case cmd.Flags().Changed("for") && span <= 0:
			return &usageError{cause: "run causeway log-level: --for must be positive", remedy: "give a time such as 10m"}
		case span > 0:
			in.For, done = durationpb.New(span), done+" for "+span.String()
		}
		return a.change(cmd.Context(), done, func(ctx context.Context, client *localapi.Client) error {
			_, err := call(ctx, a, answerLimit, client.SetLogLevel, in)
			return err
		})
	}
	return command
}

func unknownLevel(command, level string) error {
	return &usageError{cause: fmt.Sprintf("run %s: unknown level %q", command, level), remedy: "give one of " + strings.Join(logLevels, ", ")}
}
