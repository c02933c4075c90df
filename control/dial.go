package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"time"

	"github.com/coder/websocket"

	"github.com/causewayhq/causeway/proto"
)

// TokenHeader carries the session token of a user or of an agent.
const TokenHeader = "Coder-Session-Token"

// The paths that carry the Tailnet API.
const (
	UserPath  = "/api/v2/tailnet"
	AgentPath = "/api/v2/workspaceagents/me/rpc"
)

const (
	// dialTimeout bounds one dial. TCP repeats its first packet after 1, 3 and
	// 7 seconds, so that a network that heals meanwhile is used at once.
	dialTimeout = 10 * time.Second
	// A silent connection is noticed after at most pingInterval + pingTimeout.
	pingInterval = 5 * time.Second
	pingTimeout  = 5 * time.Second
	// probeTimeout bounds the ping after an event of the host, when a dead
	// connection is likely.
	probeTimeout = 2 * time.Second
)

// Dialer opens connections to the control plane.
type Dialer struct {
	// URL is the access URL of the deployment; a path in it is kept.
	URL *url.URL
	// Path of the API, UserPath or AgentPath.
	Path string
	// Version that is asked for. A Loop that finds none here asks for the lowest
	// that has what it needs.
	Version proto.Version
	// Query holds further parameters, for example role=agent.
	Query url.Values
	// Token gives the session token, at each dial.
	Token func() string
	// Header holds extra headers.
	Header http.Header
	// Headers gives more of them for each dial, which fails with its error; nil
	// for none.
	Headers func(context.Context) (http.Header, error)
	// HTTP is the client to use; nil is http.DefaultClient. It must not set a
	// Timeout: the deadline of the dial is the dialer's own.
	HTTP *http.Client
	// Logger may be nil.
	Logger *slog.Logger
}

// Dial opens one connection. The resume token is sent unless it is empty. A
// rejection by the control plane is a *DialError.
func (d *Dialer) Dial(ctx context.Context, resumeToken string) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	target := d.target(resumeToken)
	header := d.Header.Clone()
	if header == nil {
		header = http.Header{}
	}
	if d.Headers != nil {
		more, err := d.Headers(ctx)
		if err != nil {
			return nil, fmt.Errorf("dial %s: %w", d.URL.Redacted(), err)
		}
		maps.Copy(header, more)
	}
	header.Set(TokenHeader, d.Token())
	client, answer := sameHost(d.HTTP), &answer{}
	answer.next, client.Transport = client.Transport, answer
	//nolint:bodyclose // the library closes it
	socket, response, err := websocket.Dial(ctx, target.String(), &websocket.DialOptions{
		HTTPClient: client, HTTPHeader: header, CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		return nil, d.dialError(response, answer.body, err)
	}
	socket.SetReadLimit(-1)
	conn, err := newConn(socket)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", d.URL.Redacted(), err)
	}
	return conn, nil
}

func (d *Dialer) target(resumeToken string) *url.URL {
	target := d.URL.JoinPath(d.Path)
	query := target.Query()
	for key, values := range d.Query {
		query[key] = values
	}
	query.Set("version", d.Version.String())
	if resumeToken != "" {
		query.Set("resume_token", resumeToken)
	}
	target.RawQuery = query.Encode()
	return target
}

// dialError drops the URL that the HTTP client puts into its errors: it holds
// the resume token.
func (d *Dialer) dialError(response *http.Response, body []byte, err error) error {
	if response != nil && response.StatusCode != http.StatusSwitchingProtocols {
		return rejection(d.URL.Redacted(), response, body)
	}
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	return fmt.Errorf("dial %s: %w", d.URL.Redacted(), plainly(proxyFailed(d.client(), d.URL, err)))
}

func (d *Dialer) client() *http.Client {
	if d.HTTP == nil {
		return http.DefaultClient
	}
	return d.HTTP
}

// answer keeps the body of a rejection, of which the websocket library leaves
// only the first kilobyte.
type answer struct {
	next http.RoundTripper
	body []byte
}

// RoundTrip is for the HTTP client.
func (a *answer) RoundTrip(request *http.Request) (*http.Response, error) {
	next := a.next
	if next == nil {
		next = http.DefaultTransport
	}
	response, err := next.RoundTrip(request)
	if err != nil || response.StatusCode == http.StatusSwitchingProtocols {
		return response, err
	}
	// A body that breaks off is as good as what came of it.
	a.body, _ = io.ReadAll(io.LimitReader(response.Body, bodyLimit))
	response.Body.Close()
	response.Body = io.NopCloser(bytes.NewReader(a.body))
	return response, nil
}
