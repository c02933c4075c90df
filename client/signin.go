package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"golang.org/x/oauth2"
)

const (
	// clientID is how a Causeway server knows this program; it is public.
	clientID     = "causeway"
	metadataPath = "/.well-known/oauth-authorization-server"
)

// How a sign-in can end, besides the caller's own end.
var (
	// ErrNoSignIn means that the deployment signs nobody in this way: an existing
	// Coder deployment has its page /cli-auth instead.
	ErrNoSignIn = errors.New("the deployment does not offer this way of signing in")
	// ErrDenied means that somebody refused the sign-in.
	ErrDenied = errors.New("the sign-in was denied")
	// ErrCodeExpired means that nobody approved in time.
	ErrCodeExpired = errors.New("the code has expired before anybody approved it")
	// ErrCodeUsed means that the deployment does not take the code: it was used
	// already, is too old, or is another's.
	ErrCodeUsed = errors.New("the deployment does not take the code: it was used already or is too old")
	// ErrNoCallback means that the browser never came back.
	ErrNoCallback = errors.New("no answer came from the browser")
	// ErrForeignEndpoint means that the deployment points elsewhere.
	ErrForeignEndpoint = errors.New("the deployment points to another place")
)

// GrantError is a refusal that none of the other errors names.
type GrantError struct {
	// Code is that of OAuth 2.0, "" if there is none.
	Code        string
	Description string
	Status      int
}

func (e *GrantError) Error() string {
	text := fmt.Sprintf("HTTP %d", e.Status)
	if e.Code != "" {
		text += ": " + e.Code
	}
	if e.Description != "" {
		text += ": " + e.Description
	}
	return text
}

// Grant is what a sign-in gives.
type Grant struct {
	Token Token
	// Expires is zero if the deployment does not say.
	Expires time.Time
}

// SignInOptions of [Discover]; the zero value is good.
type SignInOptions struct {
	Options
	// DeviceName is shown to who approves, and names the token.
	DeviceName string
	// Trouble is told about what goes wrong on the way without ending it.
	Trouble func(error)
}

// SignIn signs in to one deployment. It is made by [Discover] and is good for
// one flow at a time.
type SignIn struct {
	issuer   string // "" if answers do not name it
	config   oauth2.Config
	revoke   string
	s256     bool
	access   *url.URL
	inner    *http.Client
	options  SignInOptions
	deadline time.Duration
}

// metadata is the part of RFC 8414's document that matters here.
type metadata struct {
	Issuer        string   `json:"issuer"`
	Authorization string   `json:"authorization_endpoint"`
	Token         string   `json:"token_endpoint"`
	Device        string   `json:"device_authorization_endpoint"`
	Revocation    string   `json:"revocation_endpoint"`
	Challenges    []string `json:"code_challenge_methods_supported"`
	NamesIssuer   bool     `json:"authorization_response_iss_parameter_supported"`
}

// Discover asks how the deployment signs users in. [ErrNoSignIn] means that it
// has no ways but its pages.
func Discover(ctx context.Context, access *url.URL, options SignInOptions) (*SignIn, error) {
	client := New(access, "", options.Options)
	var found metadata
	err := client.get(ctx, metadataPath, &found)
	var rejected *Error
	absent := errors.Is(err, ErrNotControlPlane) || errors.As(err, &rejected) && (rejected.Status == http.StatusNotFound || rejected.Status == http.StatusMethodNotAllowed)
	switch {
	case absent:
		return nil, ErrNoSignIn
	case err != nil:
		return nil, err
	// A deployment that has its clients registered knows none of our name. Ours
	// needs no registration, and offers devices, which those do not.
	case found.Token == "" || found.Device == "":
		return nil, ErrNoSignIn
	}
	for _, endpoint := range []string{found.Authorization, found.Token, found.Device, found.Revocation} {
		if endpoint == "" {
			continue
		}
		if err := own(access, endpoint); err != nil {
			return nil, fmt.Errorf("get %s: %w", client.at(metadataPath), err)
		}
	}
	if !found.NamesIssuer {
		found.Issuer = ""
	}
	return &SignIn{
		issuer: found.Issuer, revoke: found.Revocation, s256: slices.Contains(found.Challenges, "S256"), access: access,
		config: oauth2.Config{ClientID: clientID, Endpoint: oauth2.Endpoint{
			AuthURL: found.Authorization, TokenURL: found.Token, DeviceAuthURL: found.Device,
			// The other styles are tried one after the other, and a code is good once.
			AuthStyle: oauth2.AuthStyleInParams,
		}},
		inner: client.http, options: options, deadline: client.timeout,
	}, nil
}

// own refuses an address that is not the deployment's: a token or a password
// would go elsewhere, or unencrypted.
func own(access *url.URL, endpoint string) error {
	target, err := url.Parse(endpoint)
	switch {
	case err != nil || target.User != nil:
		return fmt.Errorf("%w: an address in its answer cannot be read", ErrForeignEndpoint)
	case target.Scheme == access.Scheme && strings.EqualFold(target.Host, access.Host):
		return nil
	case target.Scheme == "https" && access.Scheme == "http" && strings.EqualFold(target.Hostname(), access.Hostname()):
		return nil // better than asked for
	}
	return fmt.Errorf("%w: %s://%s", ErrForeignEndpoint, oneLine(target.Scheme), oneLine(target.Host))
}

