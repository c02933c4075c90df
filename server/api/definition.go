package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/server/define"
	"github.com/causewayhq/causeway/server/store"
)

type secretBody struct {
	Name      string    `json:"name"`
	Set       bool      `json:"set"`
	UpdatedAt time.Time `json:"updated_at"`
}

// definitionBody never has the value of a secret.
type definitionBody struct {
	AgentID    uuid.UUID         `json:"agent_id"`
	Revision   int64             `json:"revision"`
	UpdatedAt  *time.Time        `json:"updated_at,omitempty"`
	UpdatedBy  string            `json:"updated_by,omitempty"`
	Definition define.Definition `json:"definition"`
	Secrets    []secretBody      `json:"secrets"`
}

func describeDefinition(kept store.Definition) (definitionBody, error) {
	definition, err := define.Load(kept.Document)
	if kept.Revision == 0 {
		definition.Version = define.FormatVersion
	}
	body := definitionBody{AgentID: kept.AgentID, Revision: kept.Revision, UpdatedBy: kept.UpdatedBy, Definition: definition, Secrets: []secretBody{}}
	if !kept.UpdatedAt.IsZero() {
		body.UpdatedAt = &kept.UpdatedAt
	}
	for _, secret := range kept.Secrets {
		body.Secrets = append(body.Secrets, secretBody{secret.Name, secret.Value != nil, secret.UpdatedAt})
	}
	return body, err
}

// answerDefinition is handle for what has a revision: it is the answer's entity
// tag.
func (s *Server) answerDefinition(handler func(r *http.Request) (store.Definition, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		kept, err := handler(r)
		var body definitionBody
		if err == nil {
			body, err = describeDefinition(kept)
		}
		if err != nil {
			s.fail(w, r, definitionRejection(err))
			return
		}
		w.Header().Set("ETag", `"`+strconv.FormatInt(kept.Revision, 10)+`"`)
		writeJSON(w, http.StatusOK, body)
	}
}

// definitionRejection words what is wrong with what was sent.
func definitionRejection(err error) error {
	var invalid *define.InvalidError
	var secret *define.SecretError
	switch {
	case errors.As(err, &invalid):
		rejection := reject(http.StatusBadRequest, "The definition is not valid.", err.Error())
		for _, problem := range invalid.Problems {
			rejection.Validations = append(rejection.Validations, Validation{problem.Path, problem.String()})
		}
		return rejection
	case errors.As(err, &secret):
		return rejectField(http.StatusBadRequest, "The secret cannot be set.", secret.Name, secret.Error())
	case errors.Is(err, store.ErrSecretsTotal):
		return reject(http.StatusBadRequest, "The secrets are too large.", store.ErrSecretsTotal.Error())
	case errors.Is(err, store.ErrRevision):
		return reject(http.StatusPreconditionFailed, "The definition has been changed meanwhile.", "Read it again, and make the change on what it is now.")
	}
	return err
}

// getDefinition is the owner's alone, as is all else of a workspace: who writes a
// definition runs programs in it.
func (s *Server) getDefinition(r *http.Request) (store.Definition, error) {
	agent, _, _, err := s.ownAgent(r)
	if err != nil {
		return store.Definition{}, err
	}
	return s.config.Store.Definition(r.Context(), agent.ID)
}

// putDefinition takes the document itself as the body, in YAML or JSON.
func (s *Server) putDefinition(r *http.Request) (store.Definition, error) {
	agent, user, _, err := s.ownAgent(r)
	if err != nil {
		return store.Definition{}, err
	}
	expected, err := expectedRevision(r)
	if err != nil {
		return store.Definition{}, err
	}
	document, err := readBody(r, define.DocumentLimit)
	if err != nil {
		return store.Definition{}, err
	}
	definition, err := define.Read(document)
	if err != nil {
		return store.Definition{}, err
	}
	change, err := definition.Change(user.Name)
	if err != nil {
		return store.Definition{}, err
	}
	change.Expected = expected
	kept, changed, err := s.config.Store.SetDefinition(r.Context(), agent.ID, change)
	return kept, s.redefined(changed, err)
}

// redefined tells the agent of a change, where there was one.
func (s *Server) redefined(changed bool, err error) error {
	if changed && err == nil {
		s.changed()
	}
	return err
}

// expectedRevision reads If-Match; nil: whichever there is.
func expectedRevision(r *http.Request) (*int64, error) {
	sent := strings.TrimSpace(r.Header.Get("If-Match"))
	if sent == "" || sent == "*" {
		return nil, nil //nolint:nilnil // nothing is expected
	}
	revision, err := strconv.ParseInt(strings.Trim(sent, `"`), 10, 64)
	if err != nil {
		// Some tag that we have never given, and that nothing matches.
		return nil, fmt.Errorf("%w: no revision is %q", store.ErrRevision, sent)
	}
	return &revision, nil
}

// readBody reads a body that is no JSON, or more than other bodies may be.
func readBody(r *http.Request, limit int) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, int64(limit)+1))
	switch {
	case err != nil:
		return nil, reject(http.StatusBadRequest, "Request body could not be read.", err.Error())
	case len(body) > limit:
		return nil, reject(http.StatusRequestEntityTooLarge, "Request body is too large.", fmt.Sprintf("The limit is %d bytes.", limit))
	}
	return body, nil
}

// putSecret takes the value itself as the body, every byte of it.
func (s *Server) putSecret(r *http.Request) (store.Definition, error) {
	agent, user, _, err := s.ownAgent(r)
	if err != nil {
		return store.Definition{}, err
	}
	value, err := readBody(r, define.SecretLimit)
	if err != nil {
		return store.Definition{}, err
	}
	_, definition, err := s.readDefinition(r.Context(), agent.ID)
	if err == nil {
		err = definition.CheckSecret(r.PathValue("name"), value)
	}
	if err != nil {
		return store.Definition{}, err
	}
	return s.setSecret(r.Context(), agent.ID, r.PathValue("name"), value, user.Name)
}

func (s *Server) deleteSecret(r *http.Request) (store.Definition, error) {
	agent, user, _, err := s.ownAgent(r)
	if err != nil {
		return store.Definition{}, err
	}
	return s.setSecret(r.Context(), agent.ID, r.PathValue("name"), nil, user.Name)
}

func (s *Server) setSecret(ctx context.Context, agent uuid.UUID, name string, value store.SecretValue, by string) (store.Definition, error) {
	kept, changed, err := s.config.Store.SetSecret(ctx, agent, name, value, by)
	return kept, s.redefined(changed, err)
}

// getDefinitionSchema is for editors.
func (s *Server) getDefinitionSchema(r *http.Request) (int, any, error) {
	if _, _, err := s.user(r); err != nil {
		return 0, nil, err
	}
	return http.StatusOK, json.RawMessage(define.Schema), nil
}
