package signin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/causewayhq/causeway/server/limit"
	"github.com/causewayhq/causeway/server/store"
)

// tokenLife is that of tokens that come of a sign-in, the same as of those that
// the API makes.
const tokenLife = 30 * 24 * time.Hour

type deviceAnswer struct {
	DeviceCode      string `json:"device_code"`
	UserCode        string `json:"user_code"`
	VerificationURI string `json:"verification_uri"`
	Complete        string `json:"verification_uri_complete"`
	ExpiresIn       int    `json:"expires_in"`
	Interval        int    `json:"interval"`
}

// startDevice is the device authorization endpoint.
func (s *Server) startDevice(r *http.Request, form url.Values) (any, *oauthError) {
	if form.Get("client_id") != clientID {
		return nil, errClient
	}
	now, address := time.Now(), limit.Address(r)
	if wait := s.starts.Take(address, now); wait > 0 {
		return nil, busy(http.StatusTooManyRequests, "Too many sign-ins from this address in a short time.", wait)
	}
	device, user, problem := s.grants.addDevice(cleanName(form.Get("device_name")), hostOf(r), address, now)
	if problem != nil {
		return nil, problem
	}
	page := s.config.AccessURL + "/device"
	return deviceAnswer{device, user, page, page + "?user_code=" + user, int(deviceLife / time.Second), int(pollInterval / time.Second)}, nil
}

func hostOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return "an unknown address"
	}
	return host
}

// nameLimit bounds the name of a device, in characters.
const nameLimit = 64

// cleanName is how a device may call itself before people and in lists: one line
// of characters that show what they are. It says nothing that can be relied on.
func cleanName(name string) string {
	var clean []rune
	for word := range strings.FieldsSeq(name) {
		if len(clean) > 0 {
			clean = append(clean, ' ')
		}
		for _, char := range word {
			// Not printable are controls and marks that turn the direction of text.
			if unicode.IsPrint(char) {
				clean = append(clean, char)
			}
		}
	}
	if len(clean) > nameLimit {
		clean = clean[:nameLimit]
	}
	// The store's limit on names of tokens is in bytes.
	for len(string(clean)) > 128 {
		clean = clean[:len(clean)-1]
	}
	return strings.TrimSpace(string(clean))
}

type tokenAnswer struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"`
	ExpiresIn   int    `json:"expires_in"`
}

// token is the token endpoint.
func (s *Server) token(r *http.Request, form url.Values) (any, *oauthError) {
	if form.Get("client_id") != clientID {
		return nil, errClient
	}
	switch form.Get("grant_type") {
	case grantDevice:
		return s.exchangeDevice(r.Context(), form)
	case grantCode:
		return s.exchangeCode(r.Context(), form)
	case "":
		return nil, missingField("grant_type")
	}
	return nil, errGrantType
}

func (s *Server) exchangeDevice(ctx context.Context, form url.Values) (any, *oauthError) {
	if form.Get("device_code") == "" {
		return nil, missingField("device_code")
	}
	grant, problem := s.grants.poll(form.Get("device_code"), time.Now())
	if problem != nil {
		return nil, problem
	}
	_, answer, problem := s.issue(ctx, grant.owner, grant.name)
	if problem == errStore {
		s.grants.putBack(grant)
	}
	return answer, problem
}

func (s *Server) exchangeCode(ctx context.Context, form url.Values) (any, *oauthError) {
	if form.Get("code") == "" {
		return nil, missingField("code")
	}
	grant := s.grants.code(form.Get("code"))
	if grant == nil {
		return nil, errAuthCode
	}
	grant.mu.Lock()
	defer grant.mu.Unlock()
	switch {
	case grant.token != "":
		// Somebody has the code who should not: one of the two (RFC 6749, 4.1.2).
		if problem := s.revoke(ctx, grant.token, "a sign-in code was used twice"); problem != nil {
			return nil, problem
		}
		grant.token, grant.dead = "", true
		return nil, errAuthCode
	case grant.dead || time.Since(grant.issued) >= codeLife:
		return nil, errAuthCode
	case form.Get("redirect_uri") != grant.redirect || !provesChallenge(form.Get("code_verifier"), grant.challenge):
		grant.dead = true
		return nil, errMismatch
	}
	name := grant.name
	if name == "" {
		name = cleanName(form.Get("device_name"))
	}
	id, answer, problem := s.issue(ctx, grant.owner, name)
	grant.token = id
	return answer, problem
}

// provesChallenge holds a verifier to its challenge (RFC 7636, 4.6).
func provesChallenge(verifier, challenge string) bool {
	if len(verifier) < 43 || len(verifier) > 128 || strings.Trim(verifier, unreserved) != "" {
		return false
	}
	sum := sha256.Sum256([]byte(verifier))
	return subtle.ConstantTimeCompare([]byte(base64.RawURLEncoding.EncodeToString(sum[:])), []byte(challenge)) == 1
}

// unreserved are the characters of a verifier (RFC 7636, 4.1).
const unreserved = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"

// issue makes a user's token. A password that was changed since the user said
// yes takes that back.
func (s *Server) issue(ctx context.Context, owner store.Proof, name string) (string, any, *oauthError) {
	if name == "" {
		name = "unnamed device"
	}
	token, secret, err := s.config.Store.CreateProvenToken(ctx, owner, name, tokenLife)
	switch {
	case errors.Is(err, store.ErrProofEnded):
		return "", nil, errUserGone
	case err != nil:
		return "", nil, s.trouble(ctx, err)
	}
	s.config.Logger.Info("token issued by sign-in", slog.String("user", owner.User.Name), slog.String("token", token.ID), slog.String("name", name))
	return token.ID, tokenAnswer{secret.Reveal(), "Bearer", int(tokenLife / time.Second)}, nil
}

// trouble logs what is wrong with the database, and tells nobody else.
func (s *Server) trouble(ctx context.Context, err error) *oauthError {
	s.logTrouble(ctx, err)
	return errStore
}

func (s *Server) logTrouble(ctx context.Context, err error) {
	if ctx.Err() == nil {
		s.config.Logger.Error("sign-in failed", slog.Any("error", err))
	}
}

func (s *Server) revoke(ctx context.Context, id, why string) *oauthError {
	// Whoever asks may be gone: the token must not outlive that.
	ctx = context.WithoutCancel(ctx)
	if err := s.config.Store.RevokeToken(ctx, id); err != nil && !errors.Is(err, store.ErrNotFound) {
		return s.trouble(ctx, err)
	}
	s.config.Logger.Warn("token revoked", slog.String("token", id), slog.String("why", why))
	s.config.Changed()
	return nil
}

// revokeToken is the revocation endpoint: whoever holds a token may end it. What
// is no token is none afterwards either (RFC 7009, 2.2).
func (s *Server) revokeToken(r *http.Request, form url.Values) (any, *oauthError) {
	if form.Get("client_id") != clientID {
		return nil, errClient
	}
	if form.Get("token") == "" {
		return nil, missingField("token")
	}
	_, token, err := s.config.Store.AuthenticateUser(r.Context(), form.Get("token"))
	switch {
	case err == nil:
		return nil, s.revoke(r.Context(), token.ID, "its holder asked for it")
	case errors.Is(err, store.ErrAgentToken):
		return nil, errAgentToken
	case errors.Is(err, store.ErrTokenUnknown), errors.Is(err, store.ErrTokenExpired), errors.Is(err, store.ErrTokenRevoked):
		return nil, nil
	}
	return nil, s.trouble(r.Context(), err)
}
