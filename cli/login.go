package cli

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

// signInFlags are what login and profile add are told.
type signInFlags struct {
	tokenFile                  string
	device, browser, noBrowser bool
	qr                         string
	profile                    string
	network                    networkFlags
	connectAt, owner           string
	connect                    bool
}

func (f *signInFlags) register(a *app, command *cobra.Command) {
	flags := command.Flags()
	flags.StringVar(&f.tokenFile, "token-file", "", "read a token from this file, - for standard input (on a terminal: paste it, it is not shown)")
	flags.BoolVar(&f.device, "device", false, "sign in with a code, in a browser on any device")
	flags.BoolVar(&f.browser, "browser", false, "sign in with the browser of this machine, also where none was found by itself")
	flags.BoolVar(&f.noBrowser, "no-browser", false, "open no browser: print what to open")
	flags.StringVar(&f.qr, "qr", qrAuto, "show the code's address as a picture to scan: auto, always or never")
	f.network.register(flags)
	flags.StringVar(&f.connectAt, "connect-at", "", "connect after a boot before anybody logs in (boot), or while the owner is logged in (login)")
	flags.StringVar(&f.owner, "owner", "", "user of this machine to whom the profile belongs (default you; under sudo who ran it)")
	flags.BoolVar(&f.connect, "up", false, "connect, and return when the tunnel works")
	fixed(command, "qr", qrAuto, qrAlways, qrNever)
	fixed(command, "connect-at", connectAtBoot, connectAtLogin)
}

const (
	connectAtBoot  = "boot"
	connectAtLogin = "login"
)

// fixed completes a flag that has few values.
func fixed(command *cobra.Command, flag string, values ...string) {
	// It fails for a flag that does not exist only.
	_ = command.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}

func (a *app) login() *cobra.Command {
	f := &signInFlags{}
	command := &cobra.Command{
		Use: "login [url]", Short: "Sign in to a deployment", Args: args(0, 1, "the URL of the deployment, and nothing else"),
		Long: `Sign in to a deployment. On a Causeway server this opens the browser, or where
there is none shows a code to approve on any device. On an existing Coder
deployment it takes the token that the deployment's page /cli-auth shows, which
you paste. A token in a file or on standard input does on both.

The token is checked before it is kept; the daemon keeps it readable for root
only. Without a URL it is the deployment of the active profile, or of --profile.

Who installed Causeway may sign in, and whom an administrator lets: causeway
operator add. Everybody else signs in with sudo, once: that makes the user who
ran sudo an operator.

A new token for the same deployment and user is taken over by the running
tunnel: names and open sessions stay.

Values of headers are secrets: give them in a file (--header-file), one
"Name: value" on a line, since every user of this machine can read a command
line. The file, --ca-file and --proxy count for every request to the
deployment, those of the sign-in too, and are kept with the profile.`,
		Example: `  causeway login https://coder.example.com         # (with sudo, if you did not install it)
  causeway login https://coder.example.com --up    # and connect at once
  causeway login                                        # again, when the token has expired
  causeway login https://coder.example.com --device     # where there is no browser
  causeway login https://coder.example.com --token-file ~/token
  pass show coder | causeway login https://coder.example.com --token-file -`,
	}
	f.register(a, command)
	command.Flags().StringVar(&f.profile, "profile", "", "profile to sign in to, or to make (default the one of this URL)")
	a.completesProfile(command, "profile")
	command.RunE = func(cmd *cobra.Command, args []string) error {
		given := ""
		if len(args) > 0 {
			given = args[0]
		}
		return a.runLogin(cmd.Context(), f, given, false)
	}
	return command
}

// runLogin signs in; fresh wants a profile that does not exist yet.
func (a *app) runLogin(ctx context.Context, f *signInFlags, given string, fresh bool) error {
	request, err := a.loginRequest(ctx, f)
	if err != nil {
		return err
	}
	client, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	// Whoever may not sign in should hear so before typing a secret.
	profiles, err := a.profiles(ctx, client)
	if err != nil {
		return err
	}
	profiles = ownedBy(request.OwnerUid, profiles)
	if fresh && named(profiles, f.profile) != nil {
		return &usageError{
			cause:  fmt.Sprintf("add profile %q: there is one of that name already", f.profile),
			remedy: "choose another name, or sign in to it again: causeway login --profile " + quote(f.profile),
		}
	}
	access, known, err := whichURL(given, f.profile, profiles)
	if err != nil {
		return err
	}
	request.Url = access.String()
	a.warnPlain(access)
	way, err := a.wayThere(f, request, known)
	if err != nil {
		return err
	}
	if request.Token, err = a.obtain(ctx, f, access, way); err != nil {
		return err
	}
	fmt.Fprintf(a.env.Stderr, "checking the token with %s\n", access.Redacted())
	answer, err := call(ctx, a, workLimit, client.Login, request)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.env.Stdout, "signed in to %s as %s\n", access.Redacted(), printable(answer.GetUser()))
	if f.profile != "" {
		fmt.Fprintf(a.env.Stdout, "profile %s\n", printable(answer.GetProfile()))
	}
	if name := a.otherOwner(f); name != "" {
		fmt.Fprintf(a.env.Stdout, "the user %s may use causeway without sudo from now on\n", name)
	}
	if f.connect {
		return a.bringUp(ctx, client, &localv1.UpRequest{Profile: f.profile}, defaultWait)
	}
	return a.sayNext(ctx, client, answer.GetProfile())
}

