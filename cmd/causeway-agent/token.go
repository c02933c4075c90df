package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/causewayhq/causeway/agent"
)

var (
	errTokens  = errors.New("--token, --token-file and --token-command exclude each other")
	errNoToken = errors.New("no token: set CAUSEWAY_AGENT_TOKEN or give --token-file")
)

// tokenSource is what the user has chosen. A file is read at once too, so that a
// mistake shows before anything else is tried.
func (o options) tokenSource(stdin io.Reader) (agent.TokenSource, error) {
	words := strings.Fields(o.tokenCommand)
	switch {
	case len(words) > 0 && (o.token != "" || o.tokenFile != ""):
		return nil, errTokens
	case len(words) > 0 && !filepath.IsAbs(words[0]):
		// The search path is not the user's choice of who hands out the token.
		return nil, fmt.Errorf("--token-command %q: want the absolute path of a program", words[0])
	case len(words) > 0:
		return agent.TokenCommand(words[0], words[1:]...), nil
	}
	token, err := o.readToken(stdin)
	switch {
	case errors.Is(err, errNoToken):
		return nil, fmt.Errorf("%w or --token-command", err)
	case err != nil:
		return nil, err
	}
	if o.tokenFile != "" && o.tokenFile != "-" {
		return agent.TokenFile(o.tokenFile), nil
	}
	return agent.FixedToken(token), nil
}

// readToken reads the token that does not change, or as it is now.
func (o options) readToken(stdin io.Reader) (agent.Token, error) {
	text := o.token
	switch {
	case o.token != "" && o.tokenFile != "":
		return "", errTokens
	case o.token != "":
	case o.tokenFile == "-":
		token, err := agent.ReadToken(stdin)
		if err != nil {
			return "", fmt.Errorf("read token from standard input: %w", err)
		}
		return token, nil
	case o.tokenFile != "":
		return agent.TokenFile(o.tokenFile)(context.Background())
	default:
		text = os.Getenv(agent.TokenVariable)
	}
	if strings.TrimSpace(text) == "" {
		return "", errNoToken
	}
	token, err := agent.ReadToken(strings.NewReader(text))
	if err != nil {
		return "", fmt.Errorf("read token: %w", err)
	}
	return token, nil
}
