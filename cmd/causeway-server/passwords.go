package main

import (
	"bufio"
	"context"
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

func (a *app) userPassword() *cobra.Command {
	var fromStdin, revoke bool
	command := &cobra.Command{
		Use: "password USER", Short: "Set the password of a user; its browser sessions end", Args: cobra.ExactArgs(1),
		Long: `Set the password with which a user signs in on the pages of the server. It is
asked for twice, without echo, or read from standard input with --stdin. It is
never an argument, which everybody on the machine could read.

The user's browser sessions and one-time code end. API tokens, which the user's
devices hold, stay unless --revoke-tokens is given.`,
		Example: "  causeway-server user password alice\n  causeway-server user password alice --stdin --revoke-tokens < file",
		RunE: func(command *cobra.Command, args []string) error {
			return a.withStore(command.Context(), func(opened *store.Store) error {
				user, err := a.findUser(command.Context(), opened, args[0])
				if err != nil {
					return err
				}
				password, err := a.readPassword(command.Context(), "Password for "+user.Name, fromStdin, "--stdin")
				if err != nil {
					return err
				}
				return a.setPassword(command.Context(), opened, user, password, revoke)
			})
		},
	}
	command.Flags().BoolVar(&fromStdin, "stdin", false, "read the password from the first line of standard input")
	command.Flags().BoolVar(&revoke, "revoke-tokens", false, "revoke the user's API tokens too: its devices are signed out")
	return a.jsonFlag(command)
}

func (a *app) setPassword(ctx context.Context, opened *store.Store, user store.User, password string, revoke bool) error {
	if err := opened.SetPassword(ctx, user, password); err != nil {
		return err
	}
	var revoked int64
	if revoke {
		var err error
		if revoked, err = opened.RevokeUserTokens(ctx, user.ID); err != nil {
			return err
		}
	}
	if a.asJSON {
		return a.printJSON(map[string]any{"user": describeUser(user), "revoked_tokens": revoked})
	}
	lines := []string{"Set the password of user " + user.Name + ". Its browser sessions have ended."}
	if revoke {
		lines = append(lines, fmt.Sprintf("Revoked %d of its API tokens.", revoked))
	}
	return a.print(lines...)
}

func (a *app) userCode() *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use: "code USER", Short: "Print a code that signs a user in once, on the pages of the server", Args: cobra.ExactArgs(1),
		Long: `Print a code that signs a user in once, instead of a password. It is good for 10
minutes, is shown this once, and replaces one that was made before.`,
		Example: "  causeway-server user code alice",
		RunE: func(command *cobra.Command, args []string) error {
			ctx := command.Context()
			return a.withStore(ctx, func(opened *store.Store) error {
				user, err := a.findUser(ctx, opened, args[0])
				if err != nil {
					return err
				}
				url, err := opened.Setting(ctx, store.SettingAccessURL)
				if err != nil {
					return err
				}
				code, expires, err := opened.CreateOneTimeCode(ctx, user)
				if err != nil {
					return err
				}
				if a.asJSON {
					return a.printJSON(map[string]any{"user": describeUser(user), "code": code.Reveal(), "expires_at": expires})
				}
				if url == "" {
					url = "URL"
				}
				return a.print("One-time code of user "+user.Name+", shown this once, good until "+expires.Local().Format(time.TimeOnly)+":",
					"", "  "+code.Reveal(), "", "Sign in with it at "+url+"/login")
			})
		},
	})
}

// errPasswordsDiffer is a password that was typed in two ways.
var errPasswordsDiffer = errors.New("read password: the two are not the same; nothing was changed, try again")

// readPassword reads a password from the terminal without echo, or the first
// line of standard input. It is never echoed, logged or an argument.
func (a *app) readPassword(ctx context.Context, prompt string, fromStdin bool, flag string) (string, error) {
	if fromStdin {
		line, err := bufio.NewReader(io.LimitReader(a.stdin, 2*store.PasswordMost)).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", fmt.Errorf("read password from standard input: %w", err)
		}
		return strings.TrimRight(line, "\r\n"), nil
	}
	file, isFile := a.stdin.(*os.File)
	if !isFile || !a.onTerminal() {
		return "", &usageError{fmt.Errorf("read password: standard input is no terminal; give it with %s", flag)}
	}
	first, err := a.ask(ctx, file, prompt+": ")
	if err != nil {
		return "", err
	}
	second, err := a.ask(ctx, file, "Again: ")
	if err == nil && first != second {
		err = errPasswordsDiffer
	}
	return first, err
}

// onTerminal says whether standard input is a terminal.
func (a *app) onTerminal() bool {
	file, isFile := a.stdin.(*os.File)
	return isFile && term.IsTerminal(int(file.Fd())) //nolint:gosec // a descriptor is small
}

// ask reads one line without echo. An interrupt gives the terminal its echo back.
func (a *app) ask(ctx context.Context, terminal *os.File, prompt string) (string, error) {
	descriptor := int(terminal.Fd()) //nolint:gosec // a descriptor is small
	before, err := term.GetState(descriptor)
	if err != nil {
		return "", fmt.Errorf("read password from terminal: %w", err)
	}
	fmt.Fprint(a.stderr, prompt)
	type result struct {
		text []byte
		err  error
	}
	read := make(chan result, 1)
	go func() {
		text, err := term.ReadPassword(descriptor)
		read <- result{text, err}
	}()
	select {
	case got := <-read:
		fmt.Fprintln(a.stderr)
		if got.err != nil {
			return "", fmt.Errorf("read password from terminal: %w", got.err)
		}
		return string(got.text), nil
	case <-ctx.Done():
		fmt.Fprintln(a.stderr)
		return "", fmt.Errorf("read password from terminal: %w", errors.Join(ctx.Err(), term.Restore(descriptor, before)))
	}
}
