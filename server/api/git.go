package api

import (
	"errors"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/server/store"
)

type gitKeyBody struct {
	UserID    uuid.UUID `json:"user_id"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
	PublicKey string    `json:"public_key"`
}

// getGitKey shows the public half of the user's key. Administrators see it too:
// it is no secret, and they may have to name it to a git host.
func (s *Server) getGitKey(r *http.Request) (int, any, error) {
	user, err := s.subject(r)
	if err != nil {
		return 0, nil, err
	}
	key, err := s.config.Store.GitSSHKey(r.Context(), user)
	return http.StatusOK, gitKeyBody{user.ID, key.CreatedAt, key.UpdatedAt, key.PublicKey}, err
}

// replaceGitKey makes a new one.
func (s *Server) replaceGitKey(r *http.Request) (int, any, error) {
	user, err := s.self(r)
	if err != nil {
		return 0, nil, err
	}
	key, err := s.config.Store.ReplaceGitSSHKey(r.Context(), user)
	return http.StatusOK, gitKeyBody{user.ID, key.CreatedAt, key.UpdatedAt, key.PublicKey}, err
}

// agentGitKey gives an agent its owner's key, private half included: git in the
// workspace signs in with it.
func (s *Server) agentGitKey(r *http.Request) (int, any, error) {
	agent, _, err := s.agent(r)
	if err != nil {
		return 0, nil, err
	}
	owner, err := s.config.Store.User(r.Context(), agent.OwnerID)
	if err != nil {
		return 0, nil, err
	}
	key, err := s.config.Store.GitSSHKey(r.Context(), owner)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, map[string]string{"public_key": key.PublicKey, "private_key": key.PrivateKey.Reveal()}, nil
}

// agentGitCredential gives an agent what its owner has stored for the host of
// the URL in match, and for no other host.
func (s *Server) agentGitCredential(r *http.Request) (int, any, error) {
	agent, _, err := s.agent(r)
	if err != nil {
		return 0, nil, err
	}
	credential, err := s.config.Store.GitCredentialFor(r.Context(), agent.OwnerID, r.URL.Query().Get("match"))
	if err != nil {
		return 0, nil, gitRejection(err)
	}
	return http.StatusOK, map[string]string{
		"type": "git", "url": "https://" + credential.Host, "username": credential.Username,
		"password": credential.Password.Reveal(), "access_token": credential.Password.Reveal(),
	}, nil
}

type gitCredentialBody struct {
	Host      string    `json:"host"`
	Username  string    `json:"username"`
	UpdatedAt time.Time `json:"updated_at"`
}

// listGitCredentials shows hosts and user names; a password is never shown again.
func (s *Server) listGitCredentials(r *http.Request) (int, any, error) {
	user, err := s.self(r)
	if err != nil {
		return 0, nil, err
	}
	list, err := s.config.Store.GitCredentials(r.Context(), user.ID)
	if err != nil {
		return 0, nil, err
	}
	result := []gitCredentialBody{}
	for _, each := range list {
		result = append(result, gitCredentialBody{each.Host, each.Username, each.UpdatedAt})
	}
	return http.StatusOK, map[string]any{"credentials": result}, nil
}

func (s *Server) setGitCredential(r *http.Request) (int, any, error) {
	user, err := s.self(r)
	if err != nil {
		return 0, nil, err
	}
	var body struct {
		Username string `json:"username"`
		Password string `json:"password"`
	}
	if err := readJSON(r, &body); err != nil {
		return 0, nil, err
	}
	credential, err := s.config.Store.SetGitCredential(r.Context(), user, r.PathValue("host"), body.Username, body.Password)
	if err != nil {
		return 0, nil, gitRejection(err)
	}
	return http.StatusOK, gitCredentialBody{credential.Host, credential.Username, credential.UpdatedAt}, nil
}

func (s *Server) deleteGitCredential(r *http.Request) (int, any, error) {
	user, err := s.self(r)
	if err != nil {
		return 0, nil, err
	}
	if err := s.config.Store.DeleteGitCredential(r.Context(), user.ID, r.PathValue("host")); err != nil {
		return 0, nil, gitRejection(err)
	}
	return http.StatusNoContent, nil, nil
}

// gitRejection names the field that is wrong.
func gitRejection(err error) error {
	var bad *store.GitCredentialError
	if errors.As(err, &bad) {
		return rejectField(http.StatusBadRequest, "The git credential is not valid.", bad.Field, bad.Problem)
	}
	return err
}
