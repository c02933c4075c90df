package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/causewayhq/causeway/server/define"
	"github.com/causewayhq/causeway/server/store"
)

// byCommand is who changes a definition by a subcommand: whoever may write the
// database.
const byCommand = "causeway-server"

type secretOutput struct {
	Name      string    `json:"name"`
	Set       bool      `json:"set"`
	UpdatedAt time.Time `json:"updated_at"`
}

func describeSecrets(kept store.Definition) []secretOutput {
	list := []secretOutput{}
	for _, secret := range kept.Secrets {
		list = append(list, secretOutput{secret.Name, secret.Value != nil, secret.UpdatedAt})
	}
	return list
}

func (a *app) agentConfigure() *cobra.Command {
	var check bool
	var revision int64
	command := &cobra.Command{
		Use: "configure " + agentForm + " FILE", Short: "Say what an agent is to be: environment, secrets, scripts, apps, measurements",
		Args: func(command *cobra.Command, args []string) error {
			if check && len(args) == 0 {
				return missingArguments(command, "FILE")
			}
			if check {
				return cobra.RangeArgs(1, 2)(command, args)
			}
			return cobra.ExactArgs(2)(command, args)
		},
		Long: `Say what an agent is to be. FILE is a document in YAML or JSON, - is standard
input; "causeway-server agent example" prints one with words on every key. The
document replaces the one before. All mistakes in it are named at once, and then
nothing is changed.

An agent that is connected reads it within seconds; sessions that are open go on.
Start scripts wait until the agent starts the next time.
Secrets that the document names without a value keep theirs; those that it does
not name any more are forgotten, and files that agents have written stay there.`,
		Example: `  causeway-server agent example > agent.yaml
  causeway-server agent configure --check agent.yaml
  causeway-server agent configure alice/myws/main agent.yaml
  causeway-server agent show alice/myws/main | sed 's/vim/nano/' | causeway-server agent configure alice/myws/main -`,
		RunE: func(command *cobra.Command, args []string) error {
			path := args[len(args)-1]
			definition, err := a.readDefinition(path)
			if err != nil {
				return err
			}
			if check {
				return a.checked(path, definition)
			}
			var expected *int64
			if command.Flags().Changed("revision") {
				expected = &revision
			}
			return a.withStore(command.Context(), func(opened *store.Store) error {
				return a.configure(command.Context(), opened, args[0], definition, expected)
			})
		},
	}
	command.Flags().BoolVar(&check, "check", false, "only say whether FILE is good; needs no agent and no database")
	command.Flags().Int64Var(&revision, "revision", 0, "change only this revision, as show tells it (default: whichever there is)")
	return a.jsonFlag(command)
}

// readDefinition reads a document from a file or standard input.
func (a *app) readDefinition(path string) (define.Definition, error) {
	from := a.stdin
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return define.Definition{}, fmt.Errorf("read agent definition: %w", err)
		}
		defer file.Close()
		from = file
	}
	document, err := io.ReadAll(io.LimitReader(from, define.DocumentLimit+1))
	if err != nil {
		return define.Definition{}, fmt.Errorf("read agent definition %s: %w", path, err)
	}
	definition, err := define.Read(document)
	if err != nil {
		return define.Definition{}, fmt.Errorf("%s: %w", path, err)
	}
	return definition, nil
}

func (a *app) checked(path string, definition define.Definition) error {
	if a.asJSON {
		return a.printJSON(map[string]any{"definition": definition})
	}
	return a.print(path + " is good.")
}

