package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/causewayhq/causeway/client"
	"github.com/causewayhq/causeway/client/browser"
	"github.com/causewayhq/causeway/localapi"
)

// maxToken bounds what is read as a token, in bytes; real ones have a few
// dozen. A wrong file must not be sent anywhere.
const maxToken = 8 << 10

// signingIn is one run of a sign-in.
type signingIn struct {
	*app
	*signInFlags
	access *url.URL
	opener browser.Opener
}

// obtain gets a token in the way that was asked for, or that fits here.
func (a *app) obtain(ctx context.Context, f *signInFlags, access *url.URL, way client.Options) (string, error) {
	s := &signingIn{app: a, signInFlags: f, access: access, opener: browser.Opener{LookupEnv: a.env.LookupEnv}}
	if f.tokenFile != "" {
		return s.readToken(ctx)
	}
	_, in := terminal(a.env.Stdin)
	_, out := terminal(a.env.Stderr)
	if !f.device && !f.browser && !in && !out && (f.noBrowser || !s.opener.Available()) {
		return "", s.nobodyThere()
	}
	host, err := os.Hostname()
	if err != nil {
		host = ""
	}
	defer way.HTTP.CloseIdleConnections()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // what is said while waiting is over with the sign-in
	options := client.SignInOptions{Options: way, DeviceName: host, Trouble: s.trouble}
	found, err := client.Discover(ctx, access, options)
	switch {
	case errors.Is(err, client.ErrNoSignIn) && !f.device && !f.browser:
		return s.paste(ctx)
	case err != nil:
		return "", s.explain(err)
	case !f.device && (f.browser || !f.noBrowser && found.CanBrowser() && s.opener.Available()):
		return s.token(found.Browser(ctx, s.showPage(ctx)))
	}
	return s.token(found.Device(ctx, s.showCode(ctx)))
}

func (s *signingIn) token(grant client.Grant, err error) (string, error) {
	if err != nil {
		return "", s.explain(err)
	}
	return string(grant.Token), nil
}

func (s *signingIn) say(format string, args ...any) {
	fmt.Fprintf(s.env.Stderr, format+"\n", args...)
}

func (s *signingIn) trouble(err error) {
	s.say("the deployment does not answer, and is asked again: %s", printable(err.Error()))
}

// showPage opens the page, and prints it whatever comes of that.
func (s *signingIn) showPage(ctx context.Context) func(string) error {
	return func(page string) error {
		if s.noBrowser {
			s.say("open this page in a browser on this machine:\n\n  %s\n", printable(page))
		} else {
			s.say("opening the browser; if nothing appears, open this page on this machine:\n\n  %s\n", printable(page))
			if err := s.opener.Open(page); err != nil {
				s.say("%s", printable(err.Error()))
			}
		}
		s.waits(ctx, "the browser", time.Now().Add(client.CallbackTimeout))
		return nil
	}
}

func (s *signingIn) showCode(ctx context.Context) func(client.DeviceCode) {
	return func(code client.DeviceCode) {
		s.say("on any device, open\n\n  %s\n\nand enter the code  %s\n", code.URL, code.UserCode)
		if picture := s.picture(s.qr, code.FullURL); picture != "" {
			s.say("or scan:\n\n%s", picture)
		}
		s.waits(ctx, "somebody to approve it", code.Expires)
	}
}

// waits says now and each minute what is waited for, until the context ends.
func (s *signingIn) waits(ctx context.Context, what string, until time.Time) {
	s.say("waiting for %s, %s at most; Ctrl-C ends it", what, count(minutes(time.Until(until)), "minute"))
	ticker := time.NewTicker(time.Minute)
	go func() {
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				s.say("still waiting for %s, %s more at most", what, count(minutes(time.Until(until)), "minute"))
			}
		}
	}()
}

func minutes(d time.Duration) int { return max(1, int(d.Round(time.Minute)/time.Minute)) }

// paste takes a token from who copied it from the deployment's page.
func (s *signingIn) paste(ctx context.Context) (string, error) {
	if _, ok := terminal(s.env.Stdin); !ok {
		return "", s.nobodyThere()
	}
	page := s.access.JoinPath("cli-auth").String()
	if !s.noBrowser && s.opener.Available() {
		s.say("opening %s in the browser", page)
		if err := s.opener.Open(page); err != nil {
			s.say("%s", printable(err.Error()))
		}
	}
	return s.prompt(ctx)
}

// prompt reads a pasted token without showing it.
func (s *signingIn) prompt(ctx context.Context) (string, error) {
	fd, _ := terminal(s.env.Stdin)
	fmt.Fprintf(s.env.Stderr, "%s.\nPaste it here (it is not shown): ", whereTokens(s.access))
	data, err := readHidden(ctx, fd)
	fmt.Fprintln(s.env.Stderr)
	if err != nil {
		return "", fmt.Errorf("read token: %w", err)
	}
	return s.checked(data)
}

