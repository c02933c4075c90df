package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/causewayhq/causeway/server/store"
)

type userOutput struct {
	ID        uuid.UUID `json:"id"`
	Name      string    `json:"name"`
	Email     string    `json:"email"`
	Admin     bool      `json:"admin"`
	CreatedAt time.Time `json:"created_at"`
}

func describeUser(user store.User) userOutput {
	return userOutput{ID: user.ID, Name: user.Name, Email: user.Email, Admin: user.Admin, CreatedAt: user.CreatedAt}
}

func (a *app) userCommand() *cobra.Command {
	return group("user", "Create, list and delete users, and set how they sign in",
		"  causeway-server user create alice\n  causeway-server user password alice\n  causeway-server user code alice\n  causeway-server user list --json\n  causeway-server user delete alice",
		a.userCreate(), a.userPassword(), a.userCode(), a.userList(), a.userDelete())
}

func (a *app) userCreate() *cobra.Command {
	var email string
	var lifetime time.Duration
	var withPassword, create bool
	command := &cobra.Command{
		Use: "create NAME", Short: "Create a user and its first token, which is shown this once", Args: cobra.ExactArgs(1),
		Long: `Create a user and its first token, which is shown this once. The first user of
all is an administrator: it may manage users over the API.

A name has 1 to 63 letters, digits, hyphens and underscores, a letter or digit
at both ends, and no double hyphen. It is unique without regard to case.`,
		RunE: func(command *cobra.Command, args []string) error {
			// First, so that a bad name leaves no database behind.
			if err := store.CheckName("user", args[0]); err != nil {
				return err
			}
			var password string
			if withPassword {
				var err error
				if password, err = a.readPassword(command.Context(), "", true, ""); err != nil {
					return err
				}
				if err := store.CheckPassword(args[0], password); err != nil {
					return err
				}
			}
			return a.withNewStore(command.Context(), create, func(opened *store.Store) error {
				if err := a.createUser(command.Context(), opened, newUser{args[0], email, password, lifetime}); err != nil || a.asJSON {
					return err
				}
				return a.print("Next: " + a.self() + " agent create " + args[0] + "/myws/main --with-user")
			})
		},
	}
	command.Flags().StringVar(&email, "email", "", "email address")
	command.Flags().DurationVar(&lifetime, "token-lifetime", 0, "how long the token is good, such as 720h (default for ever)")
	command.Flags().BoolVar(&withPassword, "password-stdin", false, "set the password to the first line of standard input")
	createFlag(command, &create)
	return a.jsonFlag(command)
}

// createFlag is for commands that may come before the server's first run.
func createFlag(command *cobra.Command, create *bool) {
	command.Flags().BoolVar(create, "create", false, "make the database if no server has run there yet")
}

// newUser is what a user is created with. No password is "".
type newUser struct {
	name, email, password string
	lifetime              time.Duration // of its first token
}

func (a *app) createUser(ctx context.Context, opened *store.Store, wanted newUser) error {
	if wanted.lifetime < 0 {
		return &usageError{fmt.Errorf("use --token-lifetime %s: it is negative", wanted.lifetime)}
	}
	user, err := opened.CreateUser(ctx, wanted.name, wanted.email)
	if err != nil {
		return err
	}
	if wanted.password != "" {
		if err := opened.SetPassword(ctx, user, wanted.password); err != nil {
			return err
		}
	}
	token, secret, err := opened.CreateUserToken(ctx, user.ID, "first", wanted.lifetime)
	if err != nil {
		return err
	}
	if a.asJSON {
		return a.printJSON(map[string]any{"user": describeUser(user), "token": secret.Reveal(), "token_id": token.ID})
	}
	url, err := opened.Setting(ctx, store.SettingAccessURL)
	if err != nil {
		return err
	}
	role := ""
	if user.Admin {
		role = " (administrator)"
	}
	login := "causeway login <URL of this server> --up"
	if url != "" {
		login = "causeway login " + url + " --up"
	}
	return a.print(
		"Created user "+user.Name+role+".",
		"Token, shown this once, good until "+until(token)+":",
		"",
		"  "+secret.Reveal(),
		"",
		"On the desktop (with sudo, if you did not install Causeway there): "+login,
		"")
}

func until(token store.Token) string {
	if token.ExpiresAt.IsZero() {
		return "it is revoked"
	}
	return moment(token.ExpiresAt)
}

