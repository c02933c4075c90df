package cli

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

// maxToken bounds what is read as a token, in bytes; real ones have a few
// dozen. A wrong file must not be sent anywhere.
const maxToken = 8 << 10

func (a *app) login() *cobra.Command {
	var tokenFile string
	var connect bool
	command := &cobra.Command{
		Use: "login <url>", Short: "Sign in to a deployment", Args: args(1, 1, "the URL of the deployment"),
		Long: `Sign in to a deployment with a session token. The token is checked before it
is kept; the daemon keeps it readable for root only.

The first time needs root, because the daemon belongs to the machine. Signing
in with sudo makes the user who ran sudo the owner of the tunnel: that user
needs no sudo afterwards.

A new token for the same deployment and user is taken over by the running
tunnel: names and open sessions stay.`,
		Example: `  sudo causeway login https://coder.example.com
  sudo causeway login https://coder.example.com --up    # and connect at once
  causeway login https://coder.example.com --token-file ~/token
  pass show coder | causeway login https://coder.example.com --token-file -`,
	}
	command.Flags().StringVar(&tokenFile, "token-file", "", "read the token from this file, - for standard input")
	command.Flags().BoolVar(&connect, "up", false, "connect, and return when the tunnel works")
	command.RunE = func(cmd *cobra.Command, args []string) error {
		access := args[0]
		if !strings.Contains(access, "://") {
			access = "https://" + access
		}
		client, err := a.dial(cmd.Context())
		if err != nil {
			return err
		}
		defer client.Close()
		// Whoever may not sign in should hear so before typing a secret.
		if _, err := a.askStatus(cmd.Context(), client); err != nil {
			return err
		}
		token, err := a.readToken(access, tokenFile)
		if err != nil {
			return err
		}
		a.warnPlain(access)
		request := &localv1.LoginRequest{Url: access, Token: token, OwnerUid: a.sudoUser()}
		fmt.Fprintf(a.env.Stderr, "checking the token with %s\n", display(access))
		answer, err := call(cmd.Context(), a, workLimit, client.Login, request)
		if err != nil {
			return err
		}
		fmt.Fprintf(a.env.Stdout, "signed in to %s as %s\n", display(access), printable(answer.GetUser()))
		if request.OwnerUid != nil {
			fmt.Fprintf(a.env.Stdout, "the user %s may use causeway without sudo from now on\n", a.getenv("SUDO_USER"))
		}
		if connect {
			return a.bringUp(cmd.Context(), client, defaultWait)
		}
		return a.sayNext(cmd.Context(), client)
	}
	return command
}

// sayNext says what is left to do after a sign-in, which may be nothing.
func (a *app) sayNext(ctx context.Context, client *localapi.Client) error {
	status, err := a.askStatus(ctx, client)
	if err != nil {
		return err
	}
	next := "the tunnel connects with the new token; causeway status shows how it goes"
	switch state := status.GetState(); {
	case !status.GetWantedUp():
		next = "next: causeway up --wait"
	case state == localv1.State_CONNECTED, state == localv1.State_DEGRADED:
		next = "the tunnel is up and goes on with the new token"
	}
	fmt.Fprintln(a.env.Stdout, next)
	return nil
}

// display is a URL without what may be secret in it.
func display(access string) string {
	parsed, err := url.Parse(access)
	if err != nil {
		return "the deployment"
	}
	return parsed.Redacted()
}

func (a *app) readToken(access, file string) (string, error) {
	var input io.Reader
	switch fd, ok := terminal(a.env.Stdin); {
	case file == "-":
		input = a.env.Stdin
	case file != "":
		opened, err := os.Open(file)
		if err != nil {
			return "", unreadable(err)
		}
		defer opened.Close()
		input = opened
	case !ok:
		return "", &usageError{cause: "read token: standard input is not a terminal", remedy: "give the token with --token-file FILE, or --token-file - for standard input; " + whereTokens(access)}
	default:
		fmt.Fprintf(a.env.Stderr, "%s.\nPaste it here (it is not shown): ", whereTokens(access))
		data, err := term.ReadPassword(fd)
		fmt.Fprintln(a.env.Stderr)
		if err != nil {
			return "", fmt.Errorf("read token: %w", err)
		}
		input = strings.NewReader(string(data))
	}
	data, err := io.ReadAll(io.LimitReader(input, maxToken+1))
	if err != nil {
		return "", unreadable(err)
	}
	token := strings.TrimSpace(string(data))
	if len(data) > maxToken || strings.ContainsAny(token, " \t\r\n\x00") {
		return "", &usageError{cause: "read token: what was read is no token: it has several words or lines, or is too long", remedy: "give a file that holds the token alone"}
	}
	if token == "" {
		return "", &usageError{cause: "read token: it is empty", remedy: whereTokens(access)}
	}
	return token, nil
}

// unreadable is a token that the user has, but that we did not get.
func unreadable(err error) error {
	return &localapi.Error{
		Code: localapi.CodeGeneric, Cause: "read token: " + err.Error(),
		Remedy: "give --token-file a file that this user can read, or - for standard input; or leave it out and paste the token",
	}
}

// whereTokens tells how to come by a token: which of the two servers it is, is
// known only once a token has been sent.
func whereTokens(access string) string {
	return "get a token: on a Coder deployment open " + strings.TrimRight(display(access), "/") +
		"/cli-auth in a browser; on a Causeway server it is what `causeway-server user create` or `token create` printed"
}

// warnPlain says when the token is about to cross a network unencrypted.
func (a *app) warnPlain(access string) {
	parsed, err := url.Parse(access)
	if err != nil || parsed.Scheme != "http" {
		return
	}
	address, err := netip.ParseAddr(parsed.Hostname())
	if parsed.Hostname() == "localhost" || err == nil && address.IsLoopback() {
		return
	}
	fmt.Fprintln(a.env.Stderr, "causeway: warning: the URL begins with http://, so the token crosses the network unencrypted")
}

// sudoUser is the user who ran sudo, who is meant to own the tunnel.
func (a *app) sudoUser() *uint32 {
	if os.Geteuid() != 0 {
		return nil
	}
	uid, err := strconv.ParseUint(a.getenv("SUDO_UID"), 10, 32)
	if err != nil || uid == 0 {
		return nil
	}
	owner := uint32(uid)
	return &owner
}

func (a *app) logout() *cobra.Command {
	return &cobra.Command{
		Use: "logout", Short: "Sign out: disconnect and forget the token", Args: args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			defer client.Close()
			if _, err := call(cmd.Context(), a, workLimit, client.Logout, &localv1.LogoutRequest{}); err != nil {
				return err
			}
			fmt.Fprintln(a.env.Stdout, "signed out")
			return nil
		},
	}
}
