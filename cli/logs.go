package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

type logJSON struct {
	Version int               `json:"version"`
	Time    time.Time         `json:"time"`
	Level   string            `json:"level"`
	Message string            `json:"message"`
	Fields  map[string]string `json:"fields"`
	Dropped uint64            `json:"dropped"`
}

func (a *app) logs() *cobra.Command {
	var follow, asJSON bool
	var level, since string
	var last int
	command := &cobra.Command{
		Use: "logs", Short: "Show what the daemon logged", Args: args(0, 0, ""),
		Long: `Show the newest entries of the daemon's log, of which it keeps some thousand in
memory. Who has the tunnel sees what was logged since it is theirs, an administrator
all. The whole log, also of a daemon that has ended, is kept by the system: see
` + journal + `

To have more logged for a while: causeway log-level debug --for 10m`,
		Example: `  causeway logs --since 10m --level warn
  causeway logs -n 50
  causeway logs -f
  causeway logs --json | jq -r 'select(.level == "error") | .message'`,
	}
	flags := command.Flags()
	flags.BoolVarP(&follow, "follow", "f", false, "go on with what is logged from now on, until Ctrl-C")
	flags.StringVar(&level, "level", "info", "least severe level to show: debug, info, warn or error")
	flags.StringVar(&since, "since", "", "show what is not older than a time such as 10m, or came after a moment such as 2026-11-22T16:00:00Z")
	flags.IntVarP(&last, "lines", "n", 0, "only the newest that many entries")
	command.MarkFlagsMutuallyExclusive("follow", "lines")
	flags.BoolVar(&asJSON, "json", false, "print a line of JSON for each entry (cli/schema/logs.json)")
	completeWords(command, "level", logLevels)
	command.RunE = func(cmd *cobra.Command, _ []string) error {
		if last < 0 || cmd.Flags().Changed("lines") && last == 0 {
			return &usageError{cause: fmt.Sprintf("run causeway logs: --lines %d shows nothing", last), remedy: "give a number from 1 on"}
		}
		in := &localv1.WatchLogsRequest{Follow: follow, Level: level}
		if !slices.Contains(logLevels, level) {
			return unknownLevel("causeway logs", level)
		}
		if since != "" {
			from, err := a.moment(since)
			if err != nil {
				return err
			}
			in.Since = timestamppb.New(from)
		}
		err := a.showLogs(cmd.Context(), in, last, asJSON)
		var known *localapi.Error
		if errors.As(err, &known) && known.Code == localapi.CodeNotRunning {
			away := *known
			away.Remedy = "see what an earlier daemon logged: " + here.log + "; or " + known.Remedy
			return &away
		}
		if follow && errors.Is(err, context.Canceled) {
			return nil // as it was meant to end
		}
		return err
	}
	return command
}

// moment reads a time that has passed, or a length of time until now.
func (a *app) moment(text string) (time.Time, error) {
	if span, err := time.ParseDuration(text); err == nil && span >= 0 {
		return a.now().Add(-span), nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	return time.Time{}, &usageError{cause: fmt.Sprintf("run causeway logs: %q is no time", text), remedy: "give a length of time such as 10m, or a moment such as 2026-11-22T16:00:00Z"}
}

// showLogs shows all entries as they come, or the last ones when all have come.
func (a *app) showLogs(ctx context.Context, in *localv1.WatchLogsRequest, last int, asJSON bool) error {
	client, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	stream, err := client.WatchLogs(ctx, in)
	if err != nil {
		return err
	}
	var kept []*localv1.LogEntry
	for {
		entry, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return a.showEntries(kept, asJSON)
		}
		if err != nil {
			return err
		}
		if last > 0 {
			kept = append(kept[max(len(kept)-last+1, 0):], entry)
			continue
		}
		if err := a.showEntry(shown(entry), asJSON); err != nil {
			return err
		}
	}
}

func (a *app) showEntries(entries []*localv1.LogEntry, asJSON bool) error {
	for _, entry := range entries {
		if err := a.showEntry(shown(entry), asJSON); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) showEntry(entry *localv1.LogEntry, asJSON bool) error {
	if asJSON {
		out := logJSON{Version: jsonVersion, Time: entry.GetTime().AsTime(), Level: entry.GetLevel(), Message: entry.GetMessage(), Fields: map[string]string{}, Dropped: entry.GetDropped()}
		for _, field := range entry.GetFields() {
			out.Fields[field.GetName()] = field.GetValue()
		}
		return writeJSON(a.env.Stdout, out)
	}
	style := a.style(a.env.Stdout)
	colour := map[string]string{"warn": style.yellow, "error": style.red}[entry.GetLevel()]
	reset := style.reset
	if colour == "" {
		reset = ""
	}
	var line strings.Builder
	if dropped := entry.GetDropped(); dropped > 0 {
		fmt.Fprintf(&line, "(%d entries left out: this program was too slow for them)\n", dropped)
	}
	fmt.Fprintf(&line, "%s %s%-5s%s %s", entry.GetTime().AsTime().Local().Format("2006-01-02 15:04:05.000"), colour, entry.GetLevel(), reset, entry.GetMessage())
	for _, field := range entry.GetFields() {
		value := field.GetValue()
		if value == "" || strings.ContainsAny(value, " \"=") {
			value = fmt.Sprintf("%q", value)
		}
		fmt.Fprintf(&line, " %s=%s", field.GetName(), value)
	}
	_, err := fmt.Fprintln(a.env.Stdout, line.String())
	return err
}
