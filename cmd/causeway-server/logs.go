package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/charmbracelet/x/ansi"
	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/causewayhq/causeway/server/define"
	"github.com/causewayhq/causeway/server/store"
)

// followInterval is how soon a line that the server has stored is shown. One look
// is a read of shared memory.
const followInterval = 300 * time.Millisecond

type logOutput struct {
	ID        int64     `json:"id"`
	CreatedAt time.Time `json:"created_at"`
	Level     string    `json:"level"`
	Source    string    `json:"source"`
	SourceID  uuid.UUID `json:"source_id"`
	Output    string    `json:"output"`
}

// followedOutput is a line of its own when logs are followed in JSON.
type followedOutput struct {
	Version int `json:"version"`
	logOutput
}

func (a *app) agentLogs() *cobra.Command {
	var which store.LogRange
	var follow bool
	command := &cobra.Command{
		Use: "logs " + agentForm, Short: "Show what an agent's scripts have printed, and follow it", Args: cobra.ExactArgs(1),
		Long: `Show what an agent's scripts have printed, and follow it with -f until Ctrl-C. It
reads the database, so it works without a running server, and goes on over a
restart of the server. What is kept is the output of this run of the agent, up to
1 MiB, and that of the run before.

With --json it prints one JSON object; with -f as well, one for each line. Lines
are numbered: --after goes on where another look has ended.`,
		Example: `  causeway-server agent logs alice/myws/main
  causeway-server agent logs alice/myws/main -f
  causeway-server agent logs alice/myws/main --last 20
  causeway-server agent logs alice/myws/main --after 1200 --json`,
		RunE: func(command *cobra.Command, args []string) error {
			if which.After < 0 || which.Most < 0 {
				return &usageError{errors.New("read --after and --last: they cannot be negative")}
			}
			return a.withStore(command.Context(), func(opened *store.Store) error {
				agent, err := a.findAgent(command.Context(), opened, args[0])
				if err != nil {
					return err
				}
				which.Newest = which.Most > 0
				return a.showLogs(command.Context(), opened, agent, which, follow)
			})
		},
	}
	command.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what comes")
	command.Flags().Int64Var(&which.After, "after", 0, "only lines after the one with this number")
	command.Flags().IntVar(&which.Most, "last", 0, fmt.Sprintf("only so many lines that were there before (up to %d; default: all)", store.LogPageMost))
	return a.jsonFlag(command)
}

// showLogs prints what there is, and then what comes.
func (a *app) showLogs(ctx context.Context, opened *store.Store, agent store.Agent, which store.LogRange, follow bool) error {
	view := logView{app: a, opened: opened, agent: agent, whole: []logOutput{}}
	if err := view.readSources(ctx); err != nil {
		return err
	}
	single := which.Newest
	for {
		lines, err := opened.Logs(ctx, agent.ID, which)
		if err != nil {
			return err
		}
		if err := view.show(lines, follow); err != nil {
			return err
		}
		if len(lines) > 0 {
			which.After = lines[len(lines)-1].ID
		}
		if single || len(lines) < store.LogPageMost {
			break
		}
	}
	if follow {
		return view.follow(ctx, which.After)
	}
	report, err := opened.AgentReport(ctx, agent.ID)
	if err != nil {
		return err
	}
	if a.asJSON {
		return a.printJSON(map[string]any{"logs": view.whole, "last_id": which.After, "overflowed": report.LogsOverflowed})
	}
	if report.LogsOverflowed {
		fmt.Fprintf(a.stderr, "causeway-server: %s\n", overflowNote)
	}
	return nil
}

const overflowNote = "the logs of this run have reached their limit of 1 MiB; what came later is not kept"

type logView struct {
	app     *app
	opened  *store.Store
	agent   store.Agent
	sources map[uuid.UUID]string
	whole   []logOutput // for one JSON object
	full    bool        // the note about the limit was printed
}

