package tailnetsvc

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/causewayhq/causeway/proto/agentv2"
)

// AgentHandler is what the control plane does for one connected agent. The
// methods may be called at the same time. Their errors go to the agent.
type AgentHandler interface {
	// Manifest is what the agent is to be. It is asked for on each connection.
	Manifest(ctx context.Context) (*agentv2.Manifest, error)
	// Startup takes the agent's version and directory.
	Startup(ctx context.Context, startup *agentv2.Startup) error
	// Lifecycle takes a change of the agent's state; they come in order.
	Lifecycle(ctx context.Context, lifecycle *agentv2.Lifecycle) error
	// Stats takes a report, an empty first one included, and says after how
	// long the next one is wanted.
	Stats(ctx context.Context, stats *agentv2.Stats) (time.Duration, error)
}

// agentSession serves the agent API; every call that is not here is answered
// with Unimplemented.
type agentSession struct {
	agentv2.DRPCAgentUnimplementedServer
	handler AgentHandler
}

func (a *agentSession) GetManifest(ctx context.Context, _ *agentv2.GetManifestRequest) (*agentv2.Manifest, error) {
	return a.handler.Manifest(ctx)
}

func (a *agentSession) UpdateStartup(ctx context.Context, req *agentv2.UpdateStartupRequest) (*agentv2.Startup, error) {
	startup := req.GetStartup()
	if startup == nil {
		startup = &agentv2.Startup{}
	}
	if err := a.handler.Startup(ctx, startup); err != nil {
		return nil, err
	}
	return startup, nil
}

func (a *agentSession) UpdateLifecycle(ctx context.Context, req *agentv2.UpdateLifecycleRequest) (*agentv2.Lifecycle, error) {
	lifecycle := req.GetLifecycle()
	if lifecycle == nil {
		lifecycle = &agentv2.Lifecycle{}
	}
	if err := a.handler.Lifecycle(ctx, lifecycle); err != nil {
		return nil, err
	}
	return lifecycle, nil
}

func (a *agentSession) UpdateStats(ctx context.Context, req *agentv2.UpdateStatsRequest) (*agentv2.UpdateStatsResponse, error) {
	stats := req.GetStats()
	if stats == nil {
		stats = &agentv2.Stats{}
	}
	interval, err := a.handler.Stats(ctx, stats)
	if err != nil {
		return nil, err
	}
	return &agentv2.UpdateStatsResponse{ReportInterval: durationpb.New(interval)}, nil
}