func (a *app) userList() *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use: "list", Short: "List users", Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			return a.withStore(command.Context(), func(opened *store.Store) error {
				users, err := opened.Users(command.Context())
				if err != nil {
					return err
				}
				list, rows := []userOutput{}, [][]string{}
				for _, user := range users {
					role := "member"
					if user.Admin {
						role = "administrator"
					}
					list = append(list, describeUser(user))
					rows = append(rows, []string{user.Name, role, user.Email, moment(user.CreatedAt), user.ID.String()})
				}
				if a.asJSON {
					return a.printJSON(map[string]any{"users": list})
				}
				return a.printTable([]string{"NAME", "ROLE", "EMAIL", "CREATED", "ID"}, rows)
			})
		},
	})
}

func (a *app) userDelete() *cobra.Command {
	return &cobra.Command{
		Use: "delete NAME", Short: "Delete a user with its tokens, workspaces and agents", Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			return a.withStore(command.Context(), func(opened *store.Store) error {
				user, err := a.findUser(command.Context(), opened, args[0])
				if err != nil {
					return err
				}
				if err := opened.DeleteUser(command.Context(), user.ID); err != nil {
					return err
				}
				return a.print("Deleted user " + user.Name + ".")
			})
		},
	}
}

type tokenOutput struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	CreatedAt time.Time  `json:"created_at"`
	ExpiresAt *time.Time `json:"expires_at"`
	RevokedAt *time.Time `json:"revoked_at"`
}

func (a *app) tokenCommand() *cobra.Command {
	return group("token", "Create, list and revoke API tokens of users",
		"  causeway-server token create alice --lifetime 720h > token\n  causeway-server token list alice\n  causeway-server token revoke tq3mvx2k7hzn4c5a",
		a.tokenCreate(), a.tokenList(), a.tokenRevoke())
}

func (a *app) tokenCreate() *cobra.Command {
	var name string
	var lifetime time.Duration
	command := &cobra.Command{
		Use: "create USER", Short: "Create a token and print it, and nothing else", Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			if lifetime < 0 {
				return &usageError{fmt.Errorf("use --lifetime %s: it is negative", lifetime)}
			}
			return a.withStore(command.Context(), func(opened *store.Store) error {
				user, err := a.findUser(command.Context(), opened, args[0])
				if err != nil {
					return err
				}
				token, secret, err := opened.CreateUserToken(command.Context(), user.ID, name, lifetime)
				if err != nil {
					return err
				}
				if a.asJSON {
					return a.printJSON(map[string]any{"token": secret.Reveal(), "id": token.ID, "expires_at": optional(token.ExpiresAt)})
				}
				return a.print(secret.Reveal())
			})
		},
	}
	command.Flags().StringVar(&name, "name", "", "what the token is for")
	command.Flags().DurationVar(&lifetime, "lifetime", 0, "how long it is good, such as 720h (default for ever)")
	return a.jsonFlag(command)
}

func (a *app) tokenList() *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use: "list USER", Short: "List the tokens of a user, without their secrets", Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			return a.withStore(command.Context(), func(opened *store.Store) error {
				user, err := a.findUser(command.Context(), opened, args[0])
				if err != nil {
					return err
				}
				tokens, err := opened.UserTokens(command.Context(), user.ID)
				if err != nil {
					return err
				}
				list, rows := []tokenOutput{}, [][]string{}
				for _, token := range tokens {
					list = append(list, tokenOutput{token.ID, token.Name, token.CreatedAt, optional(token.ExpiresAt), optional(token.RevokedAt)})
					rows = append(rows, []string{token.ID, token.Name, moment(token.CreatedAt), moment(token.ExpiresAt), moment(token.RevokedAt)})
				}
				if a.asJSON {
					return a.printJSON(map[string]any{"tokens": list})
				}
				return a.printTable([]string{"ID", "NAME", "CREATED", "EXPIRES", "REVOKED"}, rows)
			})
		},
	})
}

func (a *app) tokenRevoke() *cobra.Command {
	return &cobra.Command{
		Use: "revoke ID", Short: "Revoke a token of a user or an agent; its connections end", Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			return a.withStore(command.Context(), func(opened *store.Store) error {
				err := opened.RevokeToken(command.Context(), args[0])
				if errors.Is(err, store.ErrNotFound) {
					return fmt.Errorf("%w; the ids of tokens that can be revoked: %s token list USER", err, a.self())
				}
				if err != nil {
					return err
				}
				return a.print("Revoked token " + args[0] + ".")
			})
		},
	}
}
