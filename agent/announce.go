package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/causewayhq/causeway/control"
	"github.com/causewayhq/causeway/proto/agentv2"
)

const (
	// suffixPath tells, among other things, what the names of the deployment end with.
	suffixPath = "/api/v2/workspaceagents/connection"
	// suffixLimit is how long the name may take, which is for people to read.
	suffixLimit = 5 * time.Second
	// suffixMost bounds the answer, whose relay map has a few KiB.
	suffixMost = 1 << 20
	// defaultSuffix is that of deployments that do not say.
	defaultSuffix = "coder"
)

// announcing tells, once the control plane has accepted the agent, under which
// names it can be reached.
type announcing struct{ agent *agent }

func (n announcing) Run(ctx context.Context, _ agentv2.DRPCAgentClient) error {
	a := n.agent
	a.mu.Lock()
	told, manifest := a.announced, a.manifest
	a.mu.Unlock()
	if told || a.config.Connected == nil {
		return nil
	}
	suffix, err := a.suffix(ctx)
	if err != nil {
		a.log.Debug("suffix of names not known", slog.String("error", err.Error()))
		suffix = defaultSuffix
	}
	if ctx.Err() != nil {
		return nil // the next connection tells
	}
	a.mu.Lock()
	a.announced = true
	a.mu.Unlock()
	a.config.Connected(manifest.names(suffix))
	return nil
}

// suffix is what the deployment's names end with, without a dot in front.
func (a *agent) suffix(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, suffixLimit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, a.config.URL.JoinPath(suffixPath).String(), nil)
	if err != nil {
		return "", err
	}
	if a.config.Header != nil {
		request.Header = a.config.Header.Clone()
	}
	request.Header.Set(control.TokenHeader, string(a.tokens.current()))
	request.Close = true // it is asked once
	// A redirect would show the token to whom the control plane names.
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("the control plane answers %s", response.Status)
	}
	var body struct {
		Suffix string `json:"hostname_suffix"`
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, suffixMost)).Decode(&body); err != nil {
		return "", fmt.Errorf("read answer: %w", err)
	}
	return readSuffix(body.Suffix)
}

// readSuffix takes what can end a name, which is printed as it is.
func readSuffix(text string) (string, error) {
	suffix := strings.ToLower(strings.TrimPrefix(text, "."))
	// 253 bytes are the most of a name (RFC 1035, 2.3.4).
	if suffix == "" || len(suffix) > 253 || strings.Trim(suffix, "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" {
		return "", errors.New("the control plane names no suffix")
	}
	return suffix, nil
}
