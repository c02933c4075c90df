package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/client"
	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

// verifyTimeout bounds the check of a token, with name look-up, TLS and answer.
const verifyTimeout = 20 * time.Second

// Login checks the token against the deployment and keeps it only if it is
// good; a failed login changes nothing. The profile becomes the active one
// unless another user's tunnel is up.
func (s *Service) Login(ctx context.Context, in *localv1.LoginRequest) (*localv1.LoginResponse, error) {
	who, err := s.asking(ctx)
	if err != nil {
		return nil, fmt.Errorf("sign in: %w", err)
	}
	given, err := parseLogin(in)
	if err != nil {
		return nil, err
	}
	if given.Owner, err = s.ownerOf(who, in); err != nil {
		return nil, err
	}
	s.verifying.Lock()
	defer s.verifying.Unlock()
	s.mu.Lock()
	now := s.state.clone()
	s.mu.Unlock()
	wanted, err := now.merge(given, in)
	if err != nil {
		return nil, err
	}
	verifyCtx, cancel := context.WithTimeout(ctx, verifyTimeout)
	defer cancel()
	user, err := s.config.Verify(verifyCtx, s.onMachine(wanted))
	if err != nil {
		return nil, explainLogin(wanted.URL, err)
	}
	wanted.User, wanted.UserID, wanted.Expires = user.Username, user.ID.String(), time.Time{}
	s.names.learn(wanted.Owner)
	active := false
	number, err := s.change(func(next *state) error {
		if err := next.setOperator(wanted.Owner, true); err != nil {
			return err
		}
		next.put(wanted)
		holder, up := next.heldUp()
		if active = !up || holder == wanted.Owner; active {
			next.activate(wanted)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.config.Logger.Info("signed in", slog.String("user", wanted.User), slog.String("profile", wanted.Name),
		slog.String("owner", s.names.of(wanted.Owner)), slog.Bool("active", active))
	// A status that is asked for next is about this sign-in: a tunnel of the same
	// user goes on with the new token, and one of another user has gone.
	if err := s.settle(ctx, number); err != nil {
		return nil, fmt.Errorf("wait for the tunnel to take the token: %w", err)
	}
	return &localv1.LoginResponse{User: wanted.User, Profile: wanted.Name}, nil
}

// parseLogin checks what was given, without regard to what is there.
func parseLogin(in *localv1.LoginRequest) (Profile, error) {
	access, err := parseURL(in.GetUrl())
	if err != nil {
		return Profile{}, err
	}
	token := client.Token(strings.TrimSpace(in.GetToken()))
	if token == "" || strings.ContainsFunc(string(token), notPrintable) {
		return Profile{}, &localapi.Error{
			Code: localapi.CodeUsage, Cause: "sign in: the token is empty or holds characters that no token has",
			Remedy: "copy the token again, whole and alone",
		}
	}
	p := Profile{URL: access, Token: token, CA: in.GetCaPem()}
	if len(in.GetHeaders()) > 0 {
		p.Headers = Headers{}
	}
	for _, header := range in.GetHeaders() {
		if err := p.Headers.add(header.GetName(), header.GetValue()); err != nil {
			return Profile{}, badLogin(err, "give each header as Name=Value")
		}
	}
	if err := checkCA(p.CA); err != nil {
		return Profile{}, badLogin(err, "give a file with the certificates of the authorities, in PEM")
	}
	if p.Proxy, err = parseProxy(in.GetProxy()); err != nil {
		return Profile{}, badLogin(err, "give the proxy as http://host:port")
	}
	if name := in.GetProfile(); name != "" {
		if err := checkName(name); err != nil {
			return Profile{}, badLogin(err, "choose another name")
		}
	}
	return p, nil
}

func badLogin(err error, remedy string) error {
	return &localapi.Error{Code: localapi.CodeUsage, Cause: "sign in: " + err.Error(), Remedy: remedy}
}

// merge finds the profile that a sign-in is about: the one of that name, or of
// that URL, or a new one. What was not given stays as it was, unless it is about
// another deployment, which does not get the secrets of this one.
func (s state) merge(given Profile, in *localv1.LoginRequest) (Profile, error) {
	before := s.named(given.Owner, in.GetProfile())
	if in.GetProfile() == "" {
		for _, p := range s.of(given.Owner) {
			if p.URL.String() == given.URL.String() {
				before = &p
				break
			}
		}
	}
	if before == nil {
		if len(s.of(given.Owner)) >= profilesPerOwner || len(s.profiles) >= maxProfiles {
			return Profile{}, badLogin(errors.New("there are too many profiles"), "remove one first: causeway profile remove")
		}
		given.ID, given.Name = uuid.NewString(), in.GetProfile()
		if given.Name == "" {
			given.Name = nameFor(given.URL, func(name string) bool { return s.named(given.Owner, name) != nil })
		}
	} else {
		given.ID, given.Name, given.AtLogin = before.ID, before.Name, before.AtLogin
		if before.URL.String() == given.URL.String() {
			given.keepWay(*before)
		}
	}
	if in.GetConnectAt() != localv1.ConnectAt_CONNECT_AT_UNSPECIFIED {
		given.AtLogin = in.GetConnectAt() == localv1.ConnectAt_LOGIN
	}
	return given, nil
}

// keepWay takes over how the deployment was reached, where nothing else is said.
func (p *Profile) keepWay(before Profile) {
	if p.Headers == nil {
		p.Headers = before.Headers
	}
	if p.CA == "" {
		p.CA = before.CA
	}
	if p.Proxy == nil {
		p.Proxy = before.Proxy
	}
}

// Logout forgets the credentials, and takes the tunnel down if it is the
// profile's. The profile stays, so that one can sign in to it again.
func (s *Service) Logout(ctx context.Context, in *localv1.LogoutRequest) (*localv1.LogoutResponse, error) {
	who, err := s.asking(ctx)
	if err != nil {
		return nil, fmt.Errorf("sign out: %w", err)
	}
	s.verifying.Lock()
	defer s.verifying.Unlock()
	var before Profile
	number, err := s.change(func(next *state) error {
		p, err := s.pick(*next, who, in.GetProfile())
		if err != nil || p == nil {
			return err
		}
		before = *p
		after := before
		after.Token, after.Expires = "", time.Time{}
		next.put(after)
		if next.active == after.ID {
			next.up = false
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.config.Logger.Info("signed out", slog.String("profile", before.Name))
	if err := s.stopped(ctx, number); err != nil {
		return nil, err
	}
	out := &localv1.LogoutResponse{}
	if in.GetRevoke() && before.signedIn() {
		revokeCtx, cancel := context.WithTimeout(ctx, verifyTimeout)
		defer cancel()
		if err := s.config.Revoke(revokeCtx, s.onMachine(before)); err != nil {
			out.RevokeError = quoteForeign(inOneLine(err))
		}
	}
	return out, nil
}

// ownerOf is the user whose profile it will be.
func (s *Service) ownerOf(who asking, in *localv1.LoginRequest) (localapi.User, error) {
	named, given := localapi.User{SID: in.GetOwnerSid()}, in.GetOwnerSid() != ""
	if who.user.SID == "" {
		named, given = localapi.User{UID: in.GetOwnerUid()}, in.OwnerUid != nil
	}
	if !given || named == who.user {
		return who.user, nil
	}
	if !who.admin {
		return localapi.User{}, &localapi.Error{
			Code:   localapi.CodePermission,
			Cause:  fmt.Sprintf("sign in: %s may not sign in for %s", s.names.of(who.user), named),
			Remedy: "run the same command as administrator",
		}
	}
	return named, nil
}

func notPrintable(r rune) bool { return r <= ' ' || r >= 0x7f }

// parseURL takes an access URL. Its errors do not quote it: people paste
// tokens into the wrong place.
func parseURL(text string) (*url.URL, error) {
	bad := func(cause string) error {
		return &localapi.Error{
			Code: localapi.CodeUsage, Cause: "sign in: " + cause,
			Remedy: "give the address of the deployment, for example https://coder.example.com",
		}
	}
	access, err := url.Parse(strings.TrimSpace(text))
	switch {
	case err != nil:
		return nil, bad("the URL cannot be read")
	case access.Scheme != "https" && access.Scheme != "http":
		return nil, bad("the URL does not begin with https:// or http://")
	case access.Hostname() == "":
		return nil, bad("the URL has no host")
	case access.User != nil:
		return nil, bad("the URL holds a user or password")
	case access.RawQuery != "" || access.Fragment != "":
		return nil, bad("the URL holds a query or fragment")
	}
	access.Path = strings.TrimRight(access.Path, "/")
	return access, nil
}

// quoteForeign makes a text of the deployment's fit for a terminal: one line,
// no control characters, at most 200 bytes.
func quoteForeign(text string) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
	return strings.ToValidUTF8(text[:min(len(text), 200)], "")
}

// explainLogin says what went wrong with the check and what to do about it.
func explainLogin(access *url.URL, err error) error {
	failed := &localapi.Error{Code: localapi.CodeGeneric, Cause: fmt.Sprintf("sign in to %s: %s", access.Redacted(), err)}
	var rejected *client.Error
	switch {
	case errors.Is(err, client.ErrSignedOut):
		failed.Code = localapi.CodeNotSignedIn
		failed.Cause = fmt.Sprintf("sign in to %s: the deployment refuses the token", access.Redacted())
		if errors.As(err, &rejected) && rejected.Detail != "" {
			failed.Cause += ": " + quoteForeign(rejected.Detail)
		}
		failed.Remedy = "get a new token of your own (not an agent's): on a Coder deployment open " + access.JoinPath("cli-auth").Redacted() +
			", on a Causeway server run: causeway-server token create <user>"
	case errors.Is(err, client.ErrCertificate):
		failed.Remedy = "check the URL and the clock; if the deployment has a certificate authority of its own, give its certificate with --ca-file"
	case errors.Is(err, http.ErrSchemeMismatch):
		plain := *access
		plain.Scheme = "http"
		failed.Remedy = "this is plain HTTP; if that is meant, give the URL as " + plain.Redacted() +
			" (the token then crosses the network unencrypted)"
	case errors.Is(err, client.ErrNotControlPlane):
		failed.Remedy = "check the URL: give the address at which you open the deployment in a browser"
	case errors.Is(err, context.DeadlineExceeded):
		failed.Code = localapi.CodeTimeout
		failed.Remedy = "check the URL, the network and the firewall, and try again"
	case errors.As(err, &rejected):
		failed.Remedy = "check the URL; if it is right, ask who runs the deployment"
	default:
		failed.Remedy = "check the URL and that the deployment runs: open it in a browser on this machine"
	}
	return failed
}
