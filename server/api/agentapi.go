package api

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/causewayhq/causeway/proto/agentv2"
	"github.com/causewayhq/causeway/proto/tailnetv2"
	"github.com/causewayhq/causeway/server/store"
	tailnetsvc "github.com/causewayhq/causeway/server/tailnet"
)

// statsInterval is how often an agent reports its statistics: the default of
// the protocol (docs, 5.6).
const statsInterval = 5 * time.Minute

// agentHandler answers the agent API for one connection of one agent.
type agentHandler struct {
	agentv2.DRPCAgentUnimplementedServer
	server *Server
	agent  store.Agent
}

var _ tailnetsvc.AgentHandler = (*agentHandler)(nil)

// GetManifest says who the agent is. The row is read again: the agent may have
// been deleted since the connection was made.
func (h *agentHandler) GetManifest(ctx context.Context, _ *agentv2.GetManifestRequest) (*agentv2.Manifest, error) {
	agent, err := h.server.config.Store.Agent(ctx, h.agent.ID)
	if err != nil {
		return nil, fmt.Errorf("get manifest: %w", err)
	}
	return &agentv2.Manifest{
		AgentId: agent.ID[:], AgentName: agent.Name, WorkspaceId: agent.WorkspaceID[:], WorkspaceName: agent.WorkspaceName,
		OwnerUsername: agent.OwnerName, DerpMap: h.server.config.RelayMap().Proto(),
		DisableDirectConnections: h.server.config.DirectDisabled, DerpForceWebsockets: h.server.config.ForceWebsocket,
	}, nil
}

// UpdateStartup notes the agent's version in the log.
func (h *agentHandler) UpdateStartup(_ context.Context, req *agentv2.UpdateStartupRequest) (*agentv2.Startup, error) {
	startup := req.GetStartup()
	if startup == nil {
		startup = &agentv2.Startup{}
	}
	h.server.config.Logger.Info("agent started", slog.String("agent", h.agent.Path()), slog.String("version", startup.GetVersion()))
	return startup, nil
}

// UpdateLifecycle notes the agent's state in the log.
func (h *agentHandler) UpdateLifecycle(_ context.Context, req *agentv2.UpdateLifecycleRequest) (*agentv2.Lifecycle, error) {
	lifecycle := req.GetLifecycle()
	if lifecycle == nil {
		lifecycle = &agentv2.Lifecycle{}
	}
	h.server.config.Logger.Debug("agent lifecycle", slog.String("agent", h.agent.Path()), slog.String("state", lifecycle.GetState().String()))
	return lifecycle, nil
}

// UpdateStats tells the report interval; the figures themselves are not kept.
func (h *agentHandler) UpdateStats(context.Context, *agentv2.UpdateStatsRequest) (*agentv2.UpdateStatsResponse, error) {
	return &agentv2.UpdateStatsResponse{ReportInterval: durationpb.New(statsInterval)}, nil
}

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
