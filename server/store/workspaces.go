package store

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// Workspace belongs to one user.
type Workspace struct {
	ID        uuid.UUID
	OwnerID   uuid.UUID
	OwnerName string
	Name      string
	CreatedAt time.Time
}

const workspaceQuery = `SELECT workspaces.id, workspaces.owner_id, users.name, workspaces.name, workspaces.created_at
	FROM workspaces JOIN users ON users.id = workspaces.owner_id `

func scanWorkspace(row scanner) (Workspace, error) {
	var workspace Workspace
	var created int64
	err := row.Scan(&workspace.ID, &workspace.OwnerID, &workspace.OwnerName, &workspace.Name, &created)
	workspace.CreatedAt = fromMillis(created)
	return workspace, err
}

// CreateWorkspace adds a workspace. A bad name is a *NameError; a name that
// this owner has used wraps ErrExists.
func (s *Store) CreateWorkspace(ctx context.Context, owner User, name string) (Workspace, error) {
	if err := CheckName(KindWorkspace, name); err != nil {
		return Workspace{}, err
	}
	workspace := Workspace{ID: uuid.New(), OwnerID: owner.ID, OwnerName: owner.Name, Name: name, CreatedAt: now()}
	_, err := s.db.ExecContext(ctx, "INSERT INTO workspaces (id, owner_id, name, name_key, created_at) VALUES ($1, $2, $3, $4, $5)",
		idText(workspace.ID), idText(owner.ID), name, nameKey(name), millis(workspace.CreatedAt))
	if err != nil {
		return Workspace{}, fmt.Errorf("create workspace %q of user %q: %w", name, owner.Name, conflict(err))
	}
	return workspace, nil
}

// Workspaces lists all workspaces by owner and name.
func (s *Store) Workspaces(ctx context.Context) ([]Workspace, error) {
	rows, err := s.db.QueryContext(ctx, workspaceQuery+"ORDER BY users.name_key, workspaces.name_key")
	list, err := collect(rows, err, scanWorkspace)
	if err != nil {
		return nil, fmt.Errorf("list workspaces: %w", err)
	}
	return list, nil
}

// WorkspacesOf lists a user's workspaces by name.
func (s *Store) WorkspacesOf(ctx context.Context, owner uuid.UUID) ([]Workspace, error) {
	rows, err := s.db.QueryContext(ctx, workspaceQuery+"WHERE workspaces.owner_id = $1 ORDER BY workspaces.name_key", idText(owner))
	list, err := collect(rows, err, scanWorkspace)
	if err != nil {
		return nil, fmt.Errorf("list workspaces of user %s: %w", owner, err)
	}
	return list, nil
}

// Workspace finds a workspace by id.
func (s *Store) Workspace(ctx context.Context, id uuid.UUID) (Workspace, error) {
	workspace, err := scanWorkspace(s.db.QueryRowContext(ctx, workspaceQuery+"WHERE workspaces.id = $1", idText(id)))
	if err != nil {
		return Workspace{}, fmt.Errorf("find workspace %s: %w", id, missing(err))
	}
	return workspace, nil
}

// WorkspaceByName finds a user's workspace without regard to case.
func (s *Store) WorkspaceByName(ctx context.Context, owner uuid.UUID, name string) (Workspace, error) {
	row := s.db.QueryRowContext(ctx, workspaceQuery+"WHERE workspaces.owner_id = $1 AND workspaces.name_key = $2", idText(owner), nameKey(name))
	workspace, err := scanWorkspace(row)
	if err != nil {
		return Workspace{}, fmt.Errorf("find workspace %q: %w", name, missing(err))
	}
	return workspace, nil
}

// DeleteWorkspace removes a workspace with its agents and their tokens.
func (s *Store) DeleteWorkspace(ctx context.Context, id uuid.UUID) error {
	result, err := s.db.ExecContext(ctx, "DELETE FROM workspaces WHERE id = $1", idText(id))
	if err := affected(result, err); err != nil {
		return fmt.Errorf("delete workspace %s: %w", id, err)
	}
	return nil
}

// Agent is the program that serves one workspace. A workspace may have several.
type Agent struct {
	ID            uuid.UUID
	WorkspaceID   uuid.UUID
	WorkspaceName string
	OwnerID       uuid.UUID
	OwnerName     string
	Name          string
	CreatedAt     time.Time
	// FirstConnectedAt is zero for an agent that has never connected.
	FirstConnectedAt time.Time
}

// Path is "owner/workspace/agent", as the subcommands take it.
func (a Agent) Path() string { return a.OwnerName + "/" + a.WorkspaceName + "/" + a.Name }

const agentColumns = "agents.id, agents.workspace_id, workspaces.name, workspaces.owner_id, users.name, agents.name, agents.created_at, agents.first_connected_at"

const agentTables = " FROM agents JOIN workspaces ON workspaces.id = agents.workspace_id JOIN users ON users.id = workspaces.owner_id "

const agentQuery = "SELECT " + agentColumns + agentTables

func scanAgent(row scanner) (Agent, error) {
	var agent Agent
	var created, connected int64
	err := row.Scan(agent.fields(&created, &connected)...)
	agent.CreatedAt, agent.FirstConnectedAt = fromMillis(created), fromMillis(connected)
	return agent, err
}

