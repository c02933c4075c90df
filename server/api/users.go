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
	// Password lets the user sign in on the pages; "" sets none.
	Password string `json:"password"`
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
	if request.Password != "" {
		// First, so that a bad one leaves no user behind.
		if err := store.CheckPassword(request.Username, request.Password); err != nil {
			return 0, nil, err
		}
	}
	user, err := s.config.Store.CreateFirstUser(r.Context(), request.Username, request.Email)
	if err != nil {
		return 0, nil, err
	}
	if request.Password != "" {
		if err := s.config.Store.SetPassword(r.Context(), user, request.Password); err != nil {
			return 0, nil, err
		}
	}
	_, secret, err := s.config.Store.CreateUserToken(r.Context(), user.ID, "first", 0)
	return http.StatusCreated, map[string]any{"user_id": user.ID, "key": secret.Reveal()}, err
}