// readSources learns the names of what writes logs.
func (v *logView) readSources(ctx context.Context) error {
	kept, err := v.opened.Definition(ctx, v.agent.ID)
	if err != nil {
		return err
	}
	definition, err := define.Load(kept.Document)
	if err != nil {
		return err
	}
	v.sources = map[uuid.UUID]string{}
	for _, script := range definition.Scripts {
		v.sources[define.LogSourceID(v.agent.ID, script.Name)] = script.Name
	}
	return nil
}

func (v *logView) show(lines []store.LogLine, follow bool) error {
	for _, line := range lines {
		source := v.sources[line.Source]
		if source == "" {
			source = line.Source.String()[:8] // of a script that is not defined any more, or of another agent program
		}
		output := logOutput{line.ID, line.CreatedAt, line.Level.String(), source, line.Source, line.Output}
		switch {
		case v.app.asJSON && !follow:
			v.whole = append(v.whole, output)
			continue
		case v.app.asJSON:
			if err := json.NewEncoder(v.app.stdout).Encode(followedOutput{outputVersion, output}); err != nil {
				return fmt.Errorf("print output: %w", err)
			}
			continue
		}
		level := ""
		if line.Level != store.LogInfo {
			level = strings.ToUpper(output.Level) + " "
		}
		if err := v.app.print(fmt.Sprintf("%s [%s] %s%s", line.CreatedAt.Local().Format("2006-01-02 15:04:05.000"), source, level, printable(line.Output))); err != nil {
			return err
		}
	}
	return nil
}

// follow prints what other processes store, until the context ends, which is how
// a person ends it, or the agent is deleted.
func (v *logView) follow(ctx context.Context, after int64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	changed := make(chan struct{}, 1)
	changed <- struct{}{}
	ended := make(chan error, 1)
	go func() {
		ended <- v.opened.Watch(ctx, followInterval, func() {
			select {
			case changed <- struct{}{}:
			default:
			}
		})
	}()
	for {
		select {
		case err := <-ended:
			if ctx.Err() != nil {
				return nil
			}
			return err
		case <-changed:
		}
		last, err := v.next(ctx, after)
		if err != nil {
			cancel()
			if failed := <-ended; errors.Is(failed, context.Canceled) && errors.Is(err, context.Canceled) {
				return nil
			}
			return err
		}
		after = last
	}
}

// next prints what has come after a line.
func (v *logView) next(ctx context.Context, after int64) (int64, error) {
	for {
		lines, err := v.opened.Logs(ctx, v.agent.ID, store.LogRange{After: after})
		if err != nil {
			return after, err
		}
		if err := v.show(lines, true); err != nil {
			return after, err
		}
		if len(lines) > 0 {
			after = lines[len(lines)-1].ID
		}
		if len(lines) == store.LogPageMost {
			continue
		}
		return after, v.check(ctx)
	}
}

// check notices the end of the agent, and of the room for its logs.
func (v *logView) check(ctx context.Context) error {
	there, err := v.opened.AgentExists(ctx, v.agent.ID)
	if err == nil && !there {
		return fmt.Errorf("follow logs of agent %s: it was deleted: %w", v.agent.Path(), store.ErrNotFound)
	}
	if err != nil {
		return err
	}
	report, err := v.opened.AgentReport(ctx, v.agent.ID)
	if err != nil {
		return err
	}
	if report.LogsOverflowed && !v.full {
		fmt.Fprintf(v.app.stderr, "causeway-server: %s\n", overflowNote)
	}
	v.full = report.LogsOverflowed
	return nil
}

// printable is a text of somebody else's without what would steer a terminal.
func printable(text string) string {
	return strings.Map(func(char rune) rune {
		if char != '\t' && (unicode.IsControl(char) || !unicode.IsPrint(char) && !unicode.IsSpace(char)) {
			return '\uFFFD'
		}
		return char
	}, ansi.Strip(text))
}
