package api

import (
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/proto/tailnetv2"
	"github.com/causewayhq/causeway/server/store"
)

type agentBody struct {
	ID               uuid.UUID  `json:"id"`
	WorkspaceID      uuid.UUID  `json:"workspace_id"`
	Name             string     `json:"name"`
	Status           string     `json:"status"`
	CreatedAt        time.Time  `json:"created_at"`
	FirstConnectedAt *time.Time `json:"first_connected_at,omitempty"`
}

func (s *Server) describeAgent(agent store.Agent) agentBody {
	body := agentBody{ID: agent.ID, WorkspaceID: agent.WorkspaceID, Name: agent.Name, CreatedAt: agent.CreatedAt, Status: s.presence.agentStatus(agent)}
	if !agent.FirstConnectedAt.IsZero() {
		body.FirstConnectedAt = &agent.FirstConnectedAt
	}
	return body
}

type resourceBody struct {
	Name   string      `json:"name"`
	Type   string      `json:"type"`
	Agents []agentBody `json:"agents"`
}

type buildBody struct {
	WorkspaceID uuid.UUID      `json:"workspace_id"`
	Status      string         `json:"status"`
	Resources   []resourceBody `json:"resources"`
}

// workspaceBody has the agents where a Coder client looks for them: in the
// resources of the latest build.
type workspaceBody struct {
	ID          uuid.UUID `json:"id"`
	OwnerID     uuid.UUID `json:"owner_id"`
	OwnerName   string    `json:"owner_name"`
	Name        string    `json:"name"`
	CreatedAt   time.Time `json:"created_at"`
	UpdatedAt   time.Time `json:"updated_at"`
	LatestBuild buildBody `json:"latest_build"`
}

func (s *Server) describeWorkspace(workspace store.Workspace, agents []store.Agent) workspaceBody {
	bodies := make([]agentBody, 0, len(agents))
	for _, agent := range agents {
		bodies = append(bodies, s.describeAgent(agent))
	}
	status := tailnetv2.Workspace_Status_name[int32(s.presence.workspaceStatus(agents))]
	return workspaceBody{
		ID: workspace.ID, OwnerID: workspace.OwnerID, OwnerName: workspace.OwnerName, Name: workspace.Name,
		CreatedAt: workspace.CreatedAt, UpdatedAt: workspace.CreatedAt,
		LatestBuild: buildBody{
			WorkspaceID: workspace.ID, Status: strings.ToLower(status),
			Resources: []resourceBody{{Name: workspace.Name, Type: "causeway", Agents: bodies}},
		},
	}
}

func (s *Server) listWorkspaces(r *http.Request) (int, any, error) {
	user, _, err := s.user(r)
	if err != nil {
		return 0, nil, err
	}
	workspaces, err := s.config.Store.WorkspacesOf(r.Context(), user.ID)
	if err != nil {
		return 0, nil, err
	}
	agents, err := s.config.Store.AgentsOf(r.Context(), user.ID)
	byWorkspace := groupAgents(agents)
	bodies := make([]workspaceBody, 0, len(workspaces))
	for _, workspace := range workspaces {
		bodies = append(bodies, s.describeWorkspace(workspace, byWorkspace[workspace.ID]))
	}
	return http.StatusOK, map[string]any{"workspaces": bodies, "count": len(bodies)}, err
}

func groupAgents(agents []store.Agent) map[uuid.UUID][]store.Agent {
	groups := map[uuid.UUID][]store.Agent{}
	for _, agent := range agents {
		groups[agent.WorkspaceID] = append(groups[agent.WorkspaceID], agent)
	}
	return groups
}

type nameBody struct {
	Name string `json:"name"`
}

func (s *Server) createWorkspace(r *http.Request) (int, any, error) {
	user, err := s.self(r)
	if err != nil {
		return 0, nil, err
	}
	var request nameBody
	if err := readJSON(r, &request); err != nil {
		return 0, nil, err
	}
	workspace, err := s.config.Store.CreateWorkspace(r.Context(), user, request.Name)
	if err != nil {
		return 0, nil, err
	}
	s.changed()
	return http.StatusCreated, s.describeWorkspace(workspace, nil), nil
}