// loginRequest is what the flags say, without the URL and the token.
func (a *app) loginRequest(ctx context.Context, f *signInFlags) (*localv1.LoginRequest, error) {
	request := &localv1.LoginRequest{Profile: f.profile, OwnerUid: a.sudoUser()}
	switch f.connectAt {
	case "":
	case connectAtBoot:
		request.ConnectAt = localv1.ConnectAt_BOOT
	case connectAtLogin:
		request.ConnectAt = localv1.ConnectAt_LOGIN
	default:
		return nil, &usageError{cause: fmt.Sprintf("sign in: --connect-at %q is neither boot nor login", f.connectAt), remedy: "see: causeway login --help"}
	}
	if f.qr != qrAuto && f.qr != qrAlways && f.qr != qrNever {
		return nil, &usageError{cause: fmt.Sprintf("sign in: --qr %q is none of auto, always and never", f.qr), remedy: "see: causeway login --help"}
	}
	if f.owner != "" {
		owner, err := userOf(ctx, f.owner)
		if err != nil {
			return nil, err
		}
		request.OwnerUid, request.OwnerSid = owner.Uid, owner.GetSid()
	}
	if err := f.oneWay(); err != nil {
		return nil, err
	}
	if f.tokenFile == "-" && f.network.headerFile == "-" {
		return nil, &usageError{cause: "sign in: --token-file and --header-file cannot both be standard input", remedy: "give one of them as a file"}
	}
	return request, a.network(&f.network, request)
}

// oneWay refuses two ways to sign in at once.
func (f *signInFlags) oneWay() error {
	clash := func(one, other string) error {
		return &usageError{cause: fmt.Sprintf("sign in: %s and %s do not go together", one, other), remedy: "give one of them"}
	}
	switch {
	case f.tokenFile != "" && f.device:
		return clash("--token-file", "--device")
	case f.tokenFile != "" && f.browser:
		return clash("--token-file", "--browser")
	case f.tokenFile != "" && f.noBrowser:
		return clash("--token-file", "--no-browser")
	case f.device && f.browser:
		return clash("--device", "--browser")
	}
	return nil
}

// ownedBy leaves that user's profiles; an administrator sees everybody's.
func ownedBy(owner *uint32, profiles []*localv1.Profile) []*localv1.Profile {
	if owner == nil {
		return profiles
	}
	return slices.DeleteFunc(profiles, func(one *localv1.Profile) bool { return one.OwnerUid == nil || one.GetOwnerUid() != *owner })
}

// whichURL is the URL that was given, or that of a profile; known is the
// profile of that URL, if there is one.
func whichURL(given, profile string, profiles []*localv1.Profile) (access *url.URL, known *localv1.Profile, err error) {
	if profile != "" {
		known = named(profiles, profile)
	}
	if given == "" {
		switch {
		case profile != "" && known == nil:
			return nil, nil, &localapi.Error{
				Code: localapi.CodeNotFound, Cause: fmt.Sprintf("sign in: there is no profile %q", profile),
				Remedy: "give the URL of its deployment too, or see: causeway profile list",
			}
		case known == nil:
			known = usual(profiles)
		}
		if known == nil {
			return nil, nil, &usageError{cause: "sign in: expected the URL of the deployment", remedy: "for example: causeway login https://coder.example.com"}
		}
		given = known.GetUrl()
	}
	if access, err = accessURL(given); err != nil {
		return nil, nil, err
	}
	for _, one := range profiles {
		if known == nil && profile == "" && one.GetUrl() == access.String() {
			known = one
		}
	}
	if known != nil && known.GetUrl() != access.String() {
		known = nil // it gets another deployment
	}
	return access, known, nil
}

// usual is the active profile, or the only one.
func usual(profiles []*localv1.Profile) *localv1.Profile {
	for _, one := range profiles {
		if one.GetActive() {
			return one
		}
	}
	if len(profiles) == 1 {
		return profiles[0]
	}
	return nil
}

// sayNext says what is left to do after a sign-in, which may be nothing.
func (a *app) sayNext(ctx context.Context, client *localapi.Client, profile string) error {
	status, err := a.askStatus(ctx, client)
	if err != nil {
		return err
	}
	next := "the tunnel connects with the new token; causeway status shows how it goes"
	switch state := status.GetState(); {
	case status.GetView() == localv1.View_SUMMARY:
		next = fmt.Sprintf("this machine's tunnel is %s's now; when they have run causeway down: causeway up --wait --profile %s",
			cmp.Or(status.GetOwner(), "another user"), quote(profile))
	case status.GetProfile() != profile && status.GetWantedUp():
		next = "the tunnel is another profile's now; next: causeway up --wait --profile " + quote(profile)
	case !status.GetWantedUp():
		next = "next: causeway up --wait"
	case state == localv1.State_CONNECTED, state == localv1.State_DEGRADED:
		next = "the tunnel is up and goes on with the new token"
	}
	fmt.Fprintln(a.env.Stdout, printable(next))
	return nil
}

// warnPlain says when the token is about to cross a network unencrypted.
func (a *app) warnPlain(access *url.URL) {
	if access.Scheme != "http" {
		return
	}
	address, err := netip.ParseAddr(access.Hostname())
	if access.Hostname() == "localhost" || err == nil && address.IsLoopback() {
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

// otherOwner names who got the profile, if that is not who runs the command.
func (a *app) otherOwner(f *signInFlags) string {
	switch {
	case f.owner != "":
		return printable(f.owner)
	case a.sudoUser() != nil:
		return printable(a.getenv("SUDO_USER"))
	}
	return ""
}
