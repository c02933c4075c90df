package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/causewayhq/causeway/server/store"
)

func (a *app) gitCommand() *cobra.Command {
	return group("git", "Show and set what git signs in with in a user's workspaces",
		"  causeway-server git key alice                               # to add at the git host\n  causeway-server git set alice github.com --username al --stdin < token\n  causeway-server git list alice\n  causeway-server git delete alice github.com",
		a.gitKey(), a.gitSet(), a.gitList(), a.gitDelete())
}

func (a *app) gitKey() *cobra.Command {
	var replace bool
	command := &cobra.Command{
		Use: "key USER", Short: "Print the public SSH key of a user's workspaces", Args: cobra.ExactArgs(1),
		Long: `Print the public SSH key with which git in the user's workspaces signs in. It is
made the first time that it is asked for. Add it at the git host. The private
half is in the server's database, and goes to the memory of the user's agents only.`,
		Example: "  causeway-server git key alice\n  causeway-server git key alice --replace    # the old one ends here; remove it at the git host too",
		RunE: func(command *cobra.Command, args []string) error {
			return a.withStore(command.Context(), func(opened *store.Store) error {
				user, err := a.findUser(command.Context(), opened, args[0])
				if err != nil {
					return err
				}
				work := opened.GitSSHKey
				if replace {
					work = opened.ReplaceGitSSHKey
				}
				key, err := work(command.Context(), user)
				if err != nil {
					return err
				}
				if a.asJSON {
					return a.printJSON(map[string]any{
						"user": describeUser(user), "public_key": key.PublicKey, "created_at": key.CreatedAt, "updated_at": key.UpdatedAt,
					})
				}
				return a.print(key.PublicKey)
			})
		},
	}
	command.Flags().BoolVar(&replace, "replace", false, "make a new key first")
	return a.jsonFlag(command)
}

// gitOutput never has the password.
type gitOutput struct {
	Host      string    `json:"host"`
	Username  string    `json:"username"`
	UpdatedAt time.Time `json:"updated_at"`
}

func describeGit(credential store.GitCredential) gitOutput {
	return gitOutput{credential.Host, credential.Username, credential.UpdatedAt}
}

func (a *app) gitSet() *cobra.Command {
	var username string
	var fromStdin bool
	command := &cobra.Command{
		Use: "set USER HOST", Short: "Keep the password or token with which git signs in at a host over HTTPS", Args: cobra.ExactArgs(2),
		Long: `Keep the user name and the password, or better a token, with which git in the
user's workspaces signs in at a host over HTTPS. It replaces the one that was
there, and is given to the user's agents only, for exactly this host and port.
Agents ask for it each time; of a user's first one they learn when they connect
the next time, and sessions that are open then do not.

The password is asked for without echo, or read from standard input with
--stdin. It is never an argument, which everybody on the machine could read, and
it is never shown again.`,
		Example: "  causeway-server git set alice github.com --username al\n  causeway-server git set alice git.example.com:8443 --username al --stdin < token",
		RunE: func(command *cobra.Command, args []string) error {
			if username == "" {
				return &usageError{errors.New("required flag: --username NAME, as the git host knows the user")}
			}
			host, err := gitHost(args[1])
			if err != nil {
				return err
			}
			return a.withStore(command.Context(), func(opened *store.Store) error {
				user, err := a.findUser(command.Context(), opened, args[0])
				if err != nil {
					return err
				}
				password, err := a.readGitPassword(command, fromStdin, host)
				if err != nil {
					return err
				}
				before, err := opened.GitCredentials(command.Context(), user.ID)
				if err != nil {
					return err
				}
				credential, err := opened.SetGitCredential(command.Context(), user, host, username, password)
				if err != nil {
					return err
				}
				if a.asJSON {
					return a.printJSON(map[string]any{"user": describeUser(user), "credential": describeGit(credential)})
				}
				lines := []string{"Git in the workspaces of " + user.Name + " signs in at " + credential.Host + " as " + credential.Username + "."}
				if len(before) == 0 {
					lines = append(lines,
						"It is the user's first: agents that are connected learn of it when they connect the next time.",
						"To have it now, restart them. It is for sessions that begin after that.")
				}
				return a.print(lines...)
			})
		},
	}
	command.Flags().StringVar(&username, "username", "", "the user's `name` at the host")
	command.Flags().BoolVar(&fromStdin, "stdin", false, "read the password from the first line of standard input")
	return a.jsonFlag(command)
}

// gitHost reads a host, and takes no path after it: nobody should think that the
// password is for one part of the host only.
func gitHost(text string) (string, error) {
	host, err := store.GitHost(text)
	if err != nil {
		return "", err
	}
	_, rest, found := strings.Cut(text, "://")
	if !found {
		rest = text
	}
	if at := strings.IndexAny(rest, "/?#"); at >= 0 && rest[at:] != "/" {
		return "", &usageError{fmt.Errorf("read host: it has a path, and a password is for all of a host; give only %s", host)}
	}
	return host, nil
}

// gitPasswordMost is beyond what the store takes: a longer one is refused there.
const gitPasswordMost = 8 << 10

func (a *app) readGitPassword(command *cobra.Command, fromStdin bool, host string) (string, error) {
	if fromStdin {
		line, err := bufio.NewReader(io.LimitReader(a.stdin, gitPasswordMost)).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", fmt.Errorf("read password from standard input: %w", err)
		}
		return strings.TrimRight(line, "\r\n"), nil
	}
	file, isFile := a.stdin.(*os.File)
	if !isFile || !term.IsTerminal(int(file.Fd())) { //nolint:gosec // a descriptor is small
		return "", &usageError{errors.New("read password: standard input is no terminal; give it with --stdin")}
	}
	return a.ask(command.Context(), file, "Password or token for "+host+": ")
}

func (a *app) gitList() *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use: "list USER", Short: "List the hosts for which a user has a password or token", Args: cobra.ExactArgs(1),
		Example: "  causeway-server git list alice",
		RunE: func(command *cobra.Command, args []string) error {
			return a.withStore(command.Context(), func(opened *store.Store) error {
				user, err := a.findUser(command.Context(), opened, args[0])
				if err != nil {
					return err
				}
				list, err := opened.GitCredentials(command.Context(), user.ID)
				if err != nil {
					return err
				}
				described, rows := []gitOutput{}, [][]string{}
				for _, each := range list {
					described = append(described, describeGit(each))
					rows = append(rows, []string{each.Host, each.Username, moment(each.UpdatedAt)})
				}
				if a.asJSON {
					return a.printJSON(map[string]any{"credentials": described})
				}
				return a.printTable([]string{"HOST", "USERNAME", "CHANGED"}, rows)
			})
		},
	})
}

func (a *app) gitDelete() *cobra.Command {
	return &cobra.Command{
		Use: "delete USER HOST", Short: "Forget the password or token for a host", Args: cobra.ExactArgs(2),
		Example: "  causeway-server git delete alice github.com",
		RunE: func(command *cobra.Command, args []string) error {
			host, err := gitHost(args[1])
			if err != nil {
				return err
			}
			return a.withStore(command.Context(), func(opened *store.Store) error {
				user, err := a.findUser(command.Context(), opened, args[0])
				if err != nil {
					return err
				}
				if err := opened.DeleteGitCredential(command.Context(), user.ID, host); err != nil {
					return err
				}
				return a.print("Deleted the password of " + user.Name + " for " + host + ".")
			})
		},
	}
}
