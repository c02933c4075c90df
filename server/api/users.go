package api

import (
	"crypto/subtle"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/server/store"
)

type roleBody struct {
	Name        string `json:"name"`
	DisplayName string `json:"display_name"`
}

type userBody struct {
	ID              uuid.UUID   `json:"id"`
	Username        string      `json:"username"`
	Name            string      `json:"name"`
	Email           string      `json:"email"`
	AvatarURL       string      `json:"avatar_url"`
	CreatedAt       time.Time   `json:"created_at"`
	UpdatedAt       time.Time   `json:"updated_at"`
	Status          string      `json:"status"`
	LoginType       string      `json:"login_type"`
	OrganizationIDs []uuid.UUID `json:"organization_ids"`
	Roles           []roleBody  `json:"roles"`
}

func describeUser(user store.User) userBody {
	body := userBody{
		ID: user.ID, Username: user.Name, Email: user.Email, CreatedAt: user.CreatedAt, UpdatedAt: user.CreatedAt,
		Status: "active", LoginType: "token", OrganizationIDs: []uuid.UUID{}, Roles: []roleBody{},
	}
	if user.Admin {
		body.Roles = append(body.Roles, roleBody{"owner", "Owner"})
	}
	return body
}

func (s *Server) getUser(r *http.Request) (int, any, error) {
	user, err := s.subject(r)
	return http.StatusOK, describeUser(user), err
}

func (s *Server) listUsers(r *http.Request) (int, any, error) {
	if _, err := s.admin(r); err != nil {
		return 0, nil, err
	}
	users, err := s.config.Store.Users(r.Context())
	bodies := make([]userBody, 0, len(users))
	for _, user := range users {
		bodies = append(bodies, describeUser(user))
	}
	return http.StatusOK, map[string]any{"users": bodies, "count": len(bodies)}, err
}

type createUserBody struct {
	Username string `json:"username"`
	Email    string `json:"email"`
}

func (s *Server) createUser(r *http.Request) (int, any, error) {
	if _, err := s.admin(r); err != nil {
		return 0, nil, err
	}
	var request createUserBody
	if err := readJSON(r, &request); err != nil {
		return 0, nil, err
	}
	user, err := s.config.Store.CreateUser(r.Context(), request.Username, request.Email)
	return http.StatusCreated, describeUser(user), err
}

func (s *Server) deleteUser(r *http.Request) (int, any, error) {
	if _, err := s.admin(r); err != nil {
		return 0, nil, err
	}
	user, err := s.subject(r)
	if err != nil {
		return 0, nil, err
	}
	if err := s.config.Store.DeleteUser(r.Context(), user.ID); err != nil {
		return 0, nil, err
	}
	s.changed()
	return http.StatusNoContent, nil, nil
}

// hasFirstUser answers 200 when the deployment is set up and 404 before.
func (s *Server) hasFirstUser(r *http.Request) (int, any, error) {
	count, err := s.config.Store.UserCount(r.Context())
	if err == nil && count == 0 {
		err = reject(http.StatusNotFound, "The initial user has not been created!", "")
	}
	return http.StatusOK, map[string]string{"message": "The initial user has already been created!"}, err
}

type firstUserBody struct {
	createUserBody
	SetupCode string `json:"setup_code"`
}

// createFirstUser makes the first user and its first token. The setup code,
// which only who starts the server sees, keeps a fresh server from belonging to
// whoever finds it first.
func (s *Server) createFirstUser(r *http.Request) (int, any, error) {
	var request firstUserBody
	if err := readJSON(r, &request); err != nil {
		return 0, nil, err
	}
	if count, err := s.config.Store.UserCount(r.Context()); err != nil || count > 0 {
		if err == nil {
			err = reject(http.StatusConflict, "The initial user has already been created.", "")
		}
		return 0, nil, err
	}
	code := s.config.SetupCode
	if code == "" || subtle.ConstantTimeCompare([]byte(request.SetupCode), []byte(code)) != 1 {
		return 0, nil, rejectField(http.StatusForbidden, "The setup code is wrong.", "setup_code", "The server printed it when it started.")
	}
	user, err := s.config.Store.CreateFirstUser(r.Context(), request.Username, request.Email)
	if err != nil {
		return 0, nil, err
	}
	_, secret, err := s.config.Store.CreateUserToken(r.Context(), user.ID, "first", 0)
	return http.StatusCreated, map[string]any{"user_id": user.ID, "key": secret.Reveal()}, err
}

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
	case request.Lifetime < 0 || request.Lifetime > maxTokenLifetime:
		return 0, nil, rejectField(http.StatusBadRequest, "The lifetime is not valid.", "lifetime", "Use nanoseconds between 1 second and 100 years.")
	case request.Scope != "" && request.Scope != "all":
		return 0, nil, rejectField(http.StatusBadRequest, "The scope is not known.", "scope", `Only "all" exists.`)
	case len(request.Name) > tokenNameLimit:
		return 0, nil, rejectField(http.StatusBadRequest, "The name is too long.", "token_name", "Use at most 128 bytes.")
	case request.Lifetime == 0:
		request.Lifetime = defaultTokenLifetime
	}
	_, secret, err := s.config.Store.CreateUserToken(r.Context(), user.ID, request.Name, request.Lifetime)
	return http.StatusCreated, map[string]string{"key": secret.Reveal()}, err
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
		body := tokenBody{
			ID: token.ID, UserID: token.UserID, Name: token.Name, CreatedAt: token.CreatedAt, UpdatedAt: token.CreatedAt,
			ExpiresAt: token.ExpiresAt, LoginType: "token", Scope: "all",
		}
		if !token.ExpiresAt.IsZero() {
			body.LifetimeSeconds = int64(token.ExpiresAt.Sub(token.CreatedAt).Seconds())
		}
		bodies = append(bodies, body)
	}
	return http.StatusOK, bodies, err
}

func (s *Server) deleteToken(r *http.Request) (int, any, error) {
	user, err := s.self(r)
	if err != nil {
		return 0, nil, err
	}
	token, err := s.config.Store.Token(r.Context(), r.PathValue("key"))
	if err != nil {
		return 0, nil, err
	}
	if token.UserID != user.ID {
		return 0, nil, notFound()
	}
	if err := s.config.Store.RevokeToken(r.Context(), token.ID); err != nil {
		return 0, nil, err
	}
	s.changed()
	return http.StatusNoContent, nil, nil
}
