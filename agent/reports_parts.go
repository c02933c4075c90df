package agent

import (
	"context"

	"github.com/causewayhq/causeway/agent/connections"
	"github.com/causewayhq/causeway/proto/agentv2"
)

// reports are what the agent tells about its workspace and its use, besides the
// steps of its own life.
type reports struct {
	agent       *agent
	connections *connections.Log
}

func newReports(a *agent) *reports {
	return &reports{agent: a, connections: connections.New(a.log)}
}

// parts are what runs over each connection.
func (r *reports) parts() []part {
	return []part{
		partFunc(func(ctx context.Context, api agentv2.DRPCAgentClient) error { return r.connections.Run(ctx, api) }),
	}
}

// partFunc is a part that is one function.
type partFunc func(context.Context, agentv2.DRPCAgentClient) error

func (f partFunc) Run(ctx context.Context, api agentv2.DRPCAgentClient) error { return f(ctx, api) }