// CanBrowser says whether Browser is offered.
func (s *SignIn) CanBrowser() bool { return s.config.Endpoint.AuthURL != "" && s.s256 }

// maxGrantBody bounds an answer of a flow.
const maxGrantBody = 1 << 20

// context is what the oauth2 library sends by.
func (s *SignIn) context(ctx context.Context, wrap func(http.RoundTripper) http.RoundTripper) context.Context {
	inner := *s.inner
	var next http.RoundTripper = flowTransport{ctx, s.deadline, inner.Transport, s.options.Header}
	if wrap != nil {
		next = wrap(next)
	}
	inner.Transport = next
	return context.WithValue(ctx, oauth2.HTTPClient, &inner)
}

// flowTransport sends the requests of one flow and reads their answers whole:
// the library makes a request without a context, and leaves an answer open.
type flowTransport struct {
	ctx      context.Context
	deadline time.Duration
	next     http.RoundTripper // nil is the default
	header   http.Header
}

// RoundTrip adds the headers and ends with the flow.
func (t flowTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(request.Context(), t.deadline)
	defer cancel()
	defer context.AfterFunc(t.ctx, cancel)()
	sent := request.Clone(ctx)
	for key, values := range t.header {
		sent.Header[key] = values
	}
	sent.Header.Set("Accept", "application/json")
	next := t.next
	if next == nil {
		next = http.DefaultTransport
	}
	response, err := next.RoundTrip(sent)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxGrantBody))
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	response.Body = io.NopCloser(bytes.NewReader(body))
	return response, nil
}

// deviceName is how the token and the page call this machine.
func (s *SignIn) deviceName() oauth2.AuthCodeOption {
	return oauth2.SetAuthURLParam("device_name", s.options.DeviceName)
}

// grant takes the library's token; it must be one that headers can carry.
func (s *SignIn) grant(token *oauth2.Token) (Grant, error) {
	if strings.ContainsFunc(token.AccessToken, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return Grant{}, fmt.Errorf("%w: what came back is no token", ErrNotControlPlane)
	}
	return Grant{Token: Token(token.AccessToken), Expires: token.Expiry}, nil
}

// explain drops what the library quotes: its errors hold whole answers.
func explain(ctx context.Context, err error) error {
	var refused *oauth2.RetrieveError
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &refused):
		switch refused.ErrorCode {
		case "access_denied":
			return ErrDenied
		case "expired_token":
			return ErrCodeExpired
		case "invalid_grant":
			return ErrCodeUsed
		}
		return &GrantError{Code: oneLine(refused.ErrorCode), Description: oneLine(refused.ErrorDescription), Status: refused.Response.StatusCode}
	}
	var transport *url.Error
	if errors.As(err, &transport) {
		return transportError(err)
	}
	return fmt.Errorf("%w: the answer cannot be read", ErrNotControlPlane)
}

// oneLine makes a foreign text fit for a terminal: printable, at most 200 bytes.
func oneLine(text string) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text[:min(len(text), 200)])
	return strings.ToValidUTF8(text, "")
}

// Revoke has the deployment end the client's own token: a Causeway server by
// RFC 7009, an existing Coder deployment by its sign-out.
func (c *Client) Revoke(ctx context.Context) error {
	signIn, err := Discover(ctx, c.access, SignInOptions{Options: Options{HTTP: c.http, Header: c.header, Timeout: c.timeout}})
	if err == nil && signIn.revoke != "" {
		return signIn.revokeToken(ctx, c.token)
	}
	if err != nil && !errors.Is(err, ErrNoSignIn) {
		return err
	}
	const path = "/api/v2/users/logout"
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	response, err := c.do(ctx, http.MethodPost, path)
	if err != nil {
		return fmt.Errorf("post %s: %w", c.at(path), transportError(err))
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusOK, http.StatusNoContent, http.StatusUnauthorized: // the last: it is no more
		return nil
	}
	return fmt.Errorf("post %s: HTTP %d: %s", c.at(path), response.StatusCode, http.StatusText(response.StatusCode))
}

func (s *SignIn) revokeToken(ctx context.Context, token Token) error {
	ctx, cancel := context.WithTimeout(ctx, s.deadline)
	defer cancel()
	form := url.Values{"token": {string(token)}, "token_type_hint": {"access_token"}, "client_id": {clientID}}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.revoke, strings.NewReader(form.Encode()))
	if err != nil {
		return fmt.Errorf("post %s: %w", s.revoke, err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := s.context(ctx, nil).Value(oauth2.HTTPClient).(*http.Client).Do(request)
	if err != nil {
		return fmt.Errorf("post %s: %w", s.revoke, transportError(err))
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("post %s: HTTP %d: %s", s.revoke, response.StatusCode, http.StatusText(response.StatusCode))
	}
	return nil
}
