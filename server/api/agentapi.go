package api

import (
	"context"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/proto/agentv2"
	"github.com/causewayhq/causeway/proto/tailnetv2"
	"github.com/causewayhq/causeway/server/store"
	tailnetsvc "github.com/causewayhq/causeway/server/tailnet"
)

// agentHandler answers the agent API for one connection of one agent.
type agentHandler struct {
	agentv2.DRPCAgentUnimplementedServer
	server *Server
	agent  store.Agent
	// state is what the agent reports often; nil for a handler that only tells.
	state *reported

	// part ends the connection with a word; nil for a handler that only tells.
	part context.CancelCauseFunc

	manifest struct {
		sync.Mutex
		known *known // of this connection: what changes makes the agent connect again
	}
	since   time.Time     // the beginning of the connection
	stepped chan struct{} // closed with the first step that the agent has reported on it
	once    sync.Once
	// introduced is for the log, in which an agent says once that it has started.
	introduced sync.Once
}

func newAgentHandler(s *Server, agent store.Agent, state *reported) *agentHandler {
	return &agentHandler{server: s, agent: agent, state: state, since: time.Now(), stepped: make(chan struct{})}
}

var _ tailnetsvc.AgentHandler = (*agentHandler)(nil)

// Workspaces is the state that watchers of an owner's workspaces are told of.
func (s *Server) Workspaces(ctx context.Context, owner uuid.UUID) ([]*tailnetv2.Workspace, []*tailnetv2.Agent, error) {
	workspaces, err := s.config.Store.WorkspacesOf(ctx, owner)
	if err != nil {
		return nil, nil, err
	}
	agents, err := s.config.Store.AgentsOf(ctx, owner)
	if err != nil {
		return nil, nil, err
	}
	groups := groupAgents(agents)
	var workspaceList []*tailnetv2.Workspace
	var agentList []*tailnetv2.Agent
	// Agents are listed by workspace, so that one created between the two
	// reads never comes without its workspace.
	for _, workspace := range workspaces {
		workspaceList = append(workspaceList, &tailnetv2.Workspace{
			Id: workspace.ID[:], Name: workspace.Name, Status: s.presence.workspaceStatus(groups[workspace.ID]),
		})
		for _, agent := range groups[workspace.ID] {
			agentList = append(agentList, &tailnetv2.Agent{Id: agent.ID[:], Name: agent.Name, WorkspaceId: agent.WorkspaceID[:]})
		}
	}
	return workspaceList, agentList, nil
}
