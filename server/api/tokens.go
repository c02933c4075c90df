package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/server/store"
)

// defaultTokenLifetime is for requests that name none.
const defaultTokenLifetime = 30 * 24 * time.Hour

// maxTokenLifetime keeps the sum of now and a lifetime inside every date format.
const maxTokenLifetime = 100 * 365 * 24 * time.Hour

type createTokenBody struct {
	// Lifetime is in nanoseconds, as the clients of this path send it.
	Lifetime time.Duration `json:"lifetime"`
	Name     string        `json:"token_name"`
	Scope    string        `json:"scope"`
}

func (s *Server) createToken(r *http.Request) (int, any, error) {
	user, err := s.self(r)
	if err != nil {
		return 0, nil, err
	}
	var request createTokenBody
	if err := readJSON(r, &request); err != nil {
		return 0, nil, err
	}
	switch {
	case request.Lifetime != 0 && request.Lifetime < time.Second || request.Lifetime > maxTokenLifetime:
		return 0, nil, rejectField(http.StatusBadRequest, "The lifetime is not valid.", "lifetime", "Use nanoseconds between 1 second and 100 years.")
	case request.Scope != "" && request.Scope != "all":
		return 0, nil, rejectField(http.StatusBadRequest, "The scope is not known.", "scope", `Only "all" exists.`)
	case len(request.Name) > tokenNameLimit:
		return 0, nil, rejectField(http.StatusBadRequest, "The name is too long.", "token_name", "Use at most 128 bytes.")
	case request.Lifetime == 0:
		request.Lifetime = defaultTokenLifetime
	}
	token, secret, err := s.config.Store.CreateUserToken(r.Context(), user.ID, request.Name, request.Lifetime)
	if err != nil {
		return 0, nil, err
	}
	// All tokens of the user may have been revoked meanwhile, that of this request
	// too: a new one is not to be left of them.
	if _, err := s.self(r); err != nil {
		return 0, nil, errors.Join(err, s.config.Store.RevokeToken(context.WithoutCancel(r.Context()), token.ID))
	}
	return http.StatusCreated, map[string]string{"key": secret.Reveal()}, nil
}

// tokenNameLimit bounds a name that is free text.
const tokenNameLimit = 128

type tokenBody struct {
	ID              string    `json:"id"`
	UserID          uuid.UUID `json:"user_id"`
	Name            string    `json:"token_name"`
	CreatedAt       time.Time `json:"created_at"`
	UpdatedAt       time.Time `json:"updated_at"`
	ExpiresAt       time.Time `json:"expires_at"`
	LoginType       string    `json:"login_type"`
	Scope           string    `json:"scope"`
	LifetimeSeconds int64     `json:"lifetime_seconds"`
}

func describeToken(token store.Token) tokenBody {
	body := tokenBody{
		ID: token.ID, UserID: token.UserID, Name: token.Name, CreatedAt: token.CreatedAt, UpdatedAt: token.CreatedAt,
		ExpiresAt: token.ExpiresAt, LoginType: "token", Scope: "all",
	}
	if !token.ExpiresAt.IsZero() {
		body.LifetimeSeconds = int64(token.ExpiresAt.Sub(token.CreatedAt).Seconds())
	}
	return body
}

func (s *Server) listTokens(r *http.Request) (int, any, error) {
	user, err := s.self(r)
	if err != nil {
		return 0, nil, err
	}
	tokens, err := s.config.Store.UserTokens(r.Context(), user.ID)
	bodies := make([]tokenBody, 0, len(tokens))
	for _, token := range tokens {
		if !token.RevokedAt.IsZero() {
			continue
		}
		bodies = append(bodies, describeToken(token))
	}
	return http.StatusOK, bodies, err
}

// ownToken finds the token that {key} names among the user's own. Its id is the
// part of a token between the two underlines.
func (s *Server) ownToken(r *http.Request) (store.Token, error) {
	user, err := s.self(r)
	if err != nil {
		return store.Token{}, err
	}
	token, err := s.config.Store.Token(r.Context(), r.PathValue("key"))
	if err == nil && token.UserID != user.ID {
		err = notFound()
	}
	return token, err
}

// getToken tells a client when its token ends; the zero time is never. One that
// was revoked is gone.
func (s *Server) getToken(r *http.Request) (int, any, error) {
	token, err := s.ownToken(r)
	if err == nil && !token.RevokedAt.IsZero() {
		err = notFound()
	}
	return http.StatusOK, describeToken(token), err
}

func (s *Server) deleteToken(r *http.Request) (int, any, error) {
	token, err := s.ownToken(r)
	if err != nil {
		return 0, nil, err
	}
	if err := s.config.Store.RevokeToken(r.Context(), token.ID); err != nil {
		return 0, nil, err
	}
	s.changed()
	return http.StatusNoContent, nil, nil
}
