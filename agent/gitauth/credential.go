package gitauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
)

// credentialPath is asked with the URL in the parameter "url".
const credentialPath = "/credential"

type credentialBody struct {
	Username string `json:"username"`
	Password string `json:"password"`
}

// answer serves the socket for credentials. Who can open it may read what it
// says: it is the file's mode that guards it.
func (s *Server) answer(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet || r.URL.Path != credentialPath {
		http.NotFound(w, r)
		return
	}
	credential, err := s.Credential(r.Context(), r.URL.Query().Get("url"))
	switch {
	case errors.Is(err, ErrNone):
		http.Error(w, err.Error(), http.StatusNotFound)
	case err != nil:
		s.config.Logger.Warn("git credential was not fetched", slog.String("error", err.Error()))
		http.Error(w, err.Error(), http.StatusBadGateway)
	default:
		w.Header().Set("Content-Type", "application/json")
		// A failure here is git's, which has gone.
		_ = json.NewEncoder(w).Encode(credentialBody{credential.Username, string(credential.Password)})
	}
}

// Ask asks the agent whose sockets lie in the directory for what git signs in
// with at the URL. ErrNone says that nothing is stored.
func Ask(ctx context.Context, directory, target string) (Credential, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*fetchLimit)
	defer cancel()
	socket := filepath.Join(directory, CredentialSocket)
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var dialer net.Dialer
		return dialer.DialContext(ctx, "unix", socket)
	}}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://agent"+credentialPath+"?"+url.Values{"url": {target}}.Encode(), nil)
	if err != nil {
		return Credential{}, fmt.Errorf("ask the agent: %w", err)
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return Credential{}, fmt.Errorf("ask the agent: %w", err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(io.LimitReader(response.Body, answerMost))
	switch {
	case err != nil:
		return Credential{}, fmt.Errorf("ask the agent: %w", err)
	case response.StatusCode == http.StatusNotFound:
		return Credential{}, ErrNone
	case response.StatusCode != http.StatusOK:
		return Credential{}, fmt.Errorf("ask the agent: %.200s", content)
	}
	var body credentialBody
	if err := json.Unmarshal(content, &body); err != nil {
		return Credential{}, fmt.Errorf("ask the agent: %w", err)
	}
	return Credential{body.Username, Password(body.Password)}, nil
}
