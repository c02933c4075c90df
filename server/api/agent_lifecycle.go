package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/causewayhq/causeway/proto/agentv2"
	"github.com/causewayhq/causeway/server/store"
)

// subsystemNames are all that there are.
var subsystemNames = map[agentv2.Startup_Subsystem]string{
	agentv2.Startup_ENVBOX: "envbox", agentv2.Startup_ENVBUILDER: "envbuilder", agentv2.Startup_EXECTRACE: "exectrace",
}

// UpdateStartup records the agent's version, directory and subsystems.
func (h *agentHandler) UpdateStartup(ctx context.Context, req *agentv2.UpdateStartupRequest) (*agentv2.Startup, error) {
	startup := req.GetStartup()
	if startup == nil {
		startup = &agentv2.Startup{}
	}
	version := agentText(startup.GetVersion(), versionMost)
	var subsystems []string
	seen := map[string]bool{}
	for _, one := range startup.GetSubsystems() {
		if name := subsystemNames[one]; name != "" && !seen[name] {
			seen[name] = true
			subsystems = append(subsystems, name)
		}
	}
	if err := h.server.config.Store.SetStartup(ctx, h.agent.ID, version, agentText(startup.GetExpandedDirectory(), pathMost), subsystems); err != nil {
		return nil, err
	}
	// An agent that says so without end must not fill the log.
	h.introduced.Do(func() {
		h.server.config.Logger.Info("agent started", slog.String("agent", h.agent.Path()), slog.String("version", version))
	})
	return startup, nil
}

// UpdateLifecycle records a step. A step that comes too late is not taken, and
// answered like any other: an agent would only send it again.
func (h *agentHandler) UpdateLifecycle(ctx context.Context, req *agentv2.UpdateLifecycleRequest) (*agentv2.Lifecycle, error) {
	lifecycle := req.GetLifecycle()
	state := store.LifecycleState(lifecycle.GetState())
	if !state.Valid() {
		return nil, fmt.Errorf("record step: there is no state %d", lifecycle.GetState())
	}
	_, err := h.server.config.Store.AddLifecycle(ctx, h.agent.ID, state, agentTime(lifecycle.GetChangedAt()))
	switch {
	case errors.Is(err, store.ErrStepBack):
		h.server.config.Logger.Debug("agent reports a step that it is past", slog.String("agent", h.agent.Path()), slog.Any("error", err))
	case err != nil:
		return nil, err
	}
	h.once.Do(func() { close(h.stepped) })
	h.server.config.Logger.Debug("agent lifecycle", slog.String("agent", h.agent.Path()), slog.String("state", state.String()))
	return lifecycle, nil
}

// ScriptCompleted records how a script of the agent's definition has ended.
func (h *agentHandler) ScriptCompleted(ctx context.Context, req *agentv2.WorkspaceAgentScriptCompletedRequest) (*agentv2.WorkspaceAgentScriptCompletedResponse, error) {
	given := req.GetTiming()
	id, err := uuid.FromBytes(given.GetScriptId())
	if err != nil {
		return nil, fmt.Errorf("record script: read its id: %w", err)
	}
	timing := store.ScriptTiming{
		Script: id, Stage: store.ScriptStage(given.GetStage()), Status: store.ScriptStatus(given.GetStatus()),
		Start: agentTime(given.GetStart()), End: agentTime(given.GetEnd()), ExitCode: given.GetExitCode(),
	}
	if !timing.Stage.Valid() || !timing.Status.Valid() {
		return nil, fmt.Errorf("record script: there is no stage %d or no status %d", given.GetStage(), given.GetStatus())
	}
	if timing.End.Before(timing.Start) {
		timing.End = timing.Start // a clock was set back meanwhile
	}
	known, err := h.told(ctx)
	if err != nil {
		return nil, err
	}
	answer := &agentv2.WorkspaceAgentScriptCompletedResponse{}
	if _, found := known.scripts[id]; !found {
		h.drop("script", 1)
		return answer, nil
	}
	return answer, h.server.config.Store.AddTiming(ctx, h.agent.ID, timing)
}

// reasonMost is how long the reason of an end may be.
const reasonMost = 1024

// ReportConnection records the beginning or the end of a connection into the
// workspace.
func (h *agentHandler) ReportConnection(ctx context.Context, req *agentv2.ReportConnectionRequest) (*emptypb.Empty, error) {
	given := req.GetConnection()
	id, err := uuid.FromBytes(given.GetId())
	if err != nil {
		return nil, fmt.Errorf("record connection: read its id: %w", err)
	}
	connection := store.AgentConnection{ID: id, Type: store.ConnectionType(given.GetType())}
	if !connection.Type.Valid() {
		connection.Type = 0
	}
	if address, err := netip.ParseAddr(given.GetIp()); err == nil {
		connection.IP = address.WithZone("").String()
	}
	at := agentTime(given.GetTimestamp())
	switch given.GetAction() {
	case agentv2.Connection_CONNECT:
		connection.ConnectedAt = at
		err = h.server.config.Store.OpenConnection(ctx, h.agent.ID, connection)
	case agentv2.Connection_DISCONNECT:
		connection.DisconnectedAt, connection.Code, connection.Reason = at, given.GetStatusCode(), agentText(given.GetReason(), reasonMost)
		err = h.server.config.Store.CloseConnection(ctx, h.agent.ID, connection)
	default:
		err = fmt.Errorf("record connection: there is no action %d", given.GetAction())
	}
	if err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

// known is what an agent was told of, and may report on.
type known struct {
	scripts  map[uuid.UUID]*agentv2.WorkspaceAgentScript
	apps     map[uuid.UUID]*agentv2.WorkspaceApp
	metadata map[string]*agentv2.WorkspaceAgentMetadata_Description
	manifest *agentv2.Manifest
}

// told is what is known to this connection's agent.
func (h *agentHandler) told(ctx context.Context) (*known, error) {
	h.manifest.Lock()
	defer h.manifest.Unlock()
	if h.manifest.known == nil {
		found, err := h.server.known(ctx, h.agent)
		if err != nil {
			return nil, err
		}
		if err := h.server.reports.forget(ctx, h.state, found); err != nil {
			return nil, err
		}
		h.manifest.known = found
	}
	return h.manifest.known, nil
}

// known reads what an agent is told.
func (s *Server) known(ctx context.Context, agent store.Agent) (*known, error) {
	manifest, err := s.reports.manifest(ctx, agent)
	if err != nil {
		return nil, err
	}
	found := &known{
		scripts: map[uuid.UUID]*agentv2.WorkspaceAgentScript{}, apps: map[uuid.UUID]*agentv2.WorkspaceApp{},
		metadata: map[string]*agentv2.WorkspaceAgentMetadata_Description{}, manifest: manifest,
	}
	for _, script := range manifest.GetScripts() {
		if id, err := uuid.FromBytes(script.GetId()); err == nil {
			found.scripts[id] = script
		}
	}
	for _, app := range manifest.GetApps() {
		if id, err := uuid.FromBytes(app.GetId()); err == nil {
			found.apps[id] = app
		}
	}
	for _, description := range manifest.GetMetadata() {
		if len(found.metadata) < metadataMost && len(description.GetKey()) <= keyMost {
			found.metadata[description.GetKey()] = description
		}
	}
	return found, nil
}