func (a *app) configure(ctx context.Context, opened *store.Store, path string, definition define.Definition, expected *int64) error {
	agent, err := a.findAgent(ctx, opened, path)
	if err != nil {
		return err
	}
	change, err := definition.Change(byCommand)
	if err != nil {
		return err
	}
	change.Expected = expected
	before, err := opened.Definition(ctx, agent.ID)
	if err != nil {
		return err
	}
	was, err := define.Load(before.Document)
	if err != nil {
		return err
	}
	kept, changed, err := opened.SetDefinition(ctx, agent.ID, change)
	if errors.Is(err, store.ErrRevision) {
		err = fmt.Errorf("%w; read it again: %s agent show %s", err, a.self(), agent.Path())
	}
	if err != nil {
		return err
	}
	if a.asJSON {
		return a.printJSON(map[string]any{"agent": describeAgent(agent), "revision": kept.Revision, "changed": changed, "secrets": describeSecrets(kept)})
	}
	lines := []string{fmt.Sprintf("Configured agent %s (revision %d). It reads this within seconds when it is connected.", agent.Path(), kept.Revision)}
	if !changed {
		lines[0] = fmt.Sprintf("Agent %s is configured so already (revision %d).", agent.Path(), kept.Revision)
	}
	if starts := newStarts(was, definition); len(starts) > 0 {
		lines = append(lines, "Start scripts run when the agent starts the next time: "+strings.Join(starts, ", ")+".")
	}
	for _, secret := range kept.Secrets {
		if secret.Value == nil {
			lines = append(lines, fmt.Sprintf("Secret %s has no value yet. Set it: %s agent secret set %s %s", secret.Name, a.self(), agent.Path(), secret.Name))
		}
	}
	return a.print(lines...)
}

// newStarts names the start scripts that were not there before, or not so.
func newStarts(before, after define.Definition) (names []string) {
	for _, script := range after.Scripts {
		if script.OnStart && !slices.Contains(before.Scripts, script) {
			names = append(names, script.Name)
		}
	}
	return names
}

func (a *app) agentShow() *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use: "show " + agentForm, Short: "Print what an agent is to be, as configure takes it", Args: cobra.ExactArgs(1),
		Long: `Print what an agent is to be, as a document that configure takes again. Values of
secrets are never printed; configure keeps those that there are.`,
		Example: "  causeway-server agent show alice/myws/main > agent.yaml\n  causeway-server agent show alice/myws/main --json",
		RunE: func(command *cobra.Command, args []string) error {
			return a.withStore(command.Context(), func(opened *store.Store) error {
				agent, err := a.findAgent(command.Context(), opened, args[0])
				if err != nil {
					return err
				}
				kept, err := opened.Definition(command.Context(), agent.ID)
				if err != nil {
					return err
				}
				if a.asJSON {
					return a.showJSON(agent, kept)
				}
				return a.show(agent, kept)
			})
		},
	})
}

func (a *app) showJSON(agent store.Agent, kept store.Definition) error {
	document := json.RawMessage(kept.Document)
	if kept.Revision == 0 {
		document = json.RawMessage("null")
	}
	return a.printJSON(map[string]any{
		"agent": describeAgent(agent), "revision": kept.Revision, "updated_at": optional(kept.UpdatedAt), "updated_by": kept.UpdatedBy,
		"definition": document, "secrets": describeSecrets(kept),
	})
}

// show prints comments in front, which configure overlooks; JSON has none, so
// there they go to stderr.
func (a *app) show(agent store.Agent, kept store.Definition) error {
	if kept.Revision == 0 {
		return a.print("# Nobody has configured agent "+agent.Path()+" (revision 0).", "# Begin with: "+a.self()+" agent example", fmt.Sprintf("version: %d", define.FormatVersion))
	}
	document, err := define.YAML(kept.Document)
	if err != nil {
		return err
	}
	head := fmt.Sprintf("# Agent %s, revision %d, changed %s by %s\n", agent.Path(), kept.Revision, moment(kept.UpdatedAt), kept.UpdatedBy)
	for _, secret := range kept.Secrets {
		if secret.Value == nil {
			head += "# Secret " + secret.Name + " has no value yet.\n"
		} else {
			head += "# Secret " + secret.Name + " has a value since " + moment(secret.UpdatedAt) + ".\n"
		}
	}
	if bytes.HasPrefix(document, []byte("{")) {
		fmt.Fprint(a.stderr, head)
		head = ""
	}
	return a.print(strings.TrimRight(head+string(document), "\n"))
}

