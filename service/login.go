package service

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/causewayhq/causeway/client"
	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

// verifyTimeout bounds the check of a token, with name look-up, TLS and answer.
const verifyTimeout = 20 * time.Second

// Login checks the token against the deployment and keeps it only if it is
// good; a failed login changes nothing.
func (s *Service) Login(ctx context.Context, in *localv1.LoginRequest) (*localv1.LoginResponse, error) {
	access, err := parseURL(in.GetUrl())
	if err != nil {
		return nil, err
	}
	token := client.Token(strings.TrimSpace(in.GetToken()))
	if token == "" || strings.ContainsFunc(string(token), notPrintable) {
		return nil, &localapi.Error{
			Code: localapi.CodeUsage, Cause: "sign in: the token is empty or holds characters that no token has",
			Remedy: "copy the token again, whole and alone",
		}
	}
	owner, err := s.ownerOf(ctx, in)
	if err != nil {
		return nil, err
	}
	s.verifying.Lock()
	defer s.verifying.Unlock()
	verifyCtx, cancel := context.WithTimeout(ctx, verifyTimeout)
	defer cancel()
	user, err := s.config.Verify(verifyCtx, access, token)
	if err != nil {
		return nil, explainLogin(access, err)
	}
	profile := &Profile{URL: access, Token: token, User: user.Username, UserID: user.ID.String()}
	number, err := s.change(func(next *state) { next.profile, next.owner = profile, &owner })
	if err != nil {
		return nil, err
	}
	s.logOwner(user.Username, owner)
	// A status that is asked for next is about this sign-in: a tunnel of the same
	// user goes on with the new token, and one of another user has gone.
	if err := s.settle(ctx, number); err != nil {
		return nil, fmt.Errorf("wait for the tunnel to take the token: %w", err)
	}
	return &localv1.LoginResponse{User: user.Username}, nil
}

// Logout forgets the credentials and takes the tunnel down. The owner stays,
// so that the same user can sign in again without root.
func (s *Service) Logout(ctx context.Context, _ *localv1.LogoutRequest) (*localv1.LogoutResponse, error) {
	s.verifying.Lock()
	defer s.verifying.Unlock()
	number, err := s.change(func(next *state) { next.profile, next.up = nil, false })
	if err != nil {
		return nil, err
	}
	s.config.Logger.Info("signed out")
	if err := s.stopped(ctx, number); err != nil {
		return nil, err
	}
	return &localv1.LogoutResponse{}, nil
}

// ownerOf is the user who may operate the tunnel after this login.
func (s *Service) ownerOf(ctx context.Context, in *localv1.LoginRequest) (localapi.User, error) {
	caller, ok := localapi.CallerFrom(ctx)
	if !ok {
		return localapi.User{}, errors.New("sign in: the caller is unknown")
	}
	// On Windows the tunnel is the caller's: an elevated process keeps its user.
	if in.OwnerUid == nil || caller.SID != "" || in.GetOwnerUid() == caller.UID {
		return caller.User(), nil
	}
	if !s.rule().Privileged(caller) {
		return localapi.User{}, &localapi.Error{
			Code:   localapi.CodePermission,
			Cause:  fmt.Sprintf("sign in: uid %d may not hand the tunnel to uid %d", caller.UID, in.GetOwnerUid()),
			Remedy: "run the same command with sudo",
		}
	}
	return localapi.User{UID: in.GetOwnerUid()}, nil
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
		failed.Remedy = "check the URL and the clock; if the deployment has a certificate authority of its own, add that to this system's trusted ones"
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