// readHidden reads a line without echo. A read of a terminal cannot be called
// off: when the caller ends, the terminal is put back, and the read stays behind
// for the little that is left of the process.
func readHidden(ctx context.Context, fd int) ([]byte, error) {
	before, err := term.GetState(fd)
	if err != nil {
		return nil, err
	}
	type line struct {
		data []byte
		err  error
	}
	read := make(chan line, 1)
	go func() {
		data, err := term.ReadPassword(fd)
		read <- line{data, err}
	}()
	select {
	case <-ctx.Done():
		if err := term.Restore(fd, before); err != nil {
			return nil, err
		}
		return nil, ctx.Err()
	case got := <-read:
		return got.data, got.err
	}
}

func (s *signingIn) readToken(ctx context.Context) (string, error) {
	if _, ok := terminal(s.env.Stdin); ok && s.tokenFile == "-" {
		return s.prompt(ctx)
	}
	input := s.env.Stdin
	if s.tokenFile != "-" {
		opened, err := os.Open(s.tokenFile)
		if err != nil {
			return "", unreadable("token", "--token-file", err)
		}
		defer opened.Close()
		input = opened
	}
	data, err := io.ReadAll(io.LimitReader(input, maxToken+1))
	if err != nil {
		return "", unreadable("token", "--token-file", err)
	}
	return s.checked(data)
}

// checked refuses what is no token before it goes anywhere.
func (s *signingIn) checked(data []byte) (string, error) {
	token := strings.TrimSpace(string(data))
	if len(data) > maxToken || strings.ContainsAny(token, " \t\r\n\x00") {
		return "", &usageError{cause: "read token: what was read is no token: it has several words or lines, or is too long", remedy: "give a file that holds the token alone"}
	}
	if token == "" {
		return "", &usageError{cause: "read token: it is empty", remedy: whereTokens(s.access)}
	}
	return token, nil
}

// unreadable is something that the user has, but that we did not get.
func unreadable(what, flag string, err error) error {
	remedy := "give " + flag + " a file that this user can read"
	if flag != "--ca-file" {
		remedy += ", or - for standard input"
	}
	return &localapi.Error{Code: localapi.CodeGeneric, Cause: "read " + what + ": " + err.Error(), Remedy: remedy}
}

// nobodyThere is a sign-in without a terminal and without a browser.
func (s *signingIn) nobodyThere() error {
	return &usageError{
		cause: "read token: standard input is not a terminal",
		remedy: "give the token with --token-file FILE, or --token-file - for standard input; " + whereTokens(s.access) +
			"; or sign in on another device: --device",
	}
}

// whereTokens tells how to come by a token.
func whereTokens(access *url.URL) string {
	return "get a token: open " + access.JoinPath("cli-auth").Redacted() +
		" in a browser; on a Causeway server `causeway-server token create` prints one too"
}

// explain says what went wrong with the sign-in and what to do about it.
func (s *signingIn) explain(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	again := "start again: causeway login " + quote(s.access.Redacted())
	failed := &localapi.Error{Code: localapi.CodeGeneric, Cause: fmt.Sprintf("sign in to %s: %s", s.access.Redacted(), err), Remedy: again}
	var rejected *client.Error
	var refused *client.GrantError
	switch {
	case errors.Is(err, client.ErrDenied), errors.Is(err, client.ErrCodeExpired), errors.Is(err, client.ErrCodeUsed):
		failed.Code = localapi.CodeNotSignedIn
	case errors.Is(err, client.ErrNoCallback):
		failed.Code = localapi.CodeTimeout
		failed.Remedy = again + "; or use a browser on another device: --device"
	case errors.Is(err, client.ErrNoSignIn):
		failed.Remedy = "leave --device and --browser out, and paste a token; " + whereTokens(s.access)
	case errors.Is(err, client.ErrForeignEndpoint):
		failed.Remedy = "sign in with the address that the deployment has for itself; if this is it, ask who runs the deployment"
	case errors.Is(err, client.ErrCertificate):
		failed.Remedy = "check the URL and the clock; if the deployment has a certificate authority of its own, give its certificate with --ca-file"
	case errors.Is(err, http.ErrSchemeMismatch):
		plain := *s.access
		plain.Scheme = "http"
		failed.Remedy = "this is plain HTTP; if that is meant, give the URL as " + plain.Redacted() + " (the token then crosses the network unencrypted)"
	case errors.Is(err, client.ErrNotControlPlane):
		failed.Remedy = "check the URL: give the address at which you open the deployment in a browser"
	case errors.Is(err, context.DeadlineExceeded):
		failed.Code = localapi.CodeTimeout
		failed.Remedy = "check the URL, the network, the firewall and the proxy (--proxy), and try again"
	case errors.As(err, &refused) && refused.Status == http.StatusTooManyRequests:
		failed.Remedy = "wait a minute, and " + again
	case errors.As(err, &rejected) && turnedAway(rejected.Status), errors.As(err, &refused) && refused.Code == "" && turnedAway(refused.Status):
		failed.Remedy = "something before the deployment refuses requests: give the headers that it wants with --header-file, or ask who runs it"
	case errors.As(err, &refused), errors.As(err, &rejected):
		failed.Remedy = "check the URL; if it is right, ask who runs the deployment"
	default:
		failed.Remedy = "check the URL and that the deployment runs: open it in a browser on this machine"
	}
	return failed
}

// turnedAway is what something before the deployment answers to strangers.
func turnedAway(status int) bool {
	return status == http.StatusUnauthorized || status == http.StatusForbidden
}
