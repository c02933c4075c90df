package api

import (
	"context"
	"fmt"
	"sync"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/proto/agentv2"
	"github.com/causewayhq/causeway/server/coordinator"
	"github.com/causewayhq/causeway/server/define"
	"github.com/causewayhq/causeway/server/store"
	tailnetsvc "github.com/causewayhq/causeway/server/tailnet"
)

// errRedefined asks an agent to come back and to read what it is to be now. Its
// partners hear what they hear of a restart of the server: they go on.
var errRedefined = &tailnetsvc.PartingError{How: coordinator.Closing, Text: "the definition of the agent has changed; retry after 100ms"}

// GetManifest says what the agent is to be. The connection ends when that changes.
func (h *agentHandler) GetManifest(ctx context.Context, _ *agentv2.GetManifestRequest) (*agentv2.Manifest, error) {
	manifest, revision, err := h.server.manifest(ctx, h.agent.ID)
	if err != nil {
		return nil, err
	}
	if h.part != nil {
		h.server.informed.add(h, revision)
	}
	return manifest, nil
}

// manifest reads everything anew: the agent may have been changed or deleted
// since its connection was made.
func (s *Server) manifest(ctx context.Context, id uuid.UUID) (*agentv2.Manifest, int64, error) {
	agent, err := s.config.Store.Agent(ctx, id)
	if err != nil {
		return nil, 0, fmt.Errorf("get manifest: %w", err)
	}
	kept, definition, err := s.readDefinition(ctx, id)
	if err != nil {
		return nil, 0, fmt.Errorf("get manifest: %w", err)
	}
	credentials, err := s.config.Store.GitCredentials(ctx, agent.OwnerID)
	if err != nil {
		return nil, 0, fmt.Errorf("get manifest: %w", err)
	}
	manifest := &agentv2.Manifest{
		GitAuthConfigs: uint32(len(credentials)), //nolint:gosec // the store bounds them
		AgentId:        agent.ID[:], AgentName: agent.Name, WorkspaceId: agent.WorkspaceID[:], WorkspaceName: agent.WorkspaceName,
		OwnerUsername: agent.OwnerName, DerpMap: s.config.RelayMap().Proto(),
		DisableDirectConnections: s.config.DirectDisabled, DerpForceWebsockets: s.config.ForceWebsocket,
	}
	values := map[string]store.SecretValue{}
	for _, secret := range kept.Secrets {
		values[secret.Name] = secret.Value
	}
	definition.Fill(manifest, define.Agent{ID: agent.ID, Name: agent.Name, Workspace: agent.WorkspaceName, Owner: agent.OwnerName}, values)
	return manifest, kept.Revision, nil
}

func (s *Server) readDefinition(ctx context.Context, agent uuid.UUID) (store.Definition, define.Definition, error) {
	kept, err := s.config.Store.Definition(ctx, agent)
	if err != nil {
		return kept, define.Definition{}, err
	}
	definition, err := define.Load(kept.Document)
	return kept, definition, err
}

// GetResourcesMonitoringConfiguration says what of the workspace's resources the
// agent is to watch.
func (h *agentHandler) GetResourcesMonitoringConfiguration(ctx context.Context, _ *agentv2.GetResourcesMonitoringConfigurationRequest) (*agentv2.GetResourcesMonitoringConfigurationResponse, error) {
	_, definition, err := h.server.readDefinition(ctx, h.agent.ID)
	if err != nil {
		return nil, fmt.Errorf("get monitoring configuration: %w", err)
	}
	return definition.Resources(), nil
}

// GetServiceBanner is for agents that know one banner only: the first that is
// enabled.
func (h *agentHandler) GetServiceBanner(ctx context.Context, _ *agentv2.GetServiceBannerRequest) (*agentv2.ServiceBanner, error) {
	banners, err := h.server.config.Store.Banners(ctx)
	if err != nil {
		return nil, fmt.Errorf("get banner: %w", err)
	}
	first := firstBanner(banners)
	return &agentv2.ServiceBanner{Enabled: first.Enabled, Message: first.Message, BackgroundColor: first.BackgroundColor}, nil
}

// GetAnnouncementBanners lists all banners; the agent shows those that are enabled.
func (h *agentHandler) GetAnnouncementBanners(ctx context.Context, _ *agentv2.GetAnnouncementBannersRequest) (*agentv2.GetAnnouncementBannersResponse, error) {
	banners, err := h.server.config.Store.Banners(ctx)
	if err != nil {
		return nil, fmt.Errorf("get banners: %w", err)
	}
	response := &agentv2.GetAnnouncementBannersResponse{}
	for _, banner := range banners {
		response.AnnouncementBanners = append(response.AnnouncementBanners, &agentv2.BannerConfig{
			Enabled: banner.Enabled, Message: banner.Message, BackgroundColor: banner.BackgroundColor,
		})
	}
	return response, nil
}

// informed knows which revision of its definition each connected agent was told.
type informed struct {
	mu     sync.Mutex
	agents map[uuid.UUID]map[*agentHandler]int64
	// newest are the revisions of definitions that have changed, up to seen: an
	// agent may be told one while the next is made. There is one for each agent
	// that somebody has defined, at most.
	newest map[uuid.UUID]int64
	seen   int64
}

func newInformed() *informed {
	return &informed{agents: map[uuid.UUID]map[*agentHandler]int64{}, newest: map[uuid.UUID]int64{}}
}

// add notes what a connection was told, until remove.
func (t *informed) add(h *agentHandler, revision int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.agents[h.agent.ID] == nil {
		t.agents[h.agent.ID] = map[*agentHandler]int64{}
	}
	t.agents[h.agent.ID][h] = revision
	if t.newest[h.agent.ID] > revision {
		h.part(errRedefined)
	}
}

func (t *informed) remove(h *agentHandler) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.agents[h.agent.ID], h)
	if len(t.agents[h.agent.ID]) == 0 {
		delete(t.agents, h.agent.ID)
	}
}

// redefine ends the connections of agents that were told what holds no more. It
// costs one look at an index when nothing has changed.
func (t *informed) redefine(ctx context.Context, from *store.Store) error {
	t.mu.Lock()
	since := t.seen
	t.mu.Unlock()
	changed, err := from.DefinitionsSince(ctx, since)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for agent, revision := range changed {
		t.seen = max(t.seen, revision)
		t.newest[agent] = max(t.newest[agent], revision)
		for h, was := range t.agents[agent] {
			if was < t.newest[agent] {
				h.part(errRedefined)
			}
		}
	}
	return nil
}
