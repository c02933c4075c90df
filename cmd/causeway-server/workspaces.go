package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/causewayhq/causeway/server/store"
)

type workspaceOutput struct {
	ID        uuid.UUID `json:"id"`
	Owner     string    `json:"owner"`
	Name      string    `json:"name"`
	CreatedAt time.Time `json:"created_at"`
}

// splitPath reads "USER/WORKSPACE" or "USER/WORKSPACE/AGENT".
func splitPath(path, form string) ([]string, error) {
	parts := strings.Split(path, "/")
	if len(parts) != strings.Count(form, "/")+1 || strings.Contains("/"+path+"/", "//") {
		return nil, &usageError{fmt.Errorf("read %q: want %s", path, form)}
	}
	return parts, nil
}

const (
	workspaceForm = "USER/WORKSPACE"
	agentForm     = "USER/WORKSPACE/AGENT"
)

func (a *app) workspaceCommand() *cobra.Command {
	return group("workspace", "Create, list and delete workspaces",
		"  causeway-server workspace create alice/myws\n  causeway-server workspace list alice\n  causeway-server workspace delete alice/myws",
		a.workspaceCreate(), a.workspaceList(), a.workspaceDelete())
}

func (a *app) workspaceCreate() *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use: "create " + workspaceForm, Short: "Create a workspace", Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			parts, err := splitPath(args[0], workspaceForm)
			if err == nil {
				err = checkNames(parts)
			}
			if err != nil {
				return err
			}
			return a.withStore(command.Context(), func(opened *store.Store) error {
				user, err := a.findUser(command.Context(), opened, parts[0])
				if err != nil {
					return err
				}
				workspace, err := opened.CreateWorkspace(command.Context(), user, parts[1])
				if err != nil {
					return err
				}
				if a.asJSON {
					return a.printJSON(map[string]any{"workspace": workspaceOutput{workspace.ID, workspace.OwnerName, workspace.Name, workspace.CreatedAt}})
				}
				path := workspace.OwnerName + "/" + workspace.Name
				return a.print("Created workspace "+path+".", "Next: "+a.self()+" agent create "+path+"/main")
			})
		},
	})
}

func (a *app) workspaceList() *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use: "list [USER]", Short: "List workspaces", Args: cobra.MaximumNArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			return a.withStore(command.Context(), func(opened *store.Store) error {
				workspaces, err := a.listWorkspaces(command.Context(), opened, args)
				if err != nil {
					return err
				}
				list, rows := []workspaceOutput{}, [][]string{}
				for _, workspace := range workspaces {
					list = append(list, workspaceOutput{workspace.ID, workspace.OwnerName, workspace.Name, workspace.CreatedAt})
					rows = append(rows, []string{workspace.OwnerName + "/" + workspace.Name, moment(workspace.CreatedAt), workspace.ID.String()})
				}
				if a.asJSON {
					return a.printJSON(map[string]any{"workspaces": list})
				}
				return a.printTable([]string{"WORKSPACE", "CREATED", "ID"}, rows)
			})
		},
	})
}

func (a *app) listWorkspaces(ctx context.Context, opened *store.Store, args []string) ([]store.Workspace, error) {
	if len(args) == 0 {
		return opened.Workspaces(ctx)
	}
	user, err := a.findUser(ctx, opened, args[0])
	if err != nil {
		return nil, err
	}
	return opened.WorkspacesOf(ctx, user.ID)
}

func (a *app) workspaceDelete() *cobra.Command {
	return &cobra.Command{
		Use: "delete " + workspaceForm, Short: "Delete a workspace with its agents", Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			parts, err := splitPath(args[0], workspaceForm)
			if err != nil {
				return err
			}
			return a.withStore(command.Context(), func(opened *store.Store) error {
				workspace, err := a.findWorkspace(command.Context(), opened, parts)
				if err != nil {
					return err
				}
				if err := opened.DeleteWorkspace(command.Context(), workspace.ID); err != nil {
					return err
				}
				return a.print("Deleted workspace " + args[0] + ".")
			})
		},
	}
}

