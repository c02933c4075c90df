package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/causewayhq/causeway/server"
	"github.com/causewayhq/causeway/server/store"
)

// app is one invocation.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	environment    func(string) (string, bool)
	dataDir        string
	asJSON         bool
	args           []string        // the command line, to be said again
	fromVariable   map[string]bool // flags that the environment set
}

const envPrefix = "CAUSEWAY_SERVER_"

// envName is the environment variable of a flag.
func envName(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "causeway-server",
		Short: "The control plane of Causeway: who may reach which workspace, and how",
		Long: `The control plane of Causeway: it knows users, workspaces and agents, introduces
a desktop to the agents of its user, and relays between them when they cannot
reach each other directly.

The subcommands that manage users, tokens, workspaces and agents work on the
database in the data directory. A running server notices within two seconds.
Where the packaged server runs, that is the one of root and of its own user:
sudo causeway-server user list. Others have one of their own below their home.

Every flag has an environment variable: ` + envPrefix + ` and its name in capitals with
underscores, such as ` + envName("data-dir") + `. A flag wins over the environment.

` + exitTable,
		Example: `  causeway-server run                              # no configuration needed
  causeway-server user create alice                # prints her token
  causeway-server workspace create alice/myws
  causeway-server agent create alice/myws/main     # prints the command to start it
  causeway-server backup /srv/backup/causeway.db   # while the server runs`,
		SilenceErrors: true, SilenceUsage: true,
		Args:              cobra.NoArgs,
		PersistentPreRunE: func(command *cobra.Command, _ []string) error { return a.readEnvironment(command) },
		RunE:              func(command *cobra.Command, _ []string) error { return command.Help() },
	}
	root.Version = version
	root.SetVersionTemplate(versionLine())
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.PersistentFlags().StringVar(&a.dataDir, "data-dir", defaultDataDir(), "directory of the database")
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(a.runCommand(), a.userCommand(), a.tokenCommand(), a.workspaceCommand(), a.agentCommand(), a.bannerCommand(), a.gitCommand(),
		a.resumeKeyCommand(), a.backupCommand(), a.restoreCommand(), a.healthCommand(), a.debugCommand(), a.versionCommand())
	wordArguments(root)
	return root
}

// readEnvironment fills the flags that were not given. An empty variable
// counts as none.
func (a *app) readEnvironment(command *cobra.Command) (err error) {
	command.Flags().VisitAll(func(flag *pflag.Flag) {
		value, found := a.environment(envName(flag.Name))
		if flag.Changed || !found || value == "" || flag.Name == "help" || err != nil {
			return
		}
		if failure := command.Flags().Set(flag.Name, value); failure != nil {
			err = &usageError{fmt.Errorf("read environment %s: %w", envName(flag.Name), failure)}
		}
		a.fromVariable[flag.Name] = true
	})
	return err
}

// blame names the variable of a setting that cannot be used, where it came
// from one: nobody would look for it on the command line.
func (a *app) blame(err error) error {
	var setting *server.SettingError
	var listen *server.ListenError
	if errors.As(err, &setting) && a.fromVariable[setting.Setting] {
		return &variableError{fmt.Sprintf("use setting %s: %s", envName(setting.Setting), setting.Cause), err}
	}
	if errors.As(err, &listen) && a.fromVariable[listen.Setting] {
		return &variableError{fmt.Sprintf("listen on %s: %s; choose another with %s", listen.Address, listen.Cause, envName(listen.Setting)), err}
	}
	return err
}

// variableError words an error for a setting that came from a variable.
type variableError struct {
	text  string
	cause error
}

func (e *variableError) Error() string { return e.text }
func (e *variableError) Unwrap() error { return e.cause }

// defaultDataDir is the system's place for root and the user's own for others.
func defaultDataDir() string {
	if dir := systemDataDir(); dir != "" {
		return dir
	}
	if base := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(base) {
		return filepath.Join(base, "causeway-server")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "causeway-server-data"
	}
	return filepath.Join(home, ".local", "share", "causeway-server")
}