func (a *app) agentExample() *cobra.Command {
	var schema bool
	command := &cobra.Command{
		Use: "example", Short: "Print a document for configure, with words on every key", Args: cobra.NoArgs,
		Example: "  causeway-server agent example > agent.yaml\n  causeway-server agent example --schema > agent.schema.json    # for editors",
		RunE: func(*cobra.Command, []string) error {
			if schema {
				return a.print(strings.TrimRight(string(define.Schema), "\n"))
			}
			return a.print(strings.TrimRight(string(define.Example), "\n"))
		},
	}
	command.Flags().BoolVar(&schema, "schema", false, "print the JSON schema of such documents")
	return command
}

func (a *app) agentSecret() *cobra.Command {
	return group("secret", "Set the secrets that an agent's definition names",
		"  causeway-server agent secret set alice/myws/main npm-token < file\n  causeway-server agent secret unset alice/myws/main npm-token",
		a.secretSet(), a.secretUnset())
}

func (a *app) secretSet() *cobra.Command {
	var fromStdin bool
	command := &cobra.Command{
		Use: "set " + agentForm + " NAME", Short: "Give a secret its value", Args: cobra.ExactArgs(2),
		Long: `Give a secret its value. It is asked for twice, without echo, on a terminal;
otherwise all of standard input is the value, without a line end at its end where
the secret goes into the environment. It is never an argument, which everybody on
the machine could read, and never printed again.`,
		Example: "  causeway-server agent secret set alice/myws/main npm-token < file",
		RunE: func(command *cobra.Command, args []string) error {
			ctx := command.Context()
			return a.withStore(ctx, func(opened *store.Store) error {
				agent, err := a.findAgent(ctx, opened, args[0])
				if err != nil {
					return err
				}
				kept, err := opened.Definition(ctx, agent.ID)
				if err != nil {
					return err
				}
				definition, err := define.Load(kept.Document)
				if err != nil {
					return err
				}
				value, err := a.readSecret(ctx, definition, args[1], fromStdin)
				if err != nil {
					return err
				}
				_, changed, err := opened.SetSecret(ctx, agent.ID, args[1], value, byCommand)
				return a.secretChanged(agent, args[1], "Set", changed, err)
			})
		},
	}
	command.Flags().BoolVar(&fromStdin, "stdin", false, "read the value from standard input, also when that is a terminal")
	return a.jsonFlag(command)
}

// readSecret reads a value and checks it, the name first: nobody should type a
// secret for nothing.
func (a *app) readSecret(ctx context.Context, definition define.Definition, name string, fromStdin bool) (store.SecretValue, error) {
	if err := definition.CheckSecret(name, []byte("x")); err != nil {
		return nil, err
	}
	var value []byte
	if !fromStdin && a.onTerminal() {
		typed, err := a.readPassword(ctx, "Value of "+name, false, "--stdin")
		if err != nil {
			return nil, err
		}
		value = []byte(typed)
	} else {
		read, err := io.ReadAll(io.LimitReader(a.stdin, define.SecretLimit+1))
		if err != nil {
			return nil, fmt.Errorf("read secret from standard input: %w", err)
		}
		value = read
		if definition.IsVariable(name) {
			value = bytes.TrimRight(read, "\r\n")
		}
	}
	return value, definition.CheckSecret(name, value)
}

func (a *app) secretUnset() *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use: "unset " + agentForm + " NAME", Short: "Take the value of a secret away", Args: cobra.ExactArgs(2),
		Example: "  causeway-server agent secret unset alice/myws/main npm-token",
		RunE: func(command *cobra.Command, args []string) error {
			return a.withStore(command.Context(), func(opened *store.Store) error {
				agent, err := a.findAgent(command.Context(), opened, args[0])
				if err != nil {
					return err
				}
				_, changed, err := opened.SetSecret(command.Context(), agent.ID, args[1], nil, byCommand)
				return a.secretChanged(agent, args[1], "Unset", changed, err)
			})
		},
	})
}

func (a *app) secretChanged(agent store.Agent, name, done string, changed bool, err error) error {
	if err != nil {
		return err
	}
	if a.asJSON {
		return a.printJSON(map[string]any{"agent": describeAgent(agent), "secret": name, "set": done == "Set", "changed": changed})
	}
	if !changed {
		return a.print("Secret " + name + " of agent " + agent.Path() + " was so already.")
	}
	return a.print(done + " secret " + name + " of agent " + agent.Path() + ". It reads this within seconds when it is connected.")
}
