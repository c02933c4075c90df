package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/causewayhq/causeway/config"
	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

type settingsJSON struct {
	Version  int           `json:"version"`
	Settings []settingJSON `json:"settings"`
}

type settingJSON struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Source string `json:"source"`
	Locked bool   `json:"locked"`
	Live   bool   `json:"live"`
	Doc    string `json:"doc"`
}

func (a *app) get() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use: "get [name]", Short: "Show the daemon's settings, and where each comes from", Args: args(0, 1, "at most one setting's name"),
		Long: `Show the daemon's settings. Each comes from the first of: a flag of the service, its
environment, the settings file, causeway set, the default. What comes from one of
the first three is locked: only an administrator changes it, there. What can be set
is marked.`,
		Example:           "  causeway get\n  causeway get log-level",
		ValidArgsFunction: cobra.FixedCompletions(settingNames(false), cobra.ShellCompDirectiveNoFileComp),
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print JSON (cli/schema/get.json)")
	command.RunE = func(cmd *cobra.Command, args []string) error {
		settings, err := a.settings(cmd.Context())
		if err != nil {
			return err
		}
		if len(args) == 1 {
			at := slices.IndexFunc(settings, func(s *localv1.Setting) bool { return s.GetName() == args[0] })
			if at < 0 {
				return noSuchSetting(args[0], settings)
			}
			settings = settings[at : at+1]
			if !asJSON {
				_, err := fmt.Fprintln(a.env.Stdout, settings[0].GetValue())
				return err
			}
		}
		if !asJSON {
			return a.printSettings(settings)
		}
		out := settingsJSON{Version: jsonVersion, Settings: []settingJSON{}}
		for _, s := range settings {
			out.Settings = append(out.Settings, settingJSON{s.GetName(), s.GetValue(), s.GetSource(), s.GetLocked(), s.GetLive(), s.GetDoc()})
		}
		return writeJSON(a.env.Stdout, out)
	}
	return command
}

func (a *app) settings(ctx context.Context) ([]*localv1.Setting, error) {
	client, err := a.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	answer, err := call(ctx, a, answerLimit, client.GetSettings, &localv1.GetSettingsRequest{})
	if err != nil {
		return nil, err
	}
	return shown(answer).GetSettings(), nil
}

func noSuchSetting(name string, settings []*localv1.Setting) error {
	var names []string
	for _, s := range settings {
		names = append(names, s.GetName())
	}
	remedy := "see: causeway get"
	if near := nearest(name, names); near != "" {
		remedy = fmt.Sprintf("did you mean %q? see: causeway get", near)
	}
	return &localapi.Error{Code: localapi.CodeNotFound, Cause: fmt.Sprintf("get %q: there is no such setting", name), Remedy: remedy}
}

func (a *app) printSettings(settings []*localv1.Setting) error {
	table := tabwriter.NewWriter(a.env.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tVALUE\tFROM\tCAN BE SET")
	for _, s := range settings {
		can := "no: file and restart"
		switch {
		case s.GetLive() && s.GetLocked():
			can = "no: locked"
		case s.GetLive():
			can = "yes"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", s.GetName(), dash(s.GetValue()), s.GetSource(), can)
	}
	return table.Flush()
}

func (a *app) set() *cobra.Command {
	var unset []string
	command := &cobra.Command{
		Use: "set <name>=<value>...", Short: "Change settings of the running daemon, for good", Args: args(0, 1<<10, "settings as name=value"),
		Long: `Change settings of the running daemon. All of them or none are changed; it keeps
them over restarts, and goes by them at once. What stands in the settings file or
comes from the service's flags or environment is locked, and refused by name.

Settings that can be set:
` + liveSettings(),
		Example: `  causeway set telemetry=true log-level=debug
  causeway set --unset log-level   # back to the default`,
		ValidArgsFunction: completeSet,
	}
	command.Flags().StringArrayVar(&unset, "unset", nil, "setting to forget; may be repeated")
	completeWords(command, "unset", settingNames(true))
	command.RunE = func(cmd *cobra.Command, args []string) error {
		in := &localv1.SetSettingsRequest{Values: map[string]string{}, Unset: unset}
		for _, word := range args {
			name, value, given := strings.Cut(word, "=")
			if !given || name == "" {
				return &usageError{cause: fmt.Sprintf("run causeway set: %q is not name=value", word), remedy: "for example: causeway set log-level=debug"}
			}
			if _, twice := in.GetValues()[name]; twice || slices.Contains(unset, name) {
				return &usageError{cause: fmt.Sprintf("run causeway set: %q is given twice", name), remedy: "see: causeway set --help"}
			}
			in.Values[name] = value
		}
		if len(in.GetValues()) == 0 && len(unset) == 0 {
			return &usageError{cause: "run causeway set: expected settings as name=value", remedy: "see: causeway set --help"}
		}
		return a.applySettings(cmd.Context(), in)
	}
	return command
}

func (a *app) applySettings(ctx context.Context, in *localv1.SetSettingsRequest) error {
	var done []string
	for _, name := range slices.Sorted(maps.Keys(in.GetValues())) {
		done = append(done, name+" = "+in.GetValues()[name])
	}
	for _, name := range in.GetUnset() {
		done = append(done, name+" is not set any more")
	}
	client, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	if _, err := call(ctx, a, workLimit, client.SetSettings, in); err != nil {
		return err
	}
	for _, line := range done {
		fmt.Fprintln(a.env.Stdout, printable(line))
	}
	return nil
}

// settingNames are those of the schema, or those that can be set.
func settingNames(live bool) []string {
	var names []string
	for _, setting := range config.Schema() {
		if setting.Live || !live {
			names = append(names, setting.Name)
		}
	}
	return names
}

func liveSettings() string {
	var text strings.Builder
	for _, setting := range config.Schema() {
		if setting.Live {
			fmt.Fprintf(&text, "  %s (%s; default %s)\n    %s\n", setting.Name, strings.Join(setting.Choices, ", "), setting.Default, setting.Doc)
		}
	}
	return strings.TrimRight(text.String(), "\n")
}

// completeSet offers name= and then the values that the setting takes.
func completeSet(_ *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
	var words []string
	for _, setting := range config.Schema() {
		switch {
		case !setting.Live:
		case strings.HasPrefix(word, setting.Name+"="):
			for _, choice := range setting.Choices {
				words = append(words, setting.Name+"="+choice)
			}
		case strings.HasPrefix(setting.Name+"=", word):
			words = append(words, setting.Name+"=")
		}
	}
	return words, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}
