package client

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// serverToken begins the tokens of a causeway-server.
const serverToken = "cwu_"

// keyID is the part of a token that names it: ID-SECRET on a Coder deployment,
// cwu_ID_SECRET on causeway-server.
func keyID(token string) string {
	if rest, ours := strings.CutPrefix(token, serverToken); ours {
		id, _, _ := strings.Cut(rest, "_")
		return id
	}
	id, _, found := strings.Cut(token, "-")
	if !found {
		return ""
	}
	return id
}

// TokenExpiry asks when the client's own token ends, by the ID that names it. Zero is never, or a deployment that does not tell.
func (c *Client) TokenExpiry(ctx context.Context) (time.Time, error) {
	id := keyID(string(c.token))
	if id == "" {
		return time.Time{}, nil
	}
	var key struct {
		ExpiresAt time.Time `json:"expires_at"`
	}
	var rejected *Error
	err := c.get(ctx, "/api/v2/users/me/keys/"+url.PathEscape(id), &key)
	switch {
	case errors.As(err, &rejected) && (rejected.Status == http.StatusNotFound || rejected.Status == http.StatusMethodNotAllowed),
		errors.Is(err, ErrNotControlPlane): // an unknown page is the dashboard's on some deployments
		return time.Time{}, nil
	case err != nil:
		return time.Time{}, err
	}
	return key.ExpiresAt, nil
}