func (a *Agent) fields(created, connected *int64) []any {
	return []any{&a.ID, &a.WorkspaceID, &a.WorkspaceName, &a.OwnerID, &a.OwnerName, &a.Name, created, connected}
}

// CreateAgent adds an agent. A bad name is a *NameError; a name that the
// workspace has wraps ErrExists.
func (s *Store) CreateAgent(ctx context.Context, workspace Workspace, name string) (Agent, error) {
	if err := CheckName(KindAgent, name); err != nil {
		return Agent{}, err
	}
	agent := Agent{
		ID: uuid.New(), WorkspaceID: workspace.ID, WorkspaceName: workspace.Name,
		OwnerID: workspace.OwnerID, OwnerName: workspace.OwnerName, Name: name, CreatedAt: now(),
	}
	_, err := s.db.ExecContext(ctx, "INSERT INTO agents (id, workspace_id, name, name_key, created_at, first_connected_at) VALUES ($1, $2, $3, $4, $5, 0)",
		idText(agent.ID), idText(workspace.ID), name, nameKey(name), millis(agent.CreatedAt))
	if err != nil {
		return Agent{}, fmt.Errorf("create agent %q in workspace %q: %w", name, workspace.Name, conflict(err))
	}
	return agent, nil
}

// Agents lists all agents by owner, workspace and name.
func (s *Store) Agents(ctx context.Context) ([]Agent, error) {
	rows, err := s.db.QueryContext(ctx, agentQuery+"ORDER BY users.name_key, workspaces.name_key, agents.name_key")
	list, err := collect(rows, err, scanAgent)
	if err != nil {
		return nil, fmt.Errorf("list agents: %w", err)
	}
	return list, nil
}

// AgentsOf lists a user's agents by workspace and name.
func (s *Store) AgentsOf(ctx context.Context, owner uuid.UUID) ([]Agent, error) {
	rows, err := s.db.QueryContext(ctx, agentQuery+"WHERE workspaces.owner_id = $1 ORDER BY workspaces.name_key, agents.name_key", idText(owner))
	list, err := collect(rows, err, scanAgent)
	if err != nil {
		return nil, fmt.Errorf("list agents of user %s: %w", owner, err)
	}
	return list, nil
}

// AgentsIn lists a workspace's agents by name.
func (s *Store) AgentsIn(ctx context.Context, workspace uuid.UUID) ([]Agent, error) {
	rows, err := s.db.QueryContext(ctx, agentQuery+"WHERE agents.workspace_id = $1 ORDER BY agents.name_key", idText(workspace))
	list, err := collect(rows, err, scanAgent)
	if err != nil {
		return nil, fmt.Errorf("list agents in workspace %s: %w", workspace, err)
	}
	return list, nil
}

// Agent finds an agent by id.
func (s *Store) Agent(ctx context.Context, id uuid.UUID) (Agent, error) {
	agent, err := scanAgent(s.db.QueryRowContext(ctx, agentQuery+"WHERE agents.id = $1", idText(id)))
	if err != nil {
		return Agent{}, fmt.Errorf("find agent %s: %w", id, missing(err))
	}
	return agent, nil
}

// AgentByName finds a workspace's agent without regard to case.
func (s *Store) AgentByName(ctx context.Context, workspace uuid.UUID, name string) (Agent, error) {
	row := s.db.QueryRowContext(ctx, agentQuery+"WHERE agents.workspace_id = $1 AND agents.name_key = $2", idText(workspace), nameKey(name))
	agent, err := scanAgent(row)
	if err != nil {
		return Agent{}, fmt.Errorf("find agent %q: %w", name, missing(err))
	}
	return agent, nil
}

// OwnsAgent says whether the agent exists and belongs to the user. It is the
// one check that decides who may open a tunnel.
func (s *Store) OwnsAgent(ctx context.Context, user, agent uuid.UUID) (bool, error) {
	var count int
	err := s.db.QueryRowContext(ctx, "SELECT COUNT(*) "+agentTables+"WHERE agents.id = $1 AND workspaces.owner_id = $2", idText(agent), idText(user)).Scan(&count)
	if err != nil {
		return false, fmt.Errorf("check owner of agent %s: %w", agent, storageCause(err))
	}
	return count > 0, nil
}

// MarkAgentConnected records the first connection of an agent, and writes
// nothing on any later one.
func (s *Store) MarkAgentConnected(ctx context.Context, agent Agent) error {
	if !agent.FirstConnectedAt.IsZero() {
		return nil
	}
	_, err := s.db.ExecContext(ctx, "UPDATE agents SET first_connected_at = $1 WHERE id = $2 AND first_connected_at = 0", millis(now()), idText(agent.ID))
	if err != nil {
		return fmt.Errorf("mark agent %s connected: %w", agent.ID, storageCause(err))
	}
	return nil
}

// DeleteAgent removes an agent with its tokens.
func (s *Store) DeleteAgent(ctx context.Context, id uuid.UUID) error {
	result, err := s.db.ExecContext(ctx, "DELETE FROM agents WHERE id = $1", idText(id))
	if err := affected(result, err); err != nil {
		return fmt.Errorf("delete agent %s: %w", id, err)
	}
	return nil
}