// ownWorkspace is the workspace of {id} if it is the caller's.
func (s *Server) ownWorkspace(r *http.Request) (store.Workspace, error) {
	user, _, err := s.user(r)
	if err != nil {
		return store.Workspace{}, err
	}
	id, err := pathID(r)
	if err != nil {
		return store.Workspace{}, err
	}
	workspace, err := s.config.Store.Workspace(r.Context(), id)
	if err == nil && workspace.OwnerID != user.ID {
		err = notFound()
	}
	return workspace, err
}

func (s *Server) getWorkspace(r *http.Request) (int, any, error) {
	workspace, err := s.ownWorkspace(r)
	if err != nil {
		return 0, nil, err
	}
	return s.workspaceAnswer(r, workspace)
}

func (s *Server) getWorkspaceByName(r *http.Request) (int, any, error) {
	user, err := s.self(r)
	if err != nil {
		return 0, nil, err
	}
	workspace, err := s.config.Store.WorkspaceByName(r.Context(), user.ID, r.PathValue("workspace"))
	if err != nil {
		return 0, nil, err
	}
	return s.workspaceAnswer(r, workspace)
}

func (s *Server) workspaceAnswer(r *http.Request, workspace store.Workspace) (int, any, error) {
	agents, err := s.config.Store.AgentsIn(r.Context(), workspace.ID)
	return http.StatusOK, s.describeWorkspace(workspace, agents), err
}

func (s *Server) deleteWorkspace(r *http.Request) (int, any, error) {
	workspace, err := s.ownWorkspace(r)
	if err != nil {
		return 0, nil, err
	}
	if err := s.config.Store.DeleteWorkspace(r.Context(), workspace.ID); err != nil {
		return 0, nil, err
	}
	s.changed()
	return http.StatusNoContent, nil, nil
}

// createAgent answers with the agent and its token, which is shown this once.
func (s *Server) createAgent(r *http.Request) (int, any, error) {
	workspace, err := s.ownWorkspace(r)
	if err != nil {
		return 0, nil, err
	}
	var request nameBody
	if err := readJSON(r, &request); err != nil {
		return 0, nil, err
	}
	agent, err := s.config.Store.CreateAgent(r.Context(), workspace, request.Name)
	if err != nil {
		return 0, nil, err
	}
	s.changed()
	_, secret, err := s.config.Store.CreateAgentToken(r.Context(), agent.ID, 0)
	return http.StatusCreated, map[string]any{"agent": s.describeAgent(agent), "token": secret.Reveal()}, err
}

// ownAgent is the agent of {id} if it is the caller's, with the token that the
// caller showed.
func (s *Server) ownAgent(r *http.Request) (store.Agent, store.User, store.Token, error) {
	user, token, err := s.user(r)
	if err != nil {
		return store.Agent{}, user, token, err
	}
	id, err := pathID(r)
	if err != nil {
		return store.Agent{}, user, token, err
	}
	agent, err := s.config.Store.Agent(r.Context(), id)
	if err == nil && agent.OwnerID != user.ID {
		err = notFound()
	}
	return agent, user, token, err
}

func (s *Server) deleteAgent(r *http.Request) (int, any, error) {
	agent, _, _, err := s.ownAgent(r)
	if err != nil {
		return 0, nil, err
	}
	if err := s.config.Store.DeleteAgent(r.Context(), agent.ID); err != nil {
		return 0, nil, err
	}
	s.changed()
	return http.StatusNoContent, nil, nil
}

func (s *Server) createAgentToken(r *http.Request) (int, any, error) {
	agent, _, _, err := s.ownAgent(r)
	if err != nil {
		return 0, nil, err
	}
	_, secret, err := s.config.Store.CreateAgentToken(r.Context(), agent.ID, 0)
	return http.StatusCreated, map[string]string{"token": secret.Reveal()}, err
}