type agentOutput struct {
	ID               uuid.UUID  `json:"id"`
	Owner            string     `json:"owner"`
	Workspace        string     `json:"workspace"`
	Name             string     `json:"name"`
	CreatedAt        time.Time  `json:"created_at"`
	FirstConnectedAt *time.Time `json:"first_connected_at"`
}

func describeAgent(agent store.Agent) agentOutput {
	return agentOutput{agent.ID, agent.OwnerName, agent.WorkspaceName, agent.Name, agent.CreatedAt, optional(agent.FirstConnectedAt)}
}

func (a *app) agentCommand() *cobra.Command {
	return group("agent", "Create, list, configure and delete agents, make tokens for them, and see what they report",
		"  causeway-server agent create alice/myws/main\n  causeway-server agent list alice\n  causeway-server agent token alice/myws/main     # another token\n  causeway-server agent configure alice/myws/main agent.yaml\n  causeway-server agent status alice/myws/main\n  causeway-server agent logs alice/myws/main -f\n  causeway-server agent delete alice/myws/main",
		a.agentCreate(), a.agentList(), a.agentDelete(), a.agentToken(), a.agentConfigure(), a.agentShow(), a.agentExample(), a.agentSecret(),
		a.agentStatus(), a.agentLogs(), a.agentConnections(), a.agentStats())
}

func (a *app) agentCreate() *cobra.Command {
	var url string
	var missing, create bool
	command := &cobra.Command{
		Use: "create " + agentForm, Short: "Create an agent and print the command that starts it", Args: cobra.ExactArgs(1),
		Example: "  causeway-server agent create alice/myws/main\n  causeway-server agent create alice/myws/main --with-user    # alice and myws too",
		RunE: func(command *cobra.Command, args []string) error {
			parts, err := splitPath(args[0], agentForm)
			// A bad name must not leave half of it made.
			if err == nil {
				err = checkNames(parts)
			}
			if err != nil {
				return err
			}
			// Without --with-user there must be a user already.
			if create && !missing {
				return &usageError{errors.New("use --create without --with-user: a new database has no user")}
			}
			return a.withNewStore(command.Context(), create, func(opened *store.Store) error {
				if missing {
					if err := a.createMissing(command.Context(), opened, parts); err != nil {
						return err
					}
				}
				workspace, err := a.findWorkspace(command.Context(), opened, parts)
				if err != nil {
					return a.withUser(err)
				}
				agent, err := opened.CreateAgent(command.Context(), workspace, parts[2])
				if err != nil {
					return err
				}
				return a.issueAgentToken(command.Context(), opened, agent, url, "Created agent "+agent.Path()+".")
			})
		},
	}
	command.Flags().StringVar(&url, "url", "", "URL of the server in the printed command (default: where it last ran)")
	command.Flags().BoolVar(&missing, "with-user", false, "create the user (and print its token) and the workspace, where they are missing")
	createFlag(command, &create)
	return a.jsonFlag(command)
}

// createMissing creates the user and the workspace of an agent's path, as far
// as they are missing.
func (a *app) createMissing(ctx context.Context, opened *store.Store, parts []string) error {
	if a.asJSON {
		return &usageError{errors.New("use --with-user with --json: create the user by itself, its token is JSON of its own")}
	}
	user, err := opened.UserByName(ctx, parts[0])
	if errors.Is(err, store.ErrNotFound) {
		if err := a.createUser(ctx, opened, newUser{name: parts[0]}); err != nil {
			return err
		}
		user, err = opened.UserByName(ctx, parts[0])
	}
	if err != nil {
		return err
	}
	_, err = a.findWorkspace(ctx, opened, parts)
	if errors.Is(err, store.ErrNotFound) {
		_, err = opened.CreateWorkspace(ctx, user, parts[1])
	}
	return err
}

func (a *app) agentToken() *cobra.Command {
	var url string
	command := &cobra.Command{
		Use: "token " + agentForm, Short: "Make another token for an agent; the others stay good", Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			return a.withStore(command.Context(), func(opened *store.Store) error {
				agent, err := a.findAgent(command.Context(), opened, args[0])
				if err != nil {
					return err
				}
				return a.issueAgentToken(command.Context(), opened, agent, url, "New token for agent "+agent.Path()+".")
			})
		},
	}
	command.Flags().StringVar(&url, "url", "", "URL of the server in the printed command (default: where it last ran)")
	return a.jsonFlag(command)
}