// withNewStore opens the database for a command that may be the first of all,
// if it is told so: otherwise whoever runs it as another user than the server
// would get users and tokens that no server knows.
func (a *app) withNewStore(ctx context.Context, create bool, do func(*store.Store) error) error {
	_, err := os.Stat(filepath.Join(a.dataDir, store.FileName))
	missing := errors.Is(err, fs.ErrNotExist)
	if missing && !create {
		return a.noDatabase("to make one there before a server runs, add --create")
	}
	opened, err := store.Open(ctx, a.dataDir)
	if err != nil {
		return err
	}
	if missing {
		fmt.Fprintf(a.stderr, "causeway-server: created a new database: %s\n", opened.Path())
	}
	return errors.Join(do(opened), opened.Close())
}

// noDatabase says where the data of this machine's server is, as far as that
// can be known, and how to have the command work on it.
func (a *app) noDatabase(otherwise string) error {
	remedy := "start the server as this user: " + a.self() + " run"
	if dir, become := packagedData(); dir != "" && dir != a.dataDir {
		remedy = "the packaged server's data is in " + dir + "; run: " + become + "causeway-server" + again(a.args)
	} else if otherwise != "" {
		remedy += "; " + otherwise
	}
	return &noDatabaseError{a.dataDir, remedy}
}

// again is a command line for root, who needs no --data-dir.
func again(args []string) string {
	var line strings.Builder
	for i := 0; i < len(args); i++ {
		switch {
		case args[i] == "--data-dir":
			i++ // its value
		case !strings.HasPrefix(args[i], "--data-dir="):
			line.WriteString(" " + shellQuote(args[i]))
		}
	}
	return line.String()
}

// withStore opens the database for one command on what is in it.
func (a *app) withStore(ctx context.Context, do func(*store.Store) error) error {
	opened, err := a.openExisting(ctx)
	if err != nil {
		return err
	}
	return errors.Join(do(opened), opened.Close())
}

func (a *app) openExisting(ctx context.Context) (*store.Store, error) {
	opened, err := store.OpenExisting(ctx, a.dataDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, a.noDatabase("")
	}
	return opened, err
}

// self is how to call this program again for the same data directory.
func (a *app) self() string {
	// The journal of the packaged server is read by people, who are not it.
	if dir, become := packagedData(); dir != "" && dir == a.dataDir {
		return become + "causeway-server"
	}
	if a.dataDir == defaultDataDir() {
		return "causeway-server"
	}
	return "causeway-server --data-dir " + shellQuote(a.dataDir)
}

// shellQuote leaves plain words alone, for commands that people paste.
func shellQuote(text string) string {
	plain := func(char rune) bool {
		return char >= 'a' && char <= 'z' || char >= 'A' && char <= 'Z' || char >= '0' && char <= '9' || strings.ContainsRune("-_./:@%+,=", char)
	}
	if text != "" && strings.IndexFunc(text, func(char rune) bool { return !plain(char) }) < 0 {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// group is a command that only holds others.
func group(use, short, example string, commands ...*cobra.Command) *cobra.Command {
	parent := &cobra.Command{
		Use: use, Short: short, Example: example,
		Args: func(command *cobra.Command, args []string) error {
			if len(args) > 0 {
				return &usageError{fmt.Errorf("unknown command %q for %q", args[0], command.CommandPath())}
			}
			return nil
		},
		RunE: func(command *cobra.Command, _ []string) error {
			return &usageError{fmt.Errorf("%q needs a subcommand: %s", command.CommandPath(), subcommands(command))}
		},
	}
	parent.AddCommand(commands...)
	return parent
}

func subcommands(command *cobra.Command) string {
	var names []string
	for _, child := range command.Commands() {
		names = append(names, child.Name())
	}
	return strings.Join(names, ", ")
}

func versionLine() string {
	return fmt.Sprintf("causeway-server %s %s/%s\n", version, runtime.GOOS, runtime.GOARCH)
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprint(a.stdout, versionLine())
			return err
		},
	}
}
