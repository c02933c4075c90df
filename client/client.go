// Package client speaks the REST API of the control plane, as far as a desktop
// needs it: who am I, how are agents reached, and what is running there.
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/proto"
)

const (
	// tokenHeader carries the session token.
	tokenHeader = "Coder-Session-Token"
	// DefaultTimeout bounds one request with its answer.
	DefaultTimeout = 15 * time.Second
	// bodyLimit bounds an answer; a relay map of a thousand relays fits ten
	// times.
	bodyLimit = 4 << 20
)

// Token is a session token. It never shows in logs, errors or JSON.
type Token string

// redacted stands for a token wherever one would show.
const redacted = "[redacted]"

// LogValue redacts.
func (Token) LogValue() slog.Value { return slog.StringValue(redacted) }

// String redacts.
func (Token) String() string { return redacted }

// GoString redacts.
func (Token) GoString() string { return redacted }

// MarshalText redacts; whoever stores a token converts it to a string.
func (Token) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Options of a Client; the zero value is good.
type Options struct {
	// HTTP is the client to use; nil is one with Go's defaults.
	HTTP *http.Client
	// Header holds extra headers for each request.
	Header http.Header
	// Timeout of one request; 0 is DefaultTimeout.
	Timeout time.Duration
}

// Client is safe for concurrent use.
type Client struct {
	access  *url.URL
	token   Token
	http    *http.Client
	header  http.Header
	timeout time.Duration
}

// New makes a client for the deployment at the access URL. An empty token is
// good for BuildInfo only.
func New(access *url.URL, token Token, options Options) *Client {
	c := &Client{access: access, token: token, header: options.Header, timeout: options.Timeout}
	if c.timeout <= 0 {
		c.timeout = DefaultTimeout
	}
	inner := http.Client{}
	if options.HTTP != nil {
		inner = *options.HTTP
	}
	inner.CheckRedirect = sameHost
	c.http = &inner
	return c
}

// sameHost keeps the token header from following a redirect to another host,
// or from https to http.
func sameHost(request *http.Request, via []*http.Request) error {
	first := via[0].URL
	if len(via) >= 5 || request.URL.Host != first.Host || first.Scheme == "https" && request.URL.Scheme != "https" {
		return fmt.Errorf("follow redirect to %s://%s: refused, use that URL itself", request.URL.Scheme, request.URL.Host)
	}
	return nil
}

// User is who the token belongs to.
type User struct {
	ID       uuid.UUID `json:"id"`
	Username string    `json:"username"`
}

// Me asks who the token belongs to.
func (c *Client) Me(ctx context.Context) (User, error) {
	var user User
	if err := c.get(ctx, "/api/v2/users/me", &user); err != nil {
		return User{}, err
	}
	if user.ID == uuid.Nil || user.Username == "" {
		return User{}, fmt.Errorf("get %s: %w: no user in it", c.at("/api/v2/users/me"), ErrNotControlPlane)
	}
	return user, nil
}

// BuildInfo says what runs at the URL.
type BuildInfo struct {
	Version string `json:"version"`
}

// BuildInfo asks what runs at the URL; it needs no token.
func (c *Client) BuildInfo(ctx context.Context) (BuildInfo, error) {
	var info BuildInfo
	if err := c.get(ctx, "/api/v2/buildinfo", &info); err != nil {
		return BuildInfo{}, err
	}
	if info.Version == "" {
		return BuildInfo{}, fmt.Errorf("get %s: %w: no version in it", c.at("/api/v2/buildinfo"), ErrNotControlPlane)
	}
	return info, nil
}

// ConnectionInfo says how agents are reached.
type ConnectionInfo struct {
	// RelayMap has its embedded relays pointed at the access URL.
	RelayMap        proto.RelayMap
	DisableDirect   bool
	ForceWebsockets bool
	// HostnameSuffix is never empty: an older control plane means "coder".
	HostnameSuffix string
}

// DefaultSuffix is the suffix of a control plane that names none.
const DefaultSuffix = "coder"

// Connection asks how agents are reached.
func (c *Client) Connection(ctx context.Context) (ConnectionInfo, error) {
	var body connectionBody
	if err := c.get(ctx, "/api/v2/workspaceagents/connection", &body); err != nil {
		return ConnectionInfo{}, err
	}
	info, err := body.info()
	if err == nil {
		err = checkSuffix(info.HostnameSuffix, c.access.Hostname())
	}
	if err != nil {
		return ConnectionInfo{}, fmt.Errorf("get %s: %w", c.at("/api/v2/workspaceagents/connection"), err)
	}
	info.RelayMap = info.RelayMap.RewriteEmbedded(c.access)
	return info, nil
}

func (c *Client) at(path string) string { return c.access.JoinPath(path).Redacted() }

// get fetches and decodes one answer.
func (c *Client) get(ctx context.Context, path string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	response, err := c.do(ctx, http.MethodGet, path)
	if err != nil {
		return fmt.Errorf("get %s: %w", c.at(path), transportError(err))
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, bodyLimit+1))
	switch {
	case err != nil:
		return fmt.Errorf("get %s: read answer: %w", c.at(path), err)
	case len(body) > bodyLimit:
		return fmt.Errorf("get %s: answer is over %d bytes", c.at(path), bodyLimit)
	case response.StatusCode != http.StatusOK:
		return rejection(c.at(path), response.StatusCode, body)
	}
	if !strings.HasPrefix(response.Header.Get("Content-Type"), "application/json") && bytes.HasPrefix(bytes.TrimSpace(body), []byte("<")) {
		return fmt.Errorf("get %s: %w: a web page came back", c.at(path), ErrNotControlPlane)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("get %s: %w: %w", c.at(path), ErrNotControlPlane, err)
	}
	return nil
}

// do sends a request that has no body.
func (c *Client) do(ctx context.Context, method, path string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.access.JoinPath(path).String(), nil)
	if err != nil {
		return nil, err
	}
	for key, values := range c.header {
		request.Header[key] = values
	}
	request.Header.Set("Accept", "application/json")
	if c.token != "" {
		request.Header.Set(tokenHeader, string(c.token))
	}
	return c.http.Do(request)
}

// transportError drops the URL that the HTTP client repeats, and puts a
// certificate that does not verify into plain words.
func transportError(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	var verification *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var invalid x509.CertificateInvalidError
	if errors.As(err, &verification) || errors.As(err, &authority) || errors.As(err, &hostname) || errors.As(err, &invalid) {
		return fmt.Errorf("%w: %w", ErrCertificate, err)
	}
	return err
}