// fallbackURL stands in a printed command when the server has never run.
const fallbackURL = "http://127.0.0.1:7080"

func (a *app) issueAgentToken(ctx context.Context, opened *store.Store, agent store.Agent, url, headline string) error {
	token, secret, err := opened.CreateAgentToken(ctx, agent.ID, 0)
	if err != nil {
		return err
	}
	known, err := opened.Setting(ctx, store.SettingAccessURL)
	if err != nil {
		return err
	}
	if url == "" {
		url = known
	}
	if url == "" {
		url = fallbackURL
		if !a.asJSON {
			fmt.Fprintf(a.stderr, "causeway-server: no server has run on %s yet; start one: %s run\n", a.dataDir, a.self())
		}
	}
	start := "causeway-agent run --url " + shellQuote(url)
	if a.asJSON {
		return a.printJSON(map[string]any{
			"agent": describeAgent(agent), "token": secret.Reveal(), "token_id": token.ID, "url": url,
			"command": start + " --token " + secret.Reveal(),
		})
	}
	return a.print(headline+" Start it in the workspace; the token is shown this once:",
		"",
		"  "+start+" --token "+secret.Reveal(),
		"",
		"Others on that machine can read a command line. Where that matters, put the token",
		"into a file that only you can read and use --token-file FILE, or into the",
		"environment as CAUSEWAY_AGENT_TOKEN.")
}

func (a *app) listAgents(ctx context.Context, opened *store.Store, args []string) ([]store.Agent, error) {
	if len(args) == 0 {
		return opened.Agents(ctx)
	}
	user, err := a.findUser(ctx, opened, args[0])
	if err != nil {
		return nil, err
	}
	return opened.AgentsOf(ctx, user.ID)
}

func (a *app) agentDelete() *cobra.Command {
	return &cobra.Command{
		Use: "delete " + agentForm, Short: "Delete an agent; its connection ends", Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			return a.withStore(command.Context(), func(opened *store.Store) error {
				agent, err := a.findAgent(command.Context(), opened, args[0])
				if err != nil {
					return err
				}
				if err := opened.DeleteAgent(command.Context(), agent.ID); err != nil {
					return err
				}
				return a.print("Deleted agent " + agent.Path() + ".")
			})
		},
	}
}

func (a *app) backupCommand() *cobra.Command {
	return &cobra.Command{
		Use: "backup FILE", Short: "Copy the database to a new file, also while the server runs", Args: cobra.ExactArgs(1),
		Long: `Copy the database to a new file, also while the server runs. The copy is
verified, and only its owner can read it: it holds the server's signing keys and
the hashes of all tokens. An existing file is never overwritten.`,
		RunE: func(command *cobra.Command, args []string) error {
			opened, err := a.openExisting(command.Context())
			if err != nil {
				return err
			}
			if err := errors.Join(opened.Backup(command.Context(), args[0]), opened.Close()); err != nil {
				return err
			}
			return a.print("Wrote and verified " + args[0] + ".")
		},
	}
}

func (a *app) restoreCommand() *cobra.Command {
	return &cobra.Command{
		Use: "restore FILE", Short: "Replace the database by a backup; the server must be stopped", Args: cobra.ExactArgs(1),
		Long: `Replace the database by a backup. The server must be stopped. The backup is
checked first, and the old database is kept beside the new one. Tokens that were
created or revoked after the backup are again as they were at its time.`,
		RunE: func(command *cobra.Command, args []string) error {
			kept, err := store.Restore(command.Context(), a.dataDir, args[0])
			if err != nil {
				return err
			}
			lines := []string{"Restored " + args[0] + " into " + a.dataDir + "."}
			if kept != "" {
				lines = append(lines, "The old database is kept as "+kept+".")
			}
			return a.print(append(lines, "Next: "+a.self()+" run")...)
		},
	}
}
