// Package gitauth lets git in the workspace sign in as the workspace's owner:
// over SSH with the key, over HTTPS with the passwords, that the control plane
// keeps. It offers two sockets that only the agent's own user can reach: one
// that speaks the protocol of SSH agents, so that the private key stays in this
// process, and one that answers git's questions for a user name and a password.
package gitauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

const (
	// fetchLimit bounds one question to the control plane: git waits for it.
	fetchLimit = 10 * time.Second
	// keyAge is how long a key counts as current. An older one is used on when the
	// control plane cannot be asked.
	keyAge = 5 * time.Minute
	// retryAfter spares git's many connections the wait for a control plane that
	// has just not answered.
	retryAfter = 10 * time.Second
	// answerMost bounds an answer; a real one has under 2 KiB.
	answerMost = 64 << 10
)

// tokenHeader carries the agent's token.
const tokenHeader = "Coder-Session-Token"

// ErrNone is the answer when nothing is stored for a host.
var ErrNone = errors.New("nothing is stored for this host")

// Config is what the sockets need.
type Config struct {
	Logger *slog.Logger
	// URL is the access URL of the deployment.
	URL *url.URL
	// Token authenticates the agent, at each request.
	Token func() string
	// Header is added to each request.
	Header http.Header
	// HTTP is the client to use; nil is http.DefaultClient.
	HTTP *http.Client
	// Directory gets the sockets. It must be one that only this user can enter.
	Directory string
}

// Credential is what git signs in with over HTTPS. It never prints its password.
type Credential struct {
	Username string
	Password Password
}

// Password prints redacted.
type Password string

func (Password) String() string { return "[redacted]" }

// LogValue keeps it out of logs.
func (Password) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// Server answers git. Its methods may be used from any goroutine.
type Server struct {
	config Config

	mu      sync.Mutex
	keyring agent.ExtendedAgent // nil until a key was there
	fetched time.Time           // of the key
	failed  time.Time           // of the last question without an answer
	cause   error
}

// New makes a server. Serve starts it.
func New(config Config) *Server {
	if config.HTTP == nil {
		config.HTTP = http.DefaultClient
	}
	return &Server{config: config}
}

// key is the owner's key as an SSH agent has it: a current one, else the last.
func (s *Server) key(ctx context.Context) (agent.ExtendedAgent, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	switch {
	case s.keyring != nil && now.Sub(s.fetched) < keyAge:
		return s.keyring, nil
	case s.cause != nil && now.Sub(s.failed) < retryAfter:
		if s.keyring != nil {
			return s.keyring, nil
		}
		return nil, s.cause
	}
	keyring, err := s.fetchKey(ctx)
	if err != nil {
		if s.cause == nil {
			s.config.Logger.Warn("git key was not fetched", slog.String("error", err.Error()))
		}
		s.failed, s.cause = now, err
		if s.keyring != nil && !errors.Is(err, ErrNone) {
			return s.keyring, nil
		}
		return nil, err
	}
	s.keyring, s.fetched, s.cause = keyring, now, nil
	return keyring, nil
}

func (s *Server) fetchKey(ctx context.Context) (agent.ExtendedAgent, error) {
	var body struct {
		PrivateKey string `json:"private_key"`
	}
	if err := s.get(ctx, "/api/v2/workspaceagents/me/gitsshkey", nil, &body); err != nil {
		return nil, fmt.Errorf("fetch git key: %w", err)
	}
	private, err := ssh.ParseRawPrivateKey([]byte(body.PrivateKey))
	if err != nil {
		return nil, fmt.Errorf("read git key: %w", err)
	}
	keyring, _ := agent.NewKeyring().(agent.ExtendedAgent)
	if err := keyring.Add(agent.AddedKey{PrivateKey: private, Comment: "causeway"}); err != nil {
		return nil, fmt.Errorf("read git key: %w", err)
	}
	return keyring, nil
}

// Credential is what the owner has stored for the host of the URL; without
// any, ErrNone.
func (s *Server) Credential(ctx context.Context, target string) (Credential, error) {
	var body struct {
		Username    string `json:"username"`
		Password    string `json:"password"`
		AccessToken string `json:"access_token"`
	}
	if err := s.get(ctx, "/api/v2/workspaceagents/me/external-auth", url.Values{"match": {target}}, &body); err != nil {
		return Credential{}, fmt.Errorf("fetch git credential: %w", err)
	}
	result := Credential{Username: body.Username, Password: Password(body.Password)}
	switch {
	case body.Password == "" && body.AccessToken != "" && body.Username == "":
		// A deployment that has only a token for the host: the common hosts take
		// it in the place of the name.
		result = Credential{Username: body.AccessToken}
	case body.Password == "":
		result.Password = Password(body.AccessToken)
	}
	if result.Username == "" {
		return Credential{}, ErrNone
	}
	return result, nil
}

// get asks the control plane. An answer that it has nothing is ErrNone.
func (s *Server) get(ctx context.Context, path string, query url.Values, into any) error {
	ctx, cancel := context.WithTimeout(ctx, fetchLimit)
	defer cancel()
	target := s.config.URL.JoinPath(path)
	target.RawQuery = query.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return err
	}
	if s.config.Header != nil {
		request.Header = s.config.Header.Clone()
	}
	request.Header.Set(tokenHeader, s.config.Token())
	client := *s.config.HTTP
	// A redirect would show the token to whom the control plane names.
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return ErrNone
	default:
		return fmt.Errorf("%s answers %s", s.config.URL.Redacted(), response.Status)
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, answerMost)).Decode(into); err != nil {
		return fmt.Errorf("read answer of %s: %w", s.config.URL.Redacted(), err)
	}
	return nil
}
